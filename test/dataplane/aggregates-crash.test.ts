import assert from 'node:assert/strict'
import { execFileSync, fork } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { createStorageAgent, type LocalStorageAgent } from '@volant/agent'
import type { AggregateDefinition } from '@volant/contract'
import { loopsIn, mountsIn, openFolder } from './aggregate-place.ts'
import { caller, MiB } from './rig.ts'

/**
 * The agent is killed by the very programs that it calls, before or after they do their work: stand-ins in front of the
 * real ones. What comes next is an agent that knows nothing of it.
 */

const GiB = 1024 * MiB
const skip = process.getuid?.() === 0 ? false : 'only root can mount'
const programs = {
  'mkfs.xfs': '/usr/sbin/mkfs.xfs',
  losetup: '/usr/sbin/losetup',
  mount: '/usr/bin/mount',
  umount: '/usr/bin/umount',
  xfs_growfs: '/usr/sbin/xfs_growfs',
}

const aggregate = (folder: string, sizeBytes = GiB): AggregateDefinition => ({
  name: 'aggr1',
  path: join(folder, 'aggr1'),
  filesystem: 'xfs',
  sizeBytes,
})

const agentIn = (folder: string, aggregates: AggregateDefinition[]): LocalStorageAgent =>
  createStorageAgent({
    node: 'node1',
    stateDir: join(folder, 's'),
    runDir: join(folder, 'r'),
    aggregates,
    dataAddress: '127.0.0.1',
  })

interface Task {
  folder: string
  aggregates: AggregateDefinition[]
  method: 'listAggregates' | 'ensureAggregate' | 'ensureNoAggregate' | 'ensureUnmounted'
  args: unknown[]
}

/** Runs one call in a process of its own, which `point` kills; throws where it does not come to that. */
async function killAt(t: TestContext, point: string, task: Task): Promise<void> {
  const bin = openFolder(t)
  for (const [name, path] of Object.entries(programs)) {
    const script = `#!/bin/sh
point="${name} $1"
case "$point" in "$VOLANT_TEST_KILL_BEFORE"*) kill -9 $PPID; exit 1 ;; esac
${path} "$@"
result=$?
case "$point" in "$VOLANT_TEST_KILL_AFTER"*) kill -9 $PPID ;; esac
exit $result
`
    writeFileSync(join(bin, name), script, { mode: 0o755 })
  }
  const [when = '', ...words] = point.split(' ')
  const none = 'no such program'
  const child = fork(import.meta.filename, [JSON.stringify(task)], {
    stdio: 'inherit',
    env: {
      ...process.env,
      PATH: `${bin}:${process.env['PATH'] ?? ''}`,
      VOLANT_TEST_KILL_BEFORE: when === 'before' ? words.join(' ') : none,
      VOLANT_TEST_KILL_AFTER: when === 'after' ? words.join(' ') : none,
    },
  })
  const [, signal] = (await once(child, 'exit')) as [number | null, string | null]
  assert.equal(signal, 'SIGKILL', `it came through without ${point}`)
}

/** One mount and one device, and the file system is whole. */
async function assertSound(agent: LocalStorageAgent, folder: string, path: string): Promise<void> {
  assert.equal(mountsIn(folder).length, 1)
  assert.equal(loopsIn(folder).length, 1)
  await agent.ensureUnmounted(caller)
  assert.deepEqual([mountsIn(folder), loopsIn(folder)], [[], []])
  assert.deepEqual(readdirSync(path), [], 'nothing is below the mount')
  execFileSync('xfs_repair', ['-n', '-f', `${path}.xfs`], { stdio: 'pipe' })
}

const making = [
  'before mkfs.xfs',
  'after mkfs.xfs',
  'before losetup --direct-io',
  'after losetup --direct-io',
  'before mount',
  'after mount',
  'before losetup --detach',
  'after losetup --detach',
]

if (process.argv[1] === import.meta.filename && process.argv[2] !== undefined) {
  const { folder, aggregates, method, args } = JSON.parse(process.argv[2]) as Task
  const agent = agentIn(folder, aggregates) as unknown as Record<string, (...given: unknown[]) => unknown>
  await agent[method]?.(...args)
  process.exit(0)
}

for (const point of making) {
  test(`killed ${point}: the first time, and again when it has data`, { skip }, async (t) => {
    const folder = openFolder(t)
    const aggregates = [aggregate(folder)]
    const { path } = aggregate(folder)
    const task: Task = { folder, aggregates, method: 'listAggregates', args: [] }
    await killAt(t, point, task)
    const agent = agentIn(folder, aggregates)
    await agent.adopt()
    assert.equal((await agent.listAggregates())[0]?.down, undefined)
    await agent.ensureFlexVol(caller, { aggregate: 'aggr1', name: 'fv1' })
    const ref = { imageId: randomUUID(), aggregate: 'aggr1', flexvol: 'fv1' }
    await agent.ensureImage(caller, ref, MiB)
    const image = (await agent.fileAccess(ref)).path
    writeFileSync(image, Buffer.alloc(MiB, 'v'), { flag: 'r+' })
    await assertSound(agent, folder, path)
    if (point.includes('mkfs')) return

    await killAt(t, point, task)
    const next = agentIn(folder, aggregates)
    await next.adopt()
    assert.equal((await next.imageInfo(ref))?.sizeBytes, MiB)
    assert.deepEqual(readFileSync(image), Buffer.alloc(MiB, 'v'))
    await assertSound(next, folder, path)
  })
}

for (const point of making) {
  test(`made at run time and killed ${point}: taken back, or made after all`, { skip }, async (t) => {
    const folder = openFolder(t)
    const base = { name: 'aggr0', path: join(folder, 'aggr0') }
    mkdirSync(base.path)
    const wanted = aggregate(folder)
    const task: Task = { folder, aggregates: [base], method: 'ensureAggregate', args: [caller, wanted] }
    const left = () => readdirSync(folder).filter((name) => name.startsWith('aggr1'))
    await killAt(t, point, task)
    const undone = agentIn(folder, [base])
    await undone.adopt()
    assert.deepEqual(
      (await undone.listAggregates()).map(({ name }) => name),
      ['aggr0'],
      'what was not finished is none',
    )
    assert.equal((await undone.inventory()).filter(({ kind }) => kind === 'aggregate').length, 1)
    await undone.ensureNoAggregate(caller, 'aggr1')
    assert.deepEqual([left(), mountsIn(folder), loopsIn(folder)], [[], [], []])

    await killAt(t, point, task)
    const agent = agentIn(folder, [base])
    await agent.adopt()
    assert.equal((await agent.ensureAggregate(caller, wanted)).reflink, true)
    await assertSound(agent, folder, wanted.path)
    await agent.ensureNoAggregate(caller, 'aggr1')
    assert.deepEqual([left(), mountsIn(folder), loopsIn(folder)], [[], [], []])
  })
}

for (const point of ['before umount', 'after umount']) {
  test(
    `removed and killed ${point}: it can be asked for again, and is used as long as it is not`,
    { skip },
    async (t) => {
      const folder = openFolder(t)
      const wanted = aggregate(folder)
      const first = agentIn(folder, [])
      await first.ensureAggregate(caller, wanted)
      await killAt(t, point, { folder, aggregates: [], method: 'ensureNoAggregate', args: [caller, 'aggr1'] })
      const agent = agentIn(folder, [])
      await agent.adopt()
      assert.equal((await agent.listAggregates())[0]?.down, undefined)
      await agent.ensureNoAggregate(caller, 'aggr1')
      assert.deepEqual([mountsIn(folder), loopsIn(folder)], [[], []])
      assert.ok(!existsSync(`${wanted.path}.xfs`) && !existsSync(wanted.path))
    },
  )
}

for (const point of ['before losetup --set-capacity', 'after losetup --set-capacity', 'before xfs_growfs']) {
  test(`killed ${point} while it grows: it has its size when it is used next`, { skip }, async (t) => {
    const folder = openFolder(t)
    const first = agentIn(folder, [aggregate(folder)])
    const before = await first.aggregateSpace('aggr1')
    const aggregates = [aggregate(folder, 2 * GiB)]
    await killAt(t, point, { folder, aggregates, method: 'listAggregates', args: [] })
    const agent = agentIn(folder, aggregates)
    assert.equal((await agent.aggregateSpace('aggr1')).totalBytes - before.totalBytes, GiB)
    await assertSound(agent, folder, aggregate(folder).path)
  })
}

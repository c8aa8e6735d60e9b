/** Who ends PENDING where the agent that began it does not: real storage daemons, real guards, a client that writes. */
import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { test } from 'node:test'
import type { TestContext } from 'node:test'
import type { HolderRecord } from '@volant/agent/holder/record.ts'
import { writeJsonDurably } from '@volant/qemu/durable-file.ts'
import { findByCommandWord, identityOf, isAlive } from '@volant/qemu/process.ts'
import { startAgentProcess } from './agent-process.ts'
import type { AgentProcess } from './agent-process.ts'
import { lostWrites } from './records.ts'
import { caller, openRig, startWriter, until } from './rig.ts'
import type { Writer } from './rig.ts'

const holderId = 'att-1'
const jobId = 'op-1'
const windowMs = 10_000
/** Longer than a busy machine needs for what a test does in PENDING. */
const decisionMs = 4000

/** A head under load with its mirror ready, held by an agent in a process of its own. */
async function open(t: TestContext) {
  const agents: AgentProcess[] = []
  // Before the rig's own end: an agent that lives would start again what that ends.
  t.after(async () => {
    for (const agent of agents) await agent.kill()
  })
  const rig = await openRig(t)
  const [stateDir, runDir] = [join(rig.folder, 'h'), join(rig.folder, 'r')]
  const newAgent = async (): Promise<AgentProcess> => {
    const agent = await startAgentProcess(t, { host: 'host1', stateDir, runDir, decisionMs })
    agents.push(agent)
    return agent
  }
  const first = await newAgent()
  const [source, target] = [await rig.newImage(), await rig.newImage()]
  const spec = { holderId, volumeId: 'vol-1', image: source.access, serves: true }
  const head = await first.agent.ensureHolder(caller, spec)
  const writer = await startWriter(t, head, { perSecond: 300 })
  const mirror = { holderId, jobId, target: target.access, rate: 0 }
  const record = () =>
    JSON.parse(readFileSync(join(stateDir, 'holders', `${holderId}.json`), 'utf8')) as HolderRecord
  const attempt = () => {
    const { cutover } = record()
    assert.ok(cutover?.guard, 'the guard is written down before anything is held')
    const register = join(stateDir, 'cutovers', `${holderId}.${cutover.attempt}`)
    return {
      guard: cutover.guard,
      register,
      saying: () => existsSync(register) && readFileSync(register, 'utf8'),
    }
  }
  const ready = async (agent: AgentProcess['agent']) => {
    await agent.ensureMirror(caller, mirror)
    await until('ready', async () => (await agent.mirrorStatus(holderId, jobId)).phase === 'ready')
  }
  const noLitter = () => {
    assert.deepEqual(readdirSync(join(stateDir, 'cutovers')), [])
    assert.deepEqual(findByCommandWord(join(runDir, `${holderId}.g`)), [], 'no guard is left over')
  }
  /** Ends the client and the holder; every acknowledged write must be in the image. */
  const verify = async (last: AgentProcess, image: typeof source) => {
    noLitter()
    await goesOn(writer)
    const result = await writer.stop()
    assert.equal(result.errors, 0)
    assert.equal((await last.agent.holderStatus(holderId))?.imageId, image.ref.imageId)
    await last.agent.ensureNoHolder(caller, holderId)
    await last.kill()
    assert.ok(result.writes > 0)
    assert.deepEqual(await lostWrites(image.access.path, result), [])
  }
  await ready(first.agent)
  return { rig, first, newAgent, source, target, spec, head, writer, mirror, attempt, ready, record, verify }
}

/** New writes of the client are acknowledged. */
async function goesOn(writer: Writer): Promise<void> {
  const before = await writer.writes()
  await until('the client goes on', async () => (await writer.writes()) > before + 20)
}

/** The client waits: what is in flight at PENDING is not acknowledged. */
async function assertHeld(writer: Writer): Promise<void> {
  await sleep(200) // for answers that are still on their way
  const before = await writer.writes()
  await sleep(200)
  assert.equal(await writer.writes(), before, 'I/O is held')
}

test('the agent dies in PENDING, undecided: the guard gives up and the client goes on at the source', async (t) => {
  const { first, newAgent, source, writer, attempt, verify, ready } = await open(t)
  await first.agent.prepareCutover(caller, holderId, jobId, windowMs)
  const { guard, saying } = attempt()
  await assertHeld(writer)
  await first.kill()
  assert.equal(saying(), false, 'undecided')
  await goesOn(writer)
  assert.equal(saying(), 'abandoned\n')
  await until('the guard has ended', async () => !isAlive(guard))

  const next = await newAgent()
  assert.equal(await next.agent.cutoverDecision(caller, holderId, jobId), 'abandoned')
  await assert.rejects(next.agent.commitCutover(caller, holderId, jobId), { code: 'conflict' })
  await assert.rejects(next.agent.prepareCutover(caller, holderId, jobId, windowMs), { code: 'conflict' })
  // And the next attempt has a register of its own.
  await next.agent.ensureNoMirror(caller, holderId, jobId)
  assert.equal(await next.agent.cutoverDecision(caller, holderId, jobId), 'none')
  await ready(next.agent)
  await next.agent.prepareCutover(caller, holderId, jobId, windowMs)
  assert.equal(await next.agent.cutoverDecision(caller, holderId, jobId), 'undecided')
  await next.agent.abandonCutover(caller, holderId, jobId)
  await verify(next, source)
})

test('the agent dies after the commit: the guard finalizes and the client goes on at the target', async (t) => {
  const { first, newAgent, target, spec, head, writer, attempt, verify } = await open(t)
  await first.agent.prepareCutover(caller, holderId, jobId, windowMs)
  const { guard, saying } = attempt()
  await first.agent.commitCutover(caller, holderId, jobId)
  await first.agent.commitCutover(caller, holderId, jobId)
  assert.equal(saying(), 'committed\n')
  await assertHeld(writer)
  await first.kill()
  await goesOn(writer)
  await until('the guard has ended', async () => !isAlive(guard))

  const next = await newAgent()
  assert.equal(await next.agent.cutoverDecision(caller, holderId, jobId), 'committed')
  await assert.rejects(next.agent.abandonCutover(caller, holderId, jobId), { code: 'conflict' })
  await assert.rejects(next.agent.ensureNoMirror(caller, holderId, jobId), { code: 'conflict' })
  await assert.rejects(next.agent.ensureHolder(caller, spec), { code: 'conflict' })
  const report = await next.agent.finalizeCutover(caller, holderId, jobId, target.access)
  assert.equal(report.restarted, undefined)
  assert.deepEqual(await next.agent.finalizeCutover(caller, holderId, jobId, target.access), report)
  assert.equal((await next.agent.holderStatus(holderId))?.pid, head.pid)
  assert.equal(
    await next.agent.cutoverDecision(caller, holderId, jobId),
    'committed',
    'also when all is tidied up',
  )
  await verify(next, target)
})

test('an agent that comes back while the guard lives goes on with the same attempt', async (t) => {
  const { first, newAgent, target, attempt, verify } = await open(t)
  await first.agent.prepareCutover(caller, holderId, jobId, windowMs)
  const { register, guard } = attempt()
  await first.kill()
  const next = await newAgent()
  if (!isAlive(guard)) return t.skip('this machine took longer for a start than the guard waits')
  await next.agent.prepareCutover(caller, holderId, jobId, windowMs)
  assert.equal(attempt().register, register)
  await next.agent.commitCutover(caller, holderId, jobId)
  await next.agent.finalizeCutover(caller, holderId, jobId, target.access)
  await verify(next, target)
})

test('an agent that is stopped in PENDING, and wakes up later, cannot commit any more', async (t) => {
  const { first, source, writer, attempt, verify } = await open(t)
  await first.agent.prepareCutover(caller, holderId, jobId, windowMs)
  const { saying } = attempt()
  first.signal('SIGSTOP')
  const commit = first.agent.commitCutover(caller, holderId, jobId)
  commit.catch(() => {})
  await goesOn(writer)
  assert.equal(saying(), 'abandoned\n')
  first.signal('SIGCONT')
  await assert.rejects(commit, { code: 'conflict' })
  await first.agent.abandonCutover(caller, holderId, jobId)
  await verify(first, source)
})

test('an agent that is stopped before PENDING finds its attempt given up', async (t) => {
  const { first, source, writer, attempt, record, verify } = await open(t)
  const prepare = first.agent.prepareCutover(caller, holderId, jobId, 500)
  prepare.catch(() => {})
  while (record().cutover?.guard === undefined) await sleep(1)
  first.signal('SIGSTOP')
  const { saying } = attempt()
  await until('it is decided', async () => saying() !== false)
  assert.equal(saying(), 'abandoned\n')
  await goesOn(writer)
  first.signal('SIGCONT')
  // It may have been quicker than the signal, and at PENDING.
  await prepare.catch(() => {})
  await assert.rejects(first.agent.commitCutover(caller, holderId, jobId), { code: 'conflict' })
  await first.agent.abandonCutover(caller, holderId, jobId)
  await verify(first, source)
})

test('nothing is committed when the guard is dead', async (t) => {
  const { first, source, writer, attempt, verify } = await open(t)
  await first.agent.prepareCutover(caller, holderId, jobId, windowMs)
  const { guard } = attempt()
  process.kill(guard.pid, 'SIGKILL')
  await until('the guard is gone', async () => !isAlive(guard))
  await assert.rejects(first.agent.commitCutover(caller, holderId, jobId), { code: 'conflict' })
  await assertHeld(writer)
  await first.agent.abandonCutover(caller, holderId, jobId)
  await verify(first, source)
})

test('guard and agent dead in PENDING: whoever comes back decides, with a new guard', async (t) => {
  const { first, newAgent, target, writer, attempt, verify } = await open(t)
  await first.agent.prepareCutover(caller, holderId, jobId, windowMs)
  const { guard, register } = attempt()
  await first.kill()
  process.kill(guard.pid, 'SIGKILL')
  await assertHeld(writer)
  const next = await newAgent()
  await next.agent.prepareCutover(caller, holderId, jobId, windowMs)
  assert.notEqual(attempt().register, register)
  assert.equal(existsSync(register), false)
  await next.agent.commitCutover(caller, holderId, jobId)
  await next.agent.finalizeCutover(caller, holderId, jobId, target.access)
  await verify(next, target)
})

test('a guard that was stopped is ended before the next attempt, and harms it no more', async (t) => {
  const { first, target, attempt, ready, verify } = await open(t)
  await first.agent.prepareCutover(caller, holderId, jobId, windowMs)
  const old = attempt()
  process.kill(old.guard.pid, 'SIGSTOP')
  await first.agent.abandonCutover(caller, holderId, jobId)
  assert.equal(isAlive(old.guard), false)
  assert.equal(existsSync(old.register), false)
  await ready(first.agent)
  await first.agent.prepareCutover(caller, holderId, jobId, windowMs)
  await first.agent.commitCutover(caller, holderId, jobId)
  await first.agent.finalizeCutover(caller, holderId, jobId, target.access)
  await verify(first, target)
})

for (const committed of [false, true]) {
  test(`the head dies in PENDING (${committed ? 'committed' : 'undecided'}): its guard ends, too`, async (t) => {
    const { first, source, target, spec, head, attempt, verify } = await open(t)
    await first.agent.prepareCutover(caller, holderId, jobId, windowMs)
    const { guard } = attempt()
    if (committed) await first.agent.commitCutover(caller, holderId, jobId)
    process.kill(head.pid, 'SIGKILL')
    await until('the guard has ended', async () => !isAlive(guard))
    assert.equal(await first.agent.holderStatus(holderId), undefined, 'nobody starts it but the caller')
    if (committed) {
      await assert.rejects(first.agent.ensureHolder(caller, spec), { code: 'conflict' })
      const report = await first.agent.finalizeCutover(caller, holderId, jobId, target.access)
      assert.equal(report.restarted, true)
    } else {
      await assert.rejects(first.agent.commitCutover(caller, holderId, jobId), { code: 'conflict' })
      await first.agent.abandonCutover(caller, holderId, jobId)
    }
    await verify(first, committed ? target : source)
  })
}

test('a dead head whose cutover was given up is not started on the target', async (t) => {
  const { first, newAgent, source, target, spec, head, writer, attempt, verify } = await open(t)
  await first.agent.prepareCutover(caller, holderId, jobId, windowMs)
  const { saying } = attempt()
  await first.kill()
  await goesOn(writer)
  assert.equal(saying(), 'abandoned\n')
  process.kill(head.pid, 'SIGKILL')
  await until('the head is gone', async () => !isAlive(identityOrNone(head.pid)))
  const next = await newAgent()
  await assert.rejects(next.agent.ensureHolder(caller, { ...spec, image: target.access }), {
    code: 'conflict',
  })
  await next.agent.ensureHolder(caller, spec)
  await verify(next, source)
})

test('what a crash left of an attempt that is over is swept away at the next start', async (t) => {
  const { first, newAgent, source, attempt, record, verify, rig } = await open(t)
  await first.agent.prepareCutover(caller, holderId, jobId, windowMs)
  const { guard } = attempt()
  process.kill(guard.pid, 'SIGSTOP') // as if it had not come to its end yet
  await first.kill()
  // The record as it is on disk between the mark's removal and the removal of register and guard.
  const { cutover: _, ...unmarked } = record()
  writeJsonDurably(join(rig.folder, 'h', 'holders', `${holderId}.json`), unmarked)
  const next = await newAgent()
  assert.equal(isAlive(guard), false)
  assert.deepEqual(readdirSync(join(rig.folder, 'h', 'cutovers')), [])
  await next.agent.ensureNoMirror(caller, holderId, jobId)
  await verify(next, source)
})

test('a head from before there were guards gets its second monitor when a copy begins', async (t) => {
  const { rig, first, target, head, mirror, ready, verify } = await open(t)
  await first.agent.ensureNoMirror(caller, holderId, jobId)
  rmSync(join(rig.folder, 'r', `${holderId}.g`))
  await first.agent.ensureMirror(caller, mirror)
  assert.notEqual((await first.agent.holderStatus(holderId))?.pid, head.pid)
  await ready(first.agent)
  await first.agent.prepareCutover(caller, holderId, jobId, windowMs)
  await first.agent.commitCutover(caller, holderId, jobId)
  await first.agent.finalizeCutover(caller, holderId, jobId, target.access)
  await verify(first, target)
})

function identityOrNone(pid: number) {
  try {
    return identityOf(pid)
  } catch {
    return undefined
  }
}

test('whoever was told that nothing is decided is not overtaken by an older control plane', async (t) => {
  const { first, source, attempt, verify } = await open(t)
  await first.agent.prepareCutover(caller, holderId, jobId, windowMs)
  const newer = { fence: caller.fence + 1 }
  assert.equal(await first.agent.cutoverDecision(newer, holderId, jobId), 'undecided')
  await assert.rejects(first.agent.commitCutover(caller, holderId, jobId), { code: 'staleFence' })
  assert.equal(attempt().saying(), false)
  await first.agent.abandonCutover(newer, holderId, jobId)
  await first.agent.ensureNoMirror(newer, holderId, jobId)
  caller.fence = newer.fence
  t.after(() => (caller.fence -= 1))
  await verify(first, source)
})

import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { DomainError } from '@volant/contract'
import pino from 'pino'
import type { Operation } from '@volant/saga'
import { applyShareAccess } from '../operations/apply-share-access.ts'
import { assertServed, carryOut, makeShare, ruleOf, shareAgentOf, sharePorts } from '../testing/shares.ts'
import { openWorld } from '../testing/world.ts'
import { restoreHeads } from './heads.ts'
import { restoreShares, type RestoreSharesPorts } from './shares.ts'

const caller = { fence: 1 }
const apart = { lma: 'store-a', lma2: 'store-a2', lmb: 'store-b', compute: 'compute' }
const far = { node: 'lma-02', aggregate: 'aggr3' }

async function open(t: TestContext) {
  const world = await openWorld(apart)
  t.after(() => world.db.destroy())
  const base = sharePorts(world)
  const share = await makeShare(base, {}, far)
  await base.accessRules.create(ruleOf(share))
  await carryOut(applyShareAccess, base, { shareId: share.id })
  const busy = new Set<string>()
  const started: string[] = []
  const ports: RestoreSharesPorts = {
    ...base,
    log: pino({ level: 'silent' }),
    engine: {
      holderOf: async (key) => (busy.has(key) ? { id: 'op', kind: 'some.operation' } : undefined),
      start: async <Input, Ports>(operation: Operation<Input, Ports>) => {
        if (busy.has(`share/${share.id}`)) throw new DomainError('conflict', 'It is held.')
        started.push(operation.kind)
        return { id: 'new' }
      },
    },
  }
  const agent = shareAgentOf(world)
  const [attachment] = await world.records.attachments.ofVolume(share.volumeId ?? '')
  assert.ok(attachment)
  /** The node's machine was restarted: nothing runs, nothing is mounted. */
  const reboot = async () => {
    await agent.ensureAllStopped(caller)
    await world.agents.holders('store-a').ensureNoHolder(caller, attachment.id)
  }
  return { world, base, share, ports, busy, started, agent, attachment, reboot }
}

test('after a restart of its machine a share has its head, its file system and its export again', async (t) => {
  const { world, base, share, ports, agent, reboot } = await open(t)
  await reboot()
  assert.deepEqual(await restoreShares(ports, caller), { restored: 1, failed: 0 })
  await assertServed(world, base, share.id, 2)
  assert.deepEqual((await agent.shareStatus(share.id)).export?.clients, [{ to: '10.0.0.1', level: 'rw' }])
  assert.deepEqual(await restoreShares(ports, caller), { restored: 0, failed: 0 }, 'then all is there')
})

test('nothing is formatted, though nothing is mounted', async (t) => {
  const { ports, agent, reboot } = await open(t)
  await reboot()
  const contents: string[] = []
  const watched = new Proxy(agent, {
    get: (target, name) =>
      name === 'ensureFileSystem'
        ? (...args: Parameters<typeof agent.ensureFileSystem>) => {
            contents.push(args[1].content)
            return agent.ensureFileSystem(...args)
          }
        : Reflect.get(target, name),
  })
  await restoreShares({ ...ports, agents: { ...ports.agents, shares: () => watched } }, caller)
  assert.deepEqual(contents, ['keep'])
})

test('an export that says other things than the records is made right', async (t) => {
  const { share, ports, agent } = await open(t)
  const before = (await agent.shareStatus(share.id)).export
  assert.ok(before)
  const { isServed: _, ...spec } = before
  await agent.ensureShareExport(caller, { ...spec, clients: [{ to: '0.0.0.0/0', level: 'rw' }] })
  assert.deepEqual(await restoreShares(ports, caller), { restored: 1, failed: 0 })
  assert.deepEqual((await agent.shareStatus(share.id)).export, before)
})

test('a share that an operation works on is left to it, and one that is being deleted stays gone', async (t) => {
  const { base, share, ports, busy, agent, reboot } = await open(t)
  await reboot()
  busy.add(`share/${share.id}`)
  assert.deepEqual(await restoreShares(ports, caller), { restored: 0, failed: 0 })
  busy.clear()
  await base.shares.update(share.id, { status: 'error_deleting' })
  assert.deepEqual(await restoreShares(ports, caller), { restored: 0, failed: 0 })
  assert.deepEqual(await agent.listShares(), [])
})

test('an operation that begins while it is looked at comes first, and then it is left to that', async (t) => {
  const { share, ports, busy, agent, reboot } = await open(t)
  await reboot()
  const restoring = ports.serving.take(share.id, async () => {
    const pass = restoreShares(ports, caller)
    busy.add(`share/${share.id}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
    return { pass }
  })
  assert.deepEqual(await (await restoring).pass, { restored: 0, failed: 0 })
  assert.deepEqual(await agent.listShares(), [])
})

test('while its volume moves the head is the move’s: what runs is used, and what does not is not started', async (t) => {
  const { world, share, ports, busy, agent, attachment, reboot } = await open(t)
  busy.add(`volume/${share.volumeId}`)
  await agent.ensureAllStopped(caller)
  assert.deepEqual(await restoreShares(ports, caller), { restored: 1, failed: 0 })
  assert.ok((await agent.shareStatus(share.id)).fileSystem)
  await reboot()
  assert.deepEqual(await restoreShares(ports, caller), { restored: 0, failed: 0 })
  assert.equal(await world.agents.holders('store-a').holderStatus(attachment.id), undefined)
})

test('a node that does not answer fails its shares alone, and they are tried again', async (t) => {
  const { world, base, share, ports, agent, reboot } = await open(t)
  await reboot()
  agent.failNext('ensureFileSystem', new DomainError('unavailable', 'The node is away.'))
  assert.deepEqual(await restoreShares(ports, caller), { restored: 0, failed: 1 })
  assert.deepEqual(agent.pendingFaults, [])
  assert.deepEqual(await restoreShares(ports, caller), { restored: 1, failed: 0 })
  await assertServed(world, base, share.id, 2)
})

test('rules that are still queued are applied, and those that are not are let be', async (t) => {
  const { base, share, ports, busy, started } = await open(t)
  await restoreShares(ports, caller)
  assert.deepEqual(started, [])
  await base.accessRules.create(ruleOf(share, { accessTo: '10.0.0.2' }))
  busy.add(`share/${share.id}`)
  assert.deepEqual(await restoreShares(ports, caller), { restored: 0, failed: 0 }, 'who is at it looks again')
  busy.clear()
  await restoreShares(ports, caller)
  assert.deepEqual(started, ['share.access'])
})

test('a rule that nobody goes on applying is applied', async (t) => {
  const { base, share, ports, started } = await open(t)
  const [rule] = await base.accessRules.ofShare(share.id)
  await base.accessRules.update(rule?.id ?? '', { state: 'applying', accessLevel: 'ro' })
  await restoreShares(ports, caller)
  assert.deepEqual(started, ['share.access'])
})

test('the heads of shares are no business of the pass that restores those of volumes', async (t) => {
  const { world, ports, attachment, reboot } = await open(t)
  await reboot()
  const heads = { ...world.ports, log: ports.log, engine: ports.engine }
  assert.deepEqual(await restoreHeads(heads, caller), { restored: 0, failed: 0 })
  assert.equal(await world.agents.holders('store-a').holderStatus(attachment.id), undefined)
})

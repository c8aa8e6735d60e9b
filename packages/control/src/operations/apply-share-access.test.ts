import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { carryOut, makeShare, ruleOf, shareAgentOf, sharePorts, type SharePorts } from '../testing/shares.ts'
import { openWorld } from '../testing/world.ts'
import { applyShareAccess, type ApplyShareAccessPorts } from './apply-share-access.ts'

/** A share with a rule in effect, and one that is queued. */
async function open(t: TestContext) {
  const world = await openWorld()
  t.after(() => world.db.destroy())
  const ports = sharePorts(world)
  const share = await makeShare(ports)
  const [old, queued] = [ruleOf(share), ruleOf(share, { accessTo: '10.0.0.2' })]
  await ports.accessRules.create(old)
  await carryOut(applyShareAccess, ports, { shareId: share.id })
  await ports.accessRules.create(queued)
  const admitted = async () => {
    const { export: exported } = await shareAgentOf(world).shareStatus(share.id)
    return exported?.clients.map(({ to, level }) => `${to} ${level}`).toSorted()
  }
  return { ports, share, old, queued, admitted }
}

/** What a request does right after the operation's first look at the rules. */
function meanwhile(ports: SharePorts, request: () => Promise<void>): ApplyShareAccessPorts {
  let looks = 0
  const ofShare = async (shareId: string) => {
    const rules = await ports.accessRules.ofShare(shareId)
    looks += 1
    if (looks === 1) await request()
    return rules
  }
  return { ...ports, accessRules: { ...ports.accessRules, ofShare } }
}

/** What a request does when the export has just been told of the rules. */
function whileTelling(ports: SharePorts, request: () => Promise<unknown>): ApplyShareAccessPorts {
  const shares = (node: string) => {
    const agent = ports.agents.shares(node)
    const ensureShareExport: typeof agent.ensureShareExport = async (caller, spec) => {
      await agent.ensureShareExport(caller, spec)
      await request()
    }
    return { ...agent, ensureShareExport }
  }
  return { ...ports, agents: { ...ports.agents, shares } }
}

test('a denial that comes while the rule is being applied is not forgotten', async (t) => {
  const { ports, share, queued, admitted } = await open(t)
  const deny = () => ports.accessRules.update(queued.id, { state: 'queued_to_deny' })
  await carryOut(applyShareAccess, meanwhile(ports, deny), { shareId: share.id })
  assert.equal(await ports.accessRules.find(queued.id), undefined)
  assert.deepEqual(await admitted(), ['10.0.0.1 rw'])
})

test('a denial that comes while the export is told of the rule is not forgotten', async (t) => {
  const { ports, share, queued, admitted } = await open(t)
  const deny = () =>
    ports.accessRules.updateIf(queued.id, { state: ['applying'] }, { state: 'queued_to_deny' })
  await carryOut(applyShareAccess, whileTelling(ports, deny), { shareId: share.id })
  assert.equal(await ports.accessRules.find(queued.id), undefined)
  assert.deepEqual(await admitted(), ['10.0.0.1 rw'])
})

test('another level that is asked for while the export is told of the former comes into effect', async (t) => {
  const { ports, share, old, admitted } = await open(t)
  await ports.accessRules.update(old.id, { state: 'applying', accessLevel: 'ro' })
  const change = () =>
    ports.accessRules.updateIf(old.id, { state: ['applying'], accessLevel: 'ro' }, { accessLevel: 'rw' })
  await carryOut(applyShareAccess, whileTelling(ports, change), { shareId: share.id })
  assert.equal((await ports.accessRules.find(old.id))?.state, 'active')
  assert.deepEqual(await admitted(), ['10.0.0.1 rw', '10.0.0.2 rw'])
})

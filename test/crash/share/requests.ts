/** What is asked of a share in a cell, each with what must have come of it. */
import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { until } from '../../migration/plane.ts'
import { rowsOf } from '../../move/place.ts'
import { api, latestOperation, phase1Done, shareRow } from './api.ts'
import { admittedProblems, refusedProblems, type Served } from './clients.ts'
import type { SharePoint } from './points.ts'
import type { Mark } from './writer.ts'
import { snapshotProblems } from './snapshot-content.ts'
import { allowed, createdShare, mountPathOf, otherAggregate, ruleState, type ShareWorld } from './world.ts'

export interface Asked {
  start(): Promise<void>
  /** Once it is started. */
  operationId(): string
  /** Of a migration: asks for the cutover when all is in sync. Of anything else: nothing. */
  secondPhase(): Promise<void>
  cancel(): Promise<void>
  /** What came of it, and what is left is cleared away: the world is as it was before. */
  check(ended: string): Promise<void>
}

/** A bound for what comes after an operation's end. Milliseconds. */
const settleMs = 60_000

/** Prepares what is needed for it. */
export async function begin(world: ShareWorld, { of }: SharePoint): Promise<Asked> {
  switch (of) {
    case 'create':
      return creation(world)
    case 'extend':
      return extension(world)
    case 'allow':
      return admission(world)
    case 'deny':
      return refusal(world)
    case 'snapshot':
      return snapshot(world)
    case 'revert':
      return reversion(world)
    case 'migrate':
      return migration(world, undefined)
    case 'migrateAlong':
      return migration(world, await markedSnapshot(world))
    case 'delete':
      return deletion(world)
    default:
      throw new Error(`nobody asks for ${String(of)}`)
  }
}

type Wish = Pick<Asked, 'start' | 'check'> & Partial<Asked>

/** Starts it, and notes which operation that was. */
function asked(world: ShareWorld, kind: string, wish: Wish): Asked {
  const { plane } = world
  const before = latestOperation(plane.stateDir, kind)?.id
  let id = ''
  return {
    operationId: () => id,
    secondPhase: async () => {},
    cancel: async () => void (await plane.client.ndo.cancel(id)),
    ...wish,
    async start() {
      await wish.start()
      await until(`an operation ${kind} is on record`, settleMs, async () => {
        const latest = latestOperation(plane.stateDir, kind)
        if (latest !== undefined && latest.id !== before) id = latest.id
        return id !== ''
      })
    },
  }
}

const shareStatus = ({ plane, shareId }: ShareWorld): string =>
  String(shareRow(plane.stateDir, shareId)?.['status'])

const isGone = ({ plane }: ShareWorld, shareId: string): Promise<void> =>
  until(`share ${shareId} is gone`, settleMs, async () => {
    return shareRow(plane.stateDir, shareId) === undefined
  })

/** Another share that clients write to. */
const otherAs = ({ plane, served }: ShareWorld, shareId: string): Served => ({
  ...served,
  junctionPath: `/share_${shareId.replaceAll('-', '_')}`,
  mountPath: mountPathOf(plane.stateDir, shareId),
})

async function creation(world: ShareWorld): Promise<Asked> {
  const { plane, guest, stranger } = world
  let id = ''
  return asked(world, 'share.create', {
    async start() {
      id = await api.create(plane, 'other')
    },
    async check(ended) {
      if (ended === 'succeeded') {
        assert.equal(shareRow(plane.stateDir, id)?.['status'], 'available')
        await allowed(plane, id, guest)
        const served = otherAs(world, id)
        const problems = [
          ...(await admittedProblems(served, guest, '')),
          ...(await refusedProblems(served, stranger)),
        ]
        assert.deepEqual(problems, [])
      } else assert.equal(shareRow(plane.stateDir, id)?.['status'], 'error')
      await api.remove(plane, id)
      await isGone(world, id)
    },
  })
}

async function extension(world: ShareWorld): Promise<Asked> {
  const { plane, shareId } = world
  const before = Number(shareRow(plane.stateDir, shareId)?.['size_gib'])
  return asked(world, 'share.extend', {
    start: async () => void (await api.action(plane, shareId, { extend: { new_size: before + 1 } })),
    async check(ended) {
      assert.equal(shareStatus(world), 'available')
      const size = Number(shareRow(plane.stateDir, shareId)?.['size_gib'])
      assert.equal(size, ended === 'succeeded' ? before + 1 : before)
    },
  })
}

async function admission(world: ShareWorld): Promise<Asked> {
  const { plane, shareId, served, guest } = world
  let ruleId = ''
  return asked(world, 'share.access', {
    async start() {
      ruleId = await api.allow(plane, shareId, guest)
    },
    async check() {
      assert.equal(ruleState(plane, ruleId), 'active')
      assert.deepEqual(await admittedProblems(served, guest), [])
      await denied(world, ruleId)
    },
  })
}

async function denied({ plane, shareId }: ShareWorld, ruleId: string): Promise<void> {
  await api.deny(plane, shareId, ruleId)
  await until('the rule is gone', settleMs, async () => ruleState(plane, ruleId) === null)
}

async function refusal(world: ShareWorld): Promise<Asked> {
  const { plane, shareId, served, guest, handle } = world
  const ruleId = await allowed(plane, shareId, guest)
  return asked(world, 'share.access', {
    start: async () => void (await api.deny(plane, shareId, ruleId)),
    async check() {
      assert.equal(ruleState(plane, ruleId), null)
      assert.deepEqual(await refusedProblems(served, guest, handle), [])
    },
  })
}

const snapshotStatus = ({ plane }: ShareWorld, id: string): unknown =>
  rowsOf(plane.stateDir, 'select status from snapshots where id = ?', id)[0]?.['status']

async function removeSnapshot(world: ShareWorld, id: string): Promise<void> {
  if (snapshotStatus(world, id) === undefined) return
  await api.removeSnapshot(world.plane, id)
  await until(`snapshot ${id} is gone`, settleMs, async () => snapshotStatus(world, id) === undefined)
}

async function takenSnapshot(world: ShareWorld): Promise<string> {
  const id = await api.snapshot(world.plane, world.shareId)
  await until(`snapshot ${id} is there`, settleMs, async () => {
    const status = snapshotStatus(world, id)
    if (status === 'error') throw new Error(`snapshot ${id} is in error`)
    return status === 'available'
  })
  return id
}

/** With what the writer had done before and after. */
interface MarkedSnapshot {
  id: string
  first: Mark
  second: Mark
}

async function markedSnapshot(world: ShareWorld): Promise<MarkedSnapshot> {
  const first = world.writer.mark()
  const id = await takenSnapshot(world)
  return { id, first, second: world.writer.mark() }
}

async function snapshot(world: ShareWorld): Promise<Asked> {
  const { plane, shareId, writer } = world
  const first = writer.mark()
  let id = ''
  return asked(world, 'snapshot.create', {
    async start() {
      id = await api.snapshot(plane, shareId)
    },
    async check(ended) {
      if (ended === 'succeeded') {
        assert.equal(snapshotStatus(world, id), 'available')
        assert.deepEqual(await snapshotProblems(world, id, first, writer.mark()), [])
      } else assert.equal(snapshotStatus(world, id), 'error')
      await removeSnapshot(world, id)
    },
  })
}

async function reversion(world: ShareWorld): Promise<Asked> {
  const { plane, shareId, writer } = world
  const { id, first, second } = await markedSnapshot(world)
  await writer.goesOn()
  let request = second
  return asked(world, 'share.revert', {
    async start() {
      request = writer.mark()
      await api.action(plane, shareId, { revert: { snapshot_id: id } })
    },
    async check(ended) {
      assert.equal(shareStatus(world), 'available')
      assert.equal(snapshotStatus(world, id), 'available')
      if (ended === 'succeeded') assert.deepEqual(await writer.wentBack(first, second, request), [])
      await removeSnapshot(world, id)
    },
  })
}

const aggregateOf = ({ plane, shareId }: ShareWorld): string =>
  String(
    rowsOf(plane.stateDir, 'select aggregate from flexvols where share_id = ?', shareId)[0]?.['aggregate'],
  )

async function migration(world: ShareWorld, along: MarkedSnapshot | undefined): Promise<Asked> {
  const { plane, shareId } = world
  const from = aggregateOf(world)
  const to = otherAggregate(from)
  const taskState = (): unknown => shareRow(plane.stateDir, shareId)?.['task_state']
  return asked(world, 'share.migrate', {
    start: () => api.startMigration(plane, shareId, to),
    async secondPhase() {
      await until('the first phase is done', 2 * settleMs, async () => {
        if (['migration_error', 'migration_cancelled', 'migration_success'].includes(String(taskState()))) {
          throw new Error(`the migration is over: ${String(taskState())}`)
        }
        return taskState() === phase1Done
      })
      await api.completeMigration(plane, shareId)
    },
    cancel: async () => void (await api.action(plane, shareId, { migration_cancel: null })),
    async check(ended) {
      assert.equal(shareStatus(world), 'available')
      assert.equal(taskState(), ended === 'succeeded' ? 'migration_success' : 'migration_cancelled')
      const at = ended === 'succeeded' ? to : from
      assert.equal(aggregateOf(world), at)
      for (let i = 0; i < 300 && awayFrom(world, at).length > 0; i++) await sleep(200)
      assert.deepEqual(awayFrom(world, at), [], 'images that are not where the share is')
      if (along === undefined) return
      assert.equal(snapshotStatus(world, along.id), 'available')
      assert.deepEqual(await snapshotProblems(world, along.id, along.first, along.second), [])
      await removeSnapshot(world, along.id)
    },
  })
}

const awayFrom = ({ plane }: ShareWorld, aggregate: string): string[] =>
  rowsOf(plane.stateDir, 'select image_id, state, aggregate from copies where aggregate <> ?', aggregate).map(
    (row) => `${row['state']} ${row['image_id']} at ${row['aggregate']}`,
  )

async function deletion(world: ShareWorld): Promise<Asked> {
  const { plane, guest } = world
  const id = await createdShare(plane, 'other')
  await allowed(plane, id, guest)
  const served = otherAs(world, id)
  assert.deepEqual(await admittedProblems(served, guest, ''), [])
  return asked(world, 'share.delete', {
    start: async () => void (await api.remove(plane, id)),
    async check() {
      assert.equal(shareRow(plane.stateDir, id), undefined)
      assert.deepEqual(await refusedProblems(served, guest), [])
    },
  })
}

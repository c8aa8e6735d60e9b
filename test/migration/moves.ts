import assert from 'node:assert/strict'
import { ended, startMigration, until, type Job, type Plane } from './plane.ts'

export const statusIs = (plane: Plane, volumeId: string, status: string): Promise<void> =>
  until(
    `volume ${volumeId} is ${status}`,
    60_000,
    async () => (await plane.client.volume.show(volumeId)).status === status,
  )

/** Migrates to the other cluster; the operation's id, once it has succeeded. */
export async function migrated(plane: Plane, job: Job): Promise<string> {
  const operation = await ended(plane, (await startMigration(plane, job)).id)
  assert.equal(operation.state, 'succeeded', operation.error?.reason ?? '')
  return operation.id
}

/** Undoes in the way that is expected, to the end. */
export async function undone(
  plane: Plane,
  operationId: string,
  method: 'revert' | 'migrate',
): Promise<string> {
  const planned = await plane.client.ndo.planUndo(operationId)
  assert.deepEqual([planned.ok, planned.method], [true, method], planned.reason)
  const { operation, plan } = await plane.client.ndo.undo(operationId)
  assert.equal(plan.method, method, plan.reason)
  assert.equal(operation.kind, method === 'revert' ? 'volume.revertMigration' : 'volume.migrate')
  assert.deepEqual(operation.undo_of, { operation: operationId, reason: plan.reason })
  const end = await ended(plane, operation.id)
  assert.equal(end.state, 'succeeded', end.error?.reason ?? '')
  return operation.id
}

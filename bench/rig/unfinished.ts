import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { readJson } from '@volant/qemu'
import { openDatabase } from '@volant/control/db/open.ts'
import { operationStore } from '@volant/control/db/repositories/operation.ts'
import type { VolumeTable } from '@volant/control/db/tables/storage.ts'
import { createVolume, type CreateVolumePorts } from '@volant/control/operations/create-volume.ts'
import { deleteVolume, type DeleteVolumePorts } from '@volant/control/operations/delete-volume.ts'
import { extendVolume, type ExtendVolumePorts } from '@volant/control/operations/extend-volume.ts'
import { bind, Executor } from '@volant/saga'

type Row = Pick<VolumeTable, 'id' | 'project_id' | 'user_id' | 'size_gib'>

/** Ports that never answer: an operation on them stays in its first step. */
const silent = <Ports extends object>(): Ports =>
  new Proxy({} as Ports, { get: () => new Proxy({}, { get: () => () => new Promise<never>(() => {}) }) })

/**
 * What a control plane leaves that is killed just after requests: operations that are recorded and have done nothing
 * yet. Volumes of `volumeIds` are deleted and extended by turns, and as many more as `creations` are made. Returns the
 * operations' ids. No control plane may run.
 */
export async function leaveBegun(
  stateDir: string,
  volumeIds: readonly string[],
  creations: number,
): Promise<string[]> {
  const db = await openDatabase(join(stateDir, 'volant.db'))
  const executor = new Executor({
    // The migrations under way are not this engine's to carry on.
    store: { ...operationStore(db), listUnfinished: () => Promise.resolve([]) },
    owner: 'bench',
    operations: [
      bind(createVolume, silent<CreateVolumePorts>()),
      bind(deleteVolume, silent<DeleteVolumePorts>()),
      bind(extendVolume, silent<ExtendVolumePorts>()),
    ],
  })
  const ids: string[] = []
  try {
    await executor.begin()
    const rows = await db
      .selectFrom('volumes')
      .selectAll()
      .where('id', 'in', [...volumeIds])
      .execute()
    for (const [i, row] of rows.entries()) {
      const status = i % 2 === 0 ? 'deleting' : 'extending'
      await db
        .updateTable('volumes')
        .set({ status, previous_status: row.status })
        .where('id', '=', row.id)
        .execute()
      ids.push(await (i % 2 === 0 ? beginDelete(executor, row) : beginExtend(executor, row)))
    }
    const [model] = rows
    if (model === undefined) throw new Error('There is no volume to go by.')
    for (let i = 0; i < creations; i += 1) {
      const row = { ...model, id: crypto.randomUUID(), status: 'creating', image_id: null, flexvol_id: null }
      await db
        .insertInto('volumes')
        .values({ ...row, name: `new-${i}` })
        .execute()
      ids.push(await beginCreate(executor, row))
    }
    return ids
  } finally {
    executor.abandon()
    await db.destroy()
  }
}

const request = (row: { id: string; project_id: string }) => ({
  volumeId: row.id,
  projectId: row.project_id,
  requestId: `req-${crypto.randomUUID()}`,
})

const beginDelete = async (executor: Executor, row: Row): Promise<string> =>
  (await executor.start(deleteVolume, request(row))).id

const beginExtend = async (executor: Executor, row: Row): Promise<string> =>
  (
    await executor.start(extendVolume, {
      ...request(row),
      userId: row.user_id,
      oldSizeGib: row.size_gib,
      newSizeGib: row.size_gib + 1,
      previousStatus: 'available',
    })
  ).id

const beginCreate = async (executor: Executor, row: Row): Promise<string> =>
  (
    await executor.start(createVolume, {
      ...request(row),
      sizeGib: row.size_gib,
      copyId: crypto.randomUUID(),
      availabilityZone: null,
      extraSpecs: {},
      source: null,
    })
  ).id

/** Kills the daemons of the first `count` holders, as a machine's death would; returns how many it found. */
export function killHolders(stateDir: string, count: number): number {
  let killed = 0
  for (const machine of readdirSync(join(stateDir, 'machines'))) {
    const folder = join(stateDir, 'machines', machine, 'holders')
    for (const name of readdirSync(folder)) {
      if (!name.endsWith('.json') || killed === count) continue
      const record = readJson(join(folder, name)) as { daemon: { process?: { pid: number } } }
      if (record.daemon.process === undefined) continue
      process.kill(record.daemon.process.pid, 'SIGKILL')
      killed += 1
    }
  }
  return killed
}

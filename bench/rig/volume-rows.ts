import { join } from 'node:path'
import { DatabaseSync, type SQLInputValue, type StatementSync } from 'node:sqlite'
import { setImmediate as turn } from 'node:timers/promises'
import type { AttachmentTable, CopyTable, VolumeTable } from '@volant/control/db/tables/storage.ts'

const rowsAtOnce = 5000

/**
 * Puts volumes into the database of a control plane that does not run: detached ones with metadata, and every third
 * one with an attachment. They have no images: only what the database and the API do with them is measured.
 */
export async function insertVolumes(
  stateDir: string,
  owner: { projectId: string; userId: string },
  count: number,
  /** Of each image: small where the pools are to have room besides. Default: as the volume's size says. */
  imageBytes?: number,
) {
  const db = new DatabaseSync(join(stateDir, 'volant.db'))
  try {
    // Nothing else has it open, and what is lost with the machine is made anew.
    db.exec('pragma synchronous = off; pragma cache_size = -262144;')
    const flexvols = db.prepare('select id, node, aggregate from flexvols').all() as unknown as Place[]
    // To make an index of rows that are there is much quicker than to put each row into it.
    const indexes = db.prepare(indexesOf).all() as { name: string; sql: string }[]
    for (const { name } of indexes) db.exec(`drop index ${name}`)
    const ids: string[] = []
    for (let from = 0; from < count; from += rowsAtOnce) {
      db.exec('begin')
      for (let i = from; i < Math.min(count, from + rowsAtOnce); i += 1) {
        const flexvol = flexvols[i % flexvols.length]
        if (!flexvol) throw new Error('The control plane has made no FlexVol.')
        const attached = i % 3 === 0
        // One each second, the oldest years ago: as a cloud comes by its volumes.
        const createdAt = new Date(Date.UTC(2026, 0, 1) + i * 1000).toISOString()
        const volume = volumeRow(i, { ...owner, flexvolId: flexvol.id, attached, createdAt })
        insert(db, 'volumes', volume)
        const copy = copyRow(volume, flexvol)
        insert(db, 'copies', imageBytes === undefined ? copy : { ...copy, size_bytes: imageBytes })
        if (attached) insert(db, 'attachments', attachmentRow(volume))
        ids.push(volume.id)
      }
      db.exec('commit')
      // The process lives on meanwhile: a run that is too long is told so, and ended.
      await turn()
    }
    for (const { sql } of indexes) db.exec(sql)
    return ids
  } finally {
    db.close()
  }
}

/** Those that are no constraint. */
const indexesOf = `select name, sql from sqlite_master
  where type = 'index' and sql is not null and tbl_name in ('volumes', 'copies', 'attachments')`

interface Place {
  id: string
  node: string
  aggregate: string
}

const statements = new WeakMap<DatabaseSync, Map<string, StatementSync>>()

function insert(db: DatabaseSync, table: string, row: object): void {
  const known = statements.get(db) ?? new Map<string, StatementSync>()
  statements.set(db, known)
  const columns = Object.keys(row)
  const statement =
    known.get(table) ??
    db.prepare(`insert into ${table} (${columns.join()}) values (${columns.map(() => '?').join()})`)
  known.set(table, statement)
  statement.run(...(Object.values(row) as SQLInputValue[]))
}

type VolumeRow = Omit<VolumeTable, 'revision'>

function volumeRow(
  i: number,
  facts: { projectId: string; userId: string; flexvolId: string; attached: boolean; createdAt: string },
): VolumeRow {
  return {
    id: crypto.randomUUID(),
    project_id: facts.projectId,
    user_id: facts.userId,
    name: `volume-${i}`,
    description: `disk ${i % 7} of machine ${Math.floor(i / 7)}`,
    size_gib: 1 + (i % 100),
    status: facts.attached ? 'in-use' : 'available',
    migration_status: i % 10 === 0 ? 'success' : null,
    previous_status: null,
    bootable: i % 5 === 0 ? 1 : 0,
    multiattach: 0,
    availability_zone: 'nova',
    volume_type_id: null,
    flexvol_id: facts.flexvolId,
    image_id: crypto.randomUUID(),
    source_volid: null,
    snapshot_id: null,
    metadata: JSON.stringify({ tier: ['gold', 'silver'][i % 2], team: `team-${i % 40}` }),
    share_id: null,
    root_of: null,
    image_metadata: '{}',
    created_at: facts.createdAt,
    updated_at: facts.createdAt,
  }
}

const copyRow = (volume: VolumeRow, place: { node: string; aggregate: string }): CopyTable => ({
  image_id: volume.image_id ?? '',
  volume_id: volume.id,
  snapshot_id: null,
  flexvol_id: volume.flexvol_id ?? '',
  node: place.node,
  aggregate: place.aggregate,
  size_bytes: volume.size_gib * 1024 ** 3,
  state: 'live',
  operation_id: null,
  reserved_bytes: 0,
  retained_until: null,
  created_at: volume.created_at,
})

/** Without a host, so that no head is started for it. */
export const attachmentRow = (
  volume: Pick<VolumeTable, 'id' | 'project_id' | 'created_at'>,
): AttachmentTable => ({
  id: crypto.randomUUID(),
  head_id: crypto.randomUUID(),
  volume_id: volume.id,
  server_id: crypto.randomUUID(),
  project_id: volume.project_id,
  host: null,
  status: 'attached',
  share_id: null,
  root_of: null,
  attach_mode: 'rw',
  mountpoint: '/dev/vdb',
  boot_index: null,
  delete_on_termination: 0,
  connector: null,
  attached_at: volume.created_at,
  created_at: volume.created_at,
})

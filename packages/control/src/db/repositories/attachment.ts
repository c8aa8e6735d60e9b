import type { Kysely, Selectable, Updateable } from 'kysely'
import { DomainError } from '@volant/contract'
import type { Attachment } from '../../domain/volume.ts'
import type { AttachmentRecords } from '../../ports/records.ts'
import { defined, flag, isSet, parseObject } from '../columns.ts'
import { tupleOf, type Tuple } from '../prepared.ts'
import type { Database } from '../schema.ts'
import type { AttachmentTable } from '../tables/storage.ts'
import { removeAttachments } from './tombstone.ts'

/** All of them, in the order in which `attachmentOfTuple` takes them. */
export const attachmentColumns = [
  'id',
  'volume_id',
  'server_id',
  'project_id',
  'host',
  'head_id',
  'share_id',
  'root_of',
  'status',
  'attach_mode',
  'mountpoint',
  'boot_index',
  'delete_on_termination',
  'connector',
  'attached_at',
  'created_at',
] as const satisfies (keyof AttachmentTable)[]

export type AttachmentTuple = Tuple<AttachmentTable, typeof attachmentColumns>

export const attachmentOfTuple = (row: AttachmentTuple): Attachment => ({
  id: row[0],
  volumeId: row[1],
  serverId: row[2],
  projectId: row[3],
  host: row[4],
  headId: row[5],
  shareId: row[6],
  rootOf: row[7],
  status: row[8] as Attachment['status'],
  attachMode: row[9],
  mountpoint: row[10],
  bootIndex: row[11],
  deleteOnTermination: isSet(row[12]),
  connector: row[13] === null ? null : parseObject(row[13]),
  attachedAt: row[14],
  createdAt: row[15],
})

export const toAttachment = (row: Selectable<AttachmentTable>): Attachment =>
  attachmentOfTuple(tupleOf(row, attachmentColumns))

const toColumns = (attachment: Partial<Attachment>): Updateable<AttachmentTable> =>
  defined({
    id: attachment.id,
    volume_id: attachment.volumeId,
    server_id: attachment.serverId,
    project_id: attachment.projectId,
    host: attachment.host,
    head_id: attachment.headId,
    share_id: attachment.shareId,
    root_of: attachment.rootOf,
    status: attachment.status,
    attach_mode: attachment.attachMode,
    mountpoint: attachment.mountpoint,
    boot_index: attachment.bootIndex,
    delete_on_termination:
      attachment.deleteOnTermination === undefined ? undefined : flag(attachment.deleteOnTermination),
    connector:
      attachment.connector === undefined || attachment.connector === null
        ? attachment.connector
        : JSON.stringify(attachment.connector),
    attached_at: attachment.attachedAt,
    created_at: attachment.createdAt,
  })

/** A whole row. */
export const toAttachmentColumns = (attachment: Attachment): AttachmentTable =>
  toColumns(attachment) as AttachmentTable

export function attachmentRecords(db: Kysely<Database>): AttachmentRecords {
  const select = () => db.selectFrom('attachments').selectAll()
  const find = async (id: string): Promise<Attachment | undefined> => {
    const row = await select().where('id', '=', id).executeTakeFirst()
    return row && toAttachment(row)
  }
  return {
    find,
    async get(id) {
      const attachment = await find(id)
      if (attachment === undefined) {
        throw new DomainError(
          'notFound',
          `Volume attachment could not be found with filter: attachment_id = ${id}.`,
        )
      }
      return attachment
    },
    async ofVolume(volumeId) {
      const rows = await select().where('volume_id', '=', volumeId).orderBy('created_at').execute()
      return rows.map(toAttachment)
    },
    async ofServer(serverId) {
      const rows = await select().where('server_id', '=', serverId).orderBy('created_at').execute()
      return rows.map(toAttachment)
    },
    async withHead() {
      const rows = await select()
        .where('status', 'in', ['attached', 'detaching', 'error_detaching'])
        .where('host', 'is not', null)
        .where((eb) => eb.or([eb('server_id', 'is not', null), eb('share_id', 'is not', null)]))
        .execute()
      return rows.map(toAttachment)
    },
    async create(attachment) {
      await db
        .insertInto('attachments')
        .values(toAttachmentColumns(attachment))
        .onConflict((conflict) => conflict.column('id').doNothing())
        .execute()
    },
    async update(id, fields) {
      const columns = toColumns(fields)
      if (Object.keys(columns).length === 0) return
      await db.updateTable('attachments').set(columns).where('id', '=', id).execute()
    },
    async remove(id) {
      await removeAttachments(db, { id })
    },
  }
}

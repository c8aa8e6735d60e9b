import type { Kysely, Selectable } from 'kysely'
import type {
  ContainerFormat,
  DiskFormat,
  Image,
  ImageMember,
  ImageStatus,
  ImageVisibility,
  MemberStatus,
} from '../../domain/image.ts'
import { defined, flag, isSet, parseObject } from '../columns.ts'
import type { Database } from '../schema.ts'
import type { ImageMemberTable, ImageTable } from '../tables/image.ts'

export type ImageChange = Partial<Omit<Image, 'id' | 'createdAt' | 'builtin'>>

/** Which images a caller may see, by where they are from. */
export interface ImageReach {
  /** undefined: an administrator, who sees all. */
  projectId: string | null | undefined
  visibility: ImageVisibility | 'all' | undefined
  memberStatus: MemberStatus | 'all'
}

const fromRow = (row: Selectable<ImageTable>): Image => ({
  id: row.id,
  name: row.name,
  owner: row.owner,
  status: row.status as ImageStatus,
  visibility: row.visibility as ImageVisibility,
  protected: isSet(row.protected),
  hidden: isSet(row.os_hidden),
  diskFormat: row.disk_format as DiskFormat | null,
  containerFormat: row.container_format as ContainerFormat | null,
  minDiskGib: row.min_disk,
  minRamMib: row.min_ram,
  // Some drivers give 64-bit integers as text.
  sizeBytes: row.size === null ? null : Number(row.size),
  virtualSizeBytes: row.virtual_size === null ? null : Number(row.virtual_size),
  checksum: row.checksum,
  hashValue: row.os_hash_value,
  properties: parseObject<string>(row.properties),
  tags: JSON.parse(row.tags) as string[],
  builtin: row.builtin,
  createdAt: row.created_at,
  updatedAt: row.updated_at,
})

const toColumns = (image: Partial<Image>): Partial<ImageTable> =>
  defined({
    name: image.name,
    owner: image.owner,
    status: image.status,
    visibility: image.visibility,
    protected: image.protected === undefined ? undefined : flag(image.protected),
    os_hidden: image.hidden === undefined ? undefined : flag(image.hidden),
    disk_format: image.diskFormat,
    container_format: image.containerFormat,
    min_disk: image.minDiskGib,
    min_ram: image.minRamMib,
    size: image.sizeBytes,
    virtual_size: image.virtualSizeBytes,
    checksum: image.checksum,
    os_hash_value: image.hashValue,
    properties: image.properties === undefined ? undefined : JSON.stringify(image.properties),
    tags: image.tags === undefined ? undefined : JSON.stringify(image.tags),
    updated_at: image.updatedAt,
  } as Partial<ImageTable>)

function imageRecords(db: Kysely<Database>) {
  return {
    async find(id: string): Promise<Image | undefined> {
      const row = await db.selectFrom('images').selectAll().where('id', '=', id).executeTakeFirst()
      return row === undefined ? undefined : fromRow(row)
    },
    async byBuiltin(name: string): Promise<Image | undefined> {
      const row = await db.selectFrom('images').selectAll().where('builtin', '=', name).executeTakeFirst()
      return row === undefined ? undefined : fromRow(row)
    },
    async inReach(reach: ImageReach): Promise<Image[]> {
      let query = db.selectFrom('images').selectAll()
      const { projectId, visibility } = reach
      if (visibility !== undefined && visibility !== 'all') query = query.where('visibility', '=', visibility)
      if (projectId !== undefined) {
        query = query.where((where) => {
          let shared = where
            .selectFrom('image_members')
            .select('image_id')
            .where('member', '=', projectId ?? '')
          if (reach.memberStatus !== 'all') shared = shared.where('status', '=', reach.memberStatus)
          return where.or([
            where('visibility', '=', 'public'),
            where('owner', '=', projectId ?? ''),
            where.and([where('visibility', '=', 'shared'), where('id', 'in', shared)]),
            ...(visibility === 'community' || visibility === 'all'
              ? [where('visibility', '=', 'community')]
              : []),
          ])
        })
      }
      return (await query.execute()).map(fromRow)
    },
    async create(image: Image): Promise<void> {
      await db
        .insertInto('images')
        .values({
          ...(toColumns(image) as ImageTable),
          id: image.id,
          builtin: image.builtin,
          created_at: image.createdAt,
        })
        .execute()
    },
    async update(id: string, fields: ImageChange): Promise<void> {
      await db.updateTable('images').set(toColumns(fields)).where('id', '=', id).execute()
    },
    /** Only if it still has that status; tells whether it had. */
    async updateIf(id: string, status: ImageStatus, fields: ImageChange): Promise<boolean> {
      const result = await db
        .updateTable('images')
        .set(toColumns(fields))
        .where('id', '=', id)
        .where('status', '=', status)
        .executeTakeFirst()
      return result.numUpdatedRows > 0n
    },
    /** Uploads that were under way when the process ended: their images are empty again. */
    async endUploads(now: string): Promise<void> {
      await db
        .updateTable('images')
        .set({ status: 'queued', updated_at: now })
        .where('status', '=', 'saving')
        .execute()
    },
    async remove(id: string): Promise<void> {
      await db.deleteFrom('image_members').where('image_id', '=', id).execute()
      await db.deleteFrom('images').where('id', '=', id).execute()
    },
    members: memberRecords(db),
  }
}

const memberFromRow = (row: Selectable<ImageMemberTable>): ImageMember => ({
  imageId: row.image_id,
  member: row.member,
  status: row.status as MemberStatus,
  createdAt: row.created_at,
  updatedAt: row.updated_at,
})

function memberRecords(db: Kysely<Database>) {
  return {
    async find(imageId: string, member: string): Promise<ImageMember | undefined> {
      const row = await db
        .selectFrom('image_members')
        .selectAll()
        .where('image_id', '=', imageId)
        .where('member', '=', member)
        .executeTakeFirst()
      return row === undefined ? undefined : memberFromRow(row)
    },
    async list(imageId: string): Promise<ImageMember[]> {
      const rows = await db
        .selectFrom('image_members')
        .selectAll()
        .where('image_id', '=', imageId)
        .orderBy('member')
        .execute()
      return rows.map(memberFromRow)
    },
    async create(member: ImageMember): Promise<void> {
      await db
        .insertInto('image_members')
        .values({
          image_id: member.imageId,
          member: member.member,
          status: member.status,
          created_at: member.createdAt,
          updated_at: member.updatedAt,
        })
        .execute()
    },
    async setStatus(imageId: string, member: string, status: MemberStatus, now: string): Promise<void> {
      await db
        .updateTable('image_members')
        .set({ status, updated_at: now })
        .where('image_id', '=', imageId)
        .where('member', '=', member)
        .execute()
    },
    async remove(imageId: string, member: string): Promise<void> {
      await db
        .deleteFrom('image_members')
        .where('image_id', '=', imageId)
        .where('member', '=', member)
        .execute()
    },
  }
}

export type ImageRecords = ReturnType<typeof imageRecords>

export interface ImageStore extends ImageRecords {
  transaction<T>(work: (records: ImageRecords) => Promise<T>): Promise<T>
}

export const imageStore = (db: Kysely<Database>): ImageStore => ({
  ...imageRecords(db),
  transaction: (work) => db.transaction().execute((trx) => work(imageRecords(trx))),
})

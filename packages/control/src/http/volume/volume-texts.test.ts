import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { sql, type Kysely } from 'kysely'
import { createVolumes, type Volumes } from '../../app/volume.ts'
import { volumeLists } from '../../db/repositories/volume-list.ts'
import { volumeRecords } from '../../db/repositories/volume.ts'
import type { Database } from '../../db/schema.ts'
import type { Principal } from '../../domain/principal.ts'
import type { VolumePageRequest } from '../../domain/volume-query.ts'
import { openTestDatabase } from '../../testing/database.ts'
import { createVolumeTexts, volumesText, type VolumeTexts } from './volume-texts.ts'
import { viewerOf, volumeFullDetail, type VolumeViewer } from './volume-view.ts'

const clock = { now: () => new Date('2026-02-01T00:00:00Z') }
const request: VolumePageRequest = {
  filter: { projectId: 'p' },
  sort: [
    { key: 'created_at', direction: 'desc' },
    { key: 'id', direction: 'desc' },
  ],
  limit: 100,
  offset: 0,
}

const principalOf = (role: string): Principal => ({
  userId: 'u',
  userName: 'u',
  userDomainId: 'default',
  projectId: 'p',
  projectName: 'p',
  roles: [role, 'reader'],
  systemScope: false,
  expiresAt: 4_000_000_000,
})

const viewer = (role: 'admin' | 'reader', minor: number): VolumeViewer =>
  viewerOf({
    principal: principalOf(role),
    version: { major: 3, minor },
    base: 'http://127.0.0.1:1/volume',
    projectId: 'p',
    params: {},
    query: {},
    body: undefined,
    requestId: 'r',
  })

async function open(t: TestContext, where: 'file' | 'memory'): Promise<Kysely<Database>> {
  const db = await openTestDatabase(t, where)
  for (const id of ['f1', 'f2']) {
    await sql`insert into flexvols (id, cluster, name, lif, junction_path, node, aggregate, created_at)
      values (${id}, 'c', ${id}, '10.0.0.1', ${`/${id}`}, 'n', 'a', '2026-01-01')`.execute(db)
  }
  await sql`insert into volume_types (id, name, created_at) values ('t', 'gold', '2026-01-01')`.execute(db)
  await sql`insert into block_services (id, "binary", host, updated_at)
    values ('s', 'cinder-volume', 'h@c', '2026-01-01')`.execute(db)
  return db
}

const appOf = (db: Kysely<Database>): Volumes =>
  createVolumes({ volumes: volumeRecords(db, clock), lists: volumeLists(db), topology: { host: 'h' } })

/** Texts that an encoder may get wrong. */
const texts = [
  null,
  '',
  'plain',
  '"quoted" \\ and / and \b\f\n\r\t',
  '\u0000\u0001\u001f\u007f\u0080\u2028\u2029\ufeff',
  'Größe, 大きさ, حجم',
  '💾 and \u{10ffff}',
  '</script><!--',
]

async function insertVolumes(db: Kysely<Database>): Promise<void> {
  for (const [i, text] of texts.entries()) {
    const pairs = text === null ? {} : { [text]: text, '1': 'first', __proto__x: 'y' }
    const values = {
      id: `v${i}`,
      project_id: 'p',
      user_id: 'u',
      name: text,
      description: texts[texts.length - 1 - i] ?? null,
      size_gib: i,
      status: i % 2 === 0 ? 'in-use' : 'available',
      migration_status: [null, 'success'][i % 2] ?? null,
      bootable: i % 2,
      multiattach: i % 3 === 0 ? 1 : 0,
      availability_zone: text ?? 'nova',
      volume_type_id: i % 2 === 0 ? 't' : null,
      flexvol_id: [null, 'f1', 'f2'][i % 3] ?? null,
      source_volid: i % 2 === 0 ? null : 'source',
      snapshot_id: i % 2 === 0 ? 'snapshot' : null,
      metadata: JSON.stringify(pairs),
      image_metadata: i % 2 === 0 ? '{}' : JSON.stringify(pairs),
      created_at: `2026-01-01T00:00:0${i}.123Z`,
      updated_at: i % 2 === 0 ? null : '2026-01-02T00:00:00.000Z',
    }
    await db.insertInto('volumes').values(values).execute()
    if (i % 2 === 0) await attach(db, `v${i}`, `a${i}`)
  }
}

const attach = (db: Kysely<Database>, volume: string, id: string): Promise<unknown> =>
  sql`insert into attachments (id, head_id, volume_id, server_id, project_id, host, status, mountpoint, connector,
    attached_at, created_at) values (${id}, ${id}, ${volume}, 'server', 'p', null, 'attached', '/dev/vdb',
    '{"host":"compute-1"}', '2026-01-03T00:00:00.000Z', '2026-01-03T00:00:00.000Z')`.execute(db)

/** The answer as the texts make it. */
async function answer(volumes: Volumes, kept: VolumeTexts, who: VolumeViewer, role: string): Promise<string> {
  const marked = await volumes.marks(principalOf(role), request)
  assert.ok(marked)
  const page = await kept.page(who, marked, (ids) => volumes.factsOf(ids))
  return volumesText(page, { volumes_links: [{ rel: 'next' }], count: 3 }).toString('utf8')
}

async function plain(volumes: Volumes, who: VolumeViewer, role: string): Promise<string> {
  const found = await volumes.list(principalOf(role), request)
  const views = found.map((facts) => volumeFullDetail(who, facts))
  return JSON.stringify({ volumes: views, volumes_links: [{ rel: 'next' }], count: 3 })
}

test('a list of kept texts is byte for byte what JSON.stringify makes of the view', async (t) => {
  const db = await open(t, 'file')
  await insertVolumes(db)
  const volumes = appOf(db)
  const kept = createVolumeTexts()
  for (const role of ['admin', 'reader'] as const) {
    for (const minor of [0, 13, 21, 48, 61, 63, 70]) {
      const who = viewer(role, minor)
      const right = await plain(volumes, who, role)
      assert.ok(right.includes('大きさ'))
      for (let i = 0; i < 4; i += 1) assert.equal(await answer(volumes, kept, who, role), right)
    }
  }
  assert.equal(volumesText([], {}).toString(), JSON.stringify({ volumes: [] }))
  assert.equal(volumesText([Buffer.from('{}')], {}).toString(), JSON.stringify({ volumes: [{}] }))
})

/** Everything that changes what a list shows of a volume. */
const changes: Record<string, string> = {
  'a new name': `update volumes set name = 'new' where id = 'v1'`,
  'a status, and nothing else': `update volumes set status = 'error' where id = 'v2'`,
  'the same once more': `update volumes set status = 'available' where id = 'v2'`,
  metadata: `update volumes set metadata = '{"a":"b"}'`,
  'another pool': `update volumes set flexvol_id = 'f2' where id = 'v1'`,
  'an attachment that changes': `update attachments set mountpoint = '/dev/vdz' where id = 'a0'`,
  'an attachment of another volume': `update attachments set volume_id = 'v1' where id = 'a2'`,
  'an attachment that is not shown any more': `update attachments set status = 'attaching' where id = 'a4'`,
  'no attachment': `delete from attachments where id = 'a0'`,
  'another attachment': `insert into attachments (id, head_id, volume_id, project_id, status, created_at)
    values ('b', 'b', 'v3', 'p', 'attached', '2026-01-04')`,
  'a type with another name': `update volume_types set name = 'silver'`,
  'a pool with another name': `update flexvols set junction_path = '/renamed' where id = 'f1'`,
  'another service': `update block_services set id = 'z'`,
  'a volume that is hidden': `update volumes set root_of = 'server' where id = 'v3'`,
  'and shown': `update volumes set root_of = null where id = 'v3'`,
  'a volume that is gone': `delete from volumes where id = 'v5'`,
  'another one of its id': `insert into volumes (id, project_id, user_id, size_gib, status, availability_zone, created_at)
    values ('v5', 'p', 'u', 77, 'creating', 'nova', '2026-01-05T00:00:00.000Z')`,
}

for (const where of ['file', 'memory'] as const) {
  test(`${where}: what was written is listed at once`, async (t) => {
    const db = await open(t, where)
    await insertVolumes(db)
    const volumes = appOf(db)
    const kept = createVolumeTexts()
    const who = viewer('admin', 70)
    let before = ''
    for (let i = 0; i < 3; i += 1) before = await answer(volumes, kept, who, 'admin')
    for (const [what, change] of Object.entries(changes)) {
      await sql.raw(change).execute(db)
      const right = await plain(volumes, who, 'admin')
      assert.notEqual(right, before, `${what} changes the list`)
      assert.equal(await answer(volumes, kept, who, 'admin'), right, what)
      before = await answer(volumes, kept, who, 'admin')
      assert.equal(before, right, what)
    }
  })
}

test('what is read between the marks and the texts may be newer than both, and is never kept as older', async (t) => {
  const db = await open(t, 'file')
  await insertVolumes(db)
  const volumes = appOf(db)
  const kept = createVolumeTexts()
  const who = viewer('admin', 70)
  await answer(volumes, kept, who, 'admin')
  const marked = await volumes.marks(principalOf('admin'), request)
  assert.ok(marked)
  await kept.page(who, marked, async (ids) => {
    const facts = await volumes.factsOf(ids)
    await sql`update volumes set name = 'late' where id = 'v1'`.execute(db)
    return facts
  })
  assert.equal(await answer(volumes, kept, who, 'admin'), await plain(volumes, who, 'admin'))
})

test('no more is kept than may be', async (t) => {
  const db = await open(t, 'memory')
  await insertVolumes(db)
  const volumes = appOf(db)
  const kept = createVolumeTexts(3)
  const who = viewer('admin', 70)
  let read = 0
  for (let i = 0; i < 3; i += 1) {
    const marked = await volumes.marks(principalOf('admin'), request)
    assert.ok(marked)
    await kept.page(who, marked, (ids) => {
      read += ids.length
      return volumes.factsOf(ids)
    })
  }
  assert.ok(read > texts.length, `${read} were read for two pages of ${texts.length}`)
})

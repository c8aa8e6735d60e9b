/** Volumes for Cinder's database, as `insertVolumes` makes them for Volant: two metadata each, every third one attached. */
import type { Cinder } from './cinder.ts'

const changed: Record<string, string> = {
  id: 'uuid()',
  created_at: "date_add('2026-01-01', interval seq second)",
  updated_at: "date_add('2026-01-01', interval seq second)",
  display_name: "concat('volume-', seq)",
  display_description: "concat('disk ', seq % 7, ' of machine ', floor(seq / 7))",
  size: '1 + seq % 100',
  status: "if(seq % 3 = 0, 'in-use', 'available')",
  attach_status: "if(seq % 3 = 0, 'attached', 'detached')",
}

/** `count` more that are like the volume `id`, but without images. Gives the ids of all. */
export async function insertCinderVolumes(
  { database }: Cinder,
  id: string,
  count: number,
): Promise<string[]> {
  const columns = (await database.sql('describe volumes'))
    .trim()
    .split('\n')
    .map((line) => line.split('\t')[0] ?? '')
  const quoted = columns.map((name) => `\`${name}\``)
  const values = columns.map((name) => changed[name] ?? `volumes.\`${name}\``)
  await database.sql(`
    insert into volumes (${quoted.join()})
      select ${values.join()} from volumes join seq_1_to_${count} where volumes.id = '${id}';
    insert into volume_metadata (created_at, deleted, volume_id, \`key\`, value)
      select created_at, 0, id, 'tier', 'gold' from volumes where deleted = 0
      union all select created_at, 0, id, 'team', 'team-7' from volumes where deleted = 0;
    insert into volume_attachment
      (id, created_at, deleted, volume_id, instance_uuid, mountpoint, attach_time, attach_mode, attach_status)
      select uuid(), created_at, 0, id, uuid(), '/dev/vdb', created_at, 'rw', 'attached'
      from volumes where deleted = 0 and attach_status = 'attached';`)
  return (await database.sql('select id from volumes where deleted = 0')).trim().split('\n')
}

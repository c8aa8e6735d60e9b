import type { Kysely } from 'kysely'
import type { PlacesInUse } from '../../domain/topology-in-use.ts'
import type { Database } from '../schema.ts'

/** The places of all volumes, images, servers and shares, with their numbers. */
export async function placesInUse(db: Kysely<Database>): Promise<PlacesInUse> {
  const clusters = await db
    .selectFrom('flexvol_sums')
    .innerJoin('flexvols', 'flexvols.id', 'flexvol_sums.flexvol_id')
    .select((eb) => ['flexvols.cluster as name', eb.fn.sum<number>('flexvol_sums.volumes').as('volumes')])
    .where('flexvol_sums.of_share', '=', 0)
    .groupBy('flexvols.cluster')
    .orderBy('flexvols.cluster')
    .execute()
  const aggregates = await db
    .selectFrom('copy_sums')
    .select((eb) => ['node', 'aggregate', eb.fn.sum<number>('copies').as('images')])
    .groupBy(['node', 'aggregate'])
    .orderBy('node')
    .orderBy('aggregate')
    .execute()
  const hosts = await db
    .selectFrom('servers')
    .select((eb) => ['host', eb.fn.countAll<number>().as('servers')])
    .where('deleted_at', 'is', null)
    .where('host', 'is not', null)
    .groupBy('host')
    .orderBy('host')
    .execute()
  const shares = await db
    .selectFrom('shares')
    .innerJoin('flexvols', 'flexvols.id', 'shares.flexvol_id')
    .leftJoin('attachments', 'attachments.share_id', 'shares.id')
    .select((eb) => [
      'flexvols.cluster',
      'flexvols.lif',
      'attachments.host as node',
      eb.fn.count<number>('shares.id').distinct().as('shares'),
    ])
    .groupBy(['flexvols.cluster', 'flexvols.lif', 'attachments.host'])
    .orderBy('flexvols.cluster')
    .orderBy('attachments.host')
    .execute()
  return {
    clusters: clusters.map(({ name, volumes }) => ({ name, volumes: Number(volumes) })),
    aggregates: aggregates.map(({ images, ...place }) => ({ ...place, images: Number(images) })),
    computeHosts: hosts.map(({ host, servers }) => ({ name: host ?? '', servers: Number(servers) })),
    shares: shares.map(({ shares: count, ...place }) => ({ ...place, shares: Number(count) })),
  }
}

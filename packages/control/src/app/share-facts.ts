import { createHash } from 'node:crypto'
import { exportLocationOf, junctionPathOf, shareHostOf, type Share, type ShareType } from '../domain/share.ts'
import type { Topology } from '../domain/topology.ts'
import type { ShareLists } from '../ports/share-records.ts'
import type { ShareTypeRecords } from '../ports/shares.ts'

/** Where clients mount a share. It is the same in the share's whole life. */
export interface ExportLocation {
  id: string
  /** `LIF:/share_…`. */
  path: string
  shareId: string
  shareInstanceId: string
  createdAt: string
  updatedAt: string | null
}

/** A share with all that a view of it shows. */
export interface ShareFacts {
  share: Share
  type: ShareType | null
  /** `HOST@BACKEND#AGGREGATE`; null until it was placed. */
  host: string | null
  /** Of its one instance, which Manila's administrators see. */
  instanceId: string
  /** None until it is served. */
  exportLocations: ExportLocation[]
}

export interface ShareFactsSources {
  types: Pick<ShareTypeRecords, 'list'>
  lists: Pick<ShareLists, 'placesOf'>
  topology: Pick<Topology, 'host' | 'clusters'>
}

/** What the views of these shares show, in a fixed number of queries. */
export async function gatherShareFacts(
  sources: ShareFactsSources,
  shares: readonly Share[],
): Promise<ShareFacts[]> {
  if (shares.length === 0) return []
  const types = new Map((await sources.types.list()).map((type) => [type.id, type]))
  const places = await sources.lists.placesOf(shares.map(({ id }) => id))
  return shares.map((share) => {
    const place = places.get(share.id)
    return {
      share,
      type: types.get(share.shareTypeId) ?? null,
      host: place === undefined ? null : shareHostOf(sources.topology, place),
      instanceId: instanceIdOf(share.id),
      exportLocations: exportLocationsOf(sources.topology, share),
    }
  })
}

const derived = (word: string, shareId: string): string => {
  const hex = createHash('sha256').update(`${word}/${shareId}`).digest('hex')
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`
}

/** A share has one instance in its life; both its ids follow from the share's. */
const instanceIdOf = (shareId: string): string => derived('instance', shareId)
export const exportLocationIdOf = (shareId: string): string => derived('export-location', shareId)

function exportLocationsOf({ clusters }: Pick<Topology, 'clusters'>, share: Share): ExportLocation[] {
  const lif = clusters.find(({ name }) => name === share.cluster)?.shares?.lif
  const isServed = share.exportId !== null && !share.status.startsWith('creating')
  if (lif === undefined || !isServed) return []
  return [
    {
      id: exportLocationIdOf(share.id),
      path: exportLocationOf({ lif, junctionPath: junctionPathOf(share.id) }),
      shareId: share.id,
      shareInstanceId: instanceIdOf(share.id),
      createdAt: share.createdAt,
      updatedAt: share.updatedAt,
    },
  ]
}

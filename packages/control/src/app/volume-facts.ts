import { backendHost } from '../domain/block-service.ts'
import { formatHostString } from '../domain/host-string.ts'
import { poolName, type Topology } from '../domain/topology.ts'
import type { VolumeType } from '../domain/volume-type.ts'
import type { Attachment, FlexVol, Volume } from '../domain/volume.ts'
import type { VolumeLists } from '../ports/block-storage.ts'

/** A volume with all that a view of it shows. */
export interface VolumeFacts {
  volume: Volume
  attachments: Attachment[]
  /** `HOST@BACKEND#POOL`; null until it was placed. */
  host: string | null
  /** Of its backend's `cinder-volume`. */
  serviceId: string | null
  type: VolumeType | null
}

export interface VolumeFactsSources {
  lists: Pick<VolumeLists, 'attachmentsOf' | 'referred'>
  topology: Pick<Topology, 'host'>
}

/** What the views of these volumes show, in a fixed number of queries. */
export async function gatherVolumeFacts(
  sources: VolumeFactsSources,
  volumes: readonly Volume[],
): Promise<VolumeFacts[]> {
  if (volumes.length === 0) return []
  const { host } = sources.topology
  const attachments = groupByVolume(await sources.lists.attachmentsOf(volumes.map((v) => v.id)))
  const { flexvols, services, types } = await sources.lists.referred()
  const serviceIds = new Map(services.map((service) => [service.host, service.id]))
  const places = new Map<string | null, { host: string | null; serviceId: string | null }>()
  const placeOf = (flexvolId: string | null) => {
    const known = places.get(flexvolId)
    if (known !== undefined) return known
    const flexvol = flexvolId === null ? undefined : flexvols.get(flexvolId)
    const place = {
      host: flexvol === undefined ? null : poolHost(host, flexvol),
      serviceId: flexvol === undefined ? null : (serviceIds.get(backendHost(host, flexvol.cluster)) ?? null),
    }
    places.set(flexvolId, place)
    return place
  }
  return volumes.map((volume) => {
    const place = placeOf(volume.flexvolId)
    return {
      volume,
      attachments: attachments.get(volume.id) ?? none,
      host: place.host,
      serviceId: place.serviceId,
      type: volume.volumeTypeId === null ? null : (types.get(volume.volumeTypeId) ?? null),
    }
  })
}

const none: Attachment[] = []

/** The pool's full host string. */
export const poolHost = (host: string, flexvol: FlexVol): string =>
  formatHostString({ host, backend: flexvol.cluster, pool: poolName(flexvol) })

function groupByVolume(attachments: Attachment[]): Map<string, Attachment[]> {
  const groups = new Map<string, Attachment[]>()
  for (const attachment of attachments) {
    const group = groups.get(attachment.volumeId)
    if (group === undefined) groups.set(attachment.volumeId, [attachment])
    else group.push(attachment)
  }
  return groups
}

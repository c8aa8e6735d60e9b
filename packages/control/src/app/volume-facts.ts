import { backendHost } from '../domain/block-service.ts'
import { formatHostString } from '../domain/host-string.ts'
import { poolName, type Topology } from '../domain/topology.ts'
import type { VolumeType } from '../domain/volume-type.ts'
import type { Attachment, FlexVol, Volume } from '../domain/volume.ts'
import type { BlockServiceRecords, VolumeLists, VolumeTypeRecords } from '../ports/block-storage.ts'
import type { FlexVolRecords } from '../ports/records.ts'

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
  lists: Pick<VolumeLists, 'attachmentsOf'>
  types: Pick<VolumeTypeRecords, 'findMany'>
  flexvols: Pick<FlexVolRecords, 'list'>
  services: Pick<BlockServiceRecords, 'list'>
  topology: Pick<Topology, 'host'>
}

/** What the views of these volumes show, in a fixed number of queries. */
export async function gatherVolumeFacts(
  sources: VolumeFactsSources,
  volumes: readonly Volume[],
): Promise<VolumeFacts[]> {
  if (volumes.length === 0) return []
  const attachments = groupByVolume(await sources.lists.attachmentsOf(volumes.map((v) => v.id)))
  const typeIds = new Set(volumes.flatMap((v) => v.volumeTypeId ?? []))
  const types = new Map((await sources.types.findMany([...typeIds])).map((type) => [type.id, type]))
  const flexvols = new Map((await sources.flexvols.list()).map((flexvol) => [flexvol.id, flexvol]))
  const services = new Map((await sources.services.list()).map((service) => [service.host, service.id]))
  return volumes.map((volume) => {
    const flexvol = volume.flexvolId === null ? undefined : flexvols.get(volume.flexvolId)
    const { host } = sources.topology
    return {
      volume,
      attachments: attachments.get(volume.id) ?? [],
      host: flexvol === undefined ? null : poolHost(host, flexvol),
      serviceId: flexvol === undefined ? null : (services.get(backendHost(host, flexvol.cluster)) ?? null),
      type: volume.volumeTypeId === null ? null : (types.get(volume.volumeTypeId) ?? null),
    }
  })
}

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

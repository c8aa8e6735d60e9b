import { DomainError } from '@volant/contract'

/** One entry of `block_device_mapping_v2`, its values checked one by one but not yet together. */
export interface BlockDeviceEntry {
  sourceType?: 'volume' | 'image' | 'snapshot' | 'blank'
  destinationType?: 'local' | 'volume'
  uuid?: string
  bootIndex?: number | null
  sizeGib?: number
  deleteOnTermination: boolean
  deviceName?: string
  volumeType?: string
  /** `no_device`: take one away that the image has; there is none. */
  noDevice: boolean
}

/** A disk that the server gets from a volume. */
export interface VolumeMapping {
  /** An existing volume, or what to make one of. */
  source:
    | { volumeId: string }
    | { imageId: string; sizeGib: number }
    | { snapshotId: string; /** Null: the snapshot's. */ sizeGib: number | null }
    | { sizeGib: number }
  volumeType?: string
  /** 0: the server boots from it. */
  bootIndex: number | null
  deleteOnTermination: boolean
  deviceName?: string
}

const refuse = (details: string): never => {
  throw new DomainError('invalid', `Block Device Mapping is Invalid: ${details}`)
}

const badSequence = 'Boot sequence for the instance and image/block device mapping combination is not valid.'

/**
 * What the entries mean together. The image that the server boots from without a volume may stand among them
 * (`image` to `local`, boot index 0), as clients send it; it is not in the result.
 */
export function volumeMappings(
  entries: readonly BlockDeviceEntry[],
  imageRef: string | undefined,
): VolumeMapping[] {
  const mappings: VolumeMapping[] = []
  const namedRoots: string[] = []
  for (const entry of entries) {
    if (entry.noDevice) continue
    if (entry.sourceType === 'image' && (entry.destinationType ?? 'local') === 'local') {
      if (entry.bootIndex !== 0) refuse('Mapping image to local is not supported.')
      if (entry.uuid === undefined) refuse('Missing device UUID.')
      if (imageRef !== undefined && entry.uuid !== imageRef) refuse(badSequence)
      namedRoots.push(entry.uuid as string)
      continue
    }
    mappings.push(volumeMapping(entry))
  }
  if (namedRoots.length > 1) refuse(badSequence)
  const bootsFromVolume = mappings.some(({ bootIndex }) => bootIndex === 0)
  requireBootSequence(mappings, namedRoots.length > 0 || (imageRef !== undefined && !bootsFromVolume))
  return mappings
}

/** The image that the entries, rather than `imageRef`, make the root disk of. */
export const rootImageOf = (entries: readonly BlockDeviceEntry[]): string | undefined =>
  entries.find(
    (entry) =>
      !entry.noDevice && entry.sourceType === 'image' && (entry.destinationType ?? 'local') === 'local',
  )?.uuid

function volumeMapping(entry: BlockDeviceEntry): VolumeMapping {
  const common = {
    bootIndex: entry.bootIndex === undefined || (entry.bootIndex ?? -1) < 0 ? null : entry.bootIndex,
    deleteOnTermination: entry.deleteOnTermination,
    ...(entry.deviceName === undefined ? {} : { deviceName: entry.deviceName }),
    ...(entry.volumeType === undefined ? {} : { volumeType: entry.volumeType }),
  }
  switch (entry.sourceType) {
    case 'volume':
      if (entry.destinationType === 'local') refuse('Mapping volume to local is not supported.')
      return { ...common, source: { volumeId: entry.uuid ?? refuse('Missing device UUID.') } }
    case 'image': {
      const imageId = entry.uuid ?? refuse('Missing device UUID.')
      const sizeGib =
        entry.sizeGib ??
        refuse("Images with destination_type 'volume' need to have a non-zero size specified")
      return { ...common, source: { imageId, sizeGib } }
    }
    case 'blank': {
      if (entry.uuid !== undefined) refuse('Invalid device UUID.')
      if ((entry.destinationType ?? 'local') === 'local') {
        throw new DomainError(
          'invalid',
          'Ephemeral disks requested are larger than the instance type allows. Volant has no ephemeral or ' +
            "swap disks: use destination_type 'volume'.",
        )
      }
      const sizeGib =
        entry.sizeGib ?? refuse("Blank volumes (source: 'blank', dest: 'volume') need to have non-zero size")
      return { ...common, source: { sizeGib } }
    }
    case 'snapshot': {
      if (entry.destinationType === 'local') refuse('Mapping snapshot to local is not supported.')
      const snapshotId = entry.uuid ?? refuse('Missing device UUID.')
      return { ...common, source: { snapshotId, sizeGib: entry.sizeGib ?? null } }
    }
    default:
      return refuse("Invalid source_type field. Expected one of 'volume', 'image', 'snapshot', 'blank'.")
  }
}

/** One root, and indexes without a gap. */
function requireBootSequence(mappings: readonly VolumeMapping[], rootOfImage: boolean): void {
  const indexes = mappings.flatMap(({ bootIndex }) => (bootIndex === null ? [] : [bootIndex]))
  if (rootOfImage) indexes.push(0)
  indexes.sort((a, b) => a - b)
  if (indexes.length === 0 || indexes.some((index, place) => index !== place)) refuse(badSequence)
}

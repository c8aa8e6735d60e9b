import type { AggregatePlace } from './volume.ts'

/** What every part of a FlexVol's move is told. */
export interface PartInput {
  moveId: string
  flexvolId: string
  volumeId: string
  /** Null: it moves the volume's own image. */
  snapshotId: string | null
  from: AggregatePlace
  to: AggregatePlace
  sourceImageId: string
  /** Chosen at the request, so that every step knows it from the start. */
  targetImageId: string
  /** A snapshot that has moved and shares blocks with this image: they are not copied again. Null: none. */
  base: ShareBase | null
}

export interface ShareBase {
  snapshotId: string
  /** Its image beside the source, kept for this, and its truth beside the target. */
  fromImageId: string
  toImageId: string
}

/** Of what a part leaves while its move lasts: it is a base, or is taken back. The move itself gives it its time. */
export const keptForTheMove = '9999-12-31T23:59:59.999Z'

/** The keys of a part: what it moves, and what must stay as it is meanwhile. */
export const partKeys = ({ volumeId, snapshotId, base }: PartInput): string[] => [
  snapshotId === null ? `volume/${volumeId}` : `snapshot/${snapshotId}`,
  ...(base === null ? [] : [`snapshot/${base.snapshotId}`]),
]

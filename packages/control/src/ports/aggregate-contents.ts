import type { AggregatePlace } from '../domain/volume.ts'

/** A FlexVol's images on one aggregate, by the records. */
export interface ImagesThere extends AggregatePlace {
  flexvolId: string
  /** All but the retained ones. */
  images: number
  retained: number
  /** When the last of the retained ones goes; null: none is retained. */
  retainedUntil: string | null
}

/** What is on aggregates by the records, and what is promised of their space. */
export interface AggregateContents {
  images(): Promise<ImagesThere[]>
  /**
   * Bytes that are held back on an aggregate: by copies that are being made there, of whichever FlexVol, and by FlexVols
   * that move there. The one sum that all free space is told by.
   */
  reservedAt(place: AggregatePlace): Promise<number>
  /** The same of all aggregates, by `placeKey`. */
  reserved(): Promise<ReadonlyMap<string, number>>
}

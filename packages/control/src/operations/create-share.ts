import { final, operation } from '@volant/saga'
import type { AggregatePlace } from '../domain/volume.ts'

export interface CreateShareInput {
  /** The row is there, `creating` or `creating_from_snapshot`. */
  shareId: string
  projectId: string
  requestId: string
  sizeGib: number
  /** Chosen at the request, as all that follow: every step knows them from the start. */
  flexvolId: string
  volumeId: string
  /** Of the file that will hold its bytes. */
  copyId: string
  attachmentId: string
  /** Where it will be. */
  place: AggregatePlace
  /** A snapshot of a share of the same cluster, which is not deleted meanwhile. Null: an empty file system. */
  source: { snapshotId: string } | null
}

/** Makes a share. */
export const createShare = operation<CreateShareInput, object>('share.create', { version: 1 })
  .holds(({ shareId }) => [`share/${shareId}`])

  .commit('begin', {
    do: () => {
      throw final('This is being built.')
    },
    happened: () => false,
  })

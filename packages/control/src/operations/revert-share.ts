import { final, operation } from '@volant/saga'

export interface RevertShareInput {
  /** Its status is `reverting`. */
  shareId: string
  /** The share's. */
  volumeId: string
  /** Its status is `restoring`. */
  snapshotId: string
  /** Of the file that will be the truth. */
  copyId: string
  projectId: string
  requestId: string
}

/** A share holds again what its latest snapshot holds. */
export const revertShare = operation<RevertShareInput, object>('share.revert', { version: 1 })
  .holds(({ shareId }) => [`share/${shareId}`])

  .commit('begin', {
    do: () => {
      throw final('This is being built.')
    },
    happened: () => false,
  })

import { final, operation } from '@volant/saga'

export interface DeleteShareInput {
  /** Its status is `deleting`; it has no snapshots. */
  shareId: string
  /** The share's; null: it was never placed. Nobody moves it, or works on its volume, meanwhile. */
  volumeId: string | null
  flexvolId: string | null
  projectId: string
  requestId: string
}

/** Removes a share. */
export const deleteShare = operation<DeleteShareInput, object>('share.delete', { version: 1 })
  .holds(({ shareId }) => [`share/${shareId}`])

  .commit('begin', {
    do: () => {
      throw final('This is being built.')
    },
    happened: () => false,
  })

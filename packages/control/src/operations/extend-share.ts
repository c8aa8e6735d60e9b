import { final, operation } from '@volant/saga'

export interface ExtendShareInput {
  /** Its status is `extending`. */
  shareId: string
  projectId: string
  requestId: string
  oldSizeGib: number
  newSizeGib: number
}

/** Grows a share. */
export const extendShare = operation<ExtendShareInput, object>('share.extend', { version: 1 })
  .holds(({ shareId }) => [`share/${shareId}`])

  .commit('begin', {
    do: () => {
      throw final('This is being built.')
    },
    happened: () => false,
  })

import { final, operation } from '@volant/saga'

export interface ApplyShareAccessInput {
  /** Rules of it are queued. */
  shareId: string
}

/** Brings the access rules to the export. */
export const applyShareAccess = operation<ApplyShareAccessInput, object>('share.access', { version: 1 })
  .holds(({ shareId }) => [`share/${shareId}`])

  .commit('begin', {
    do: () => {
      throw final('This is being built.')
    },
    happened: () => false,
  })

import { final, operation } from '@volant/saga'
import type { AggregatePlace } from '../domain/volume.ts'
import type { MoveFlexVolInput } from './move-flexvol.ts'

export interface MigrateShareInput {
  /** Its status is `migrating`, its task state `migration_starting`. */
  shareId: string
  flexvolId: string
  from: AggregatePlace
  to: AggregatePlace
  /** What the share will be of; null: as it was. */
  shareTypeId: string | null
  projectId: string
  requestId: string
  /** As the plan of the FlexVol's move says. */
  move: Pick<MoveFlexVolInput, 'shares' | 'estimateBytes' | 'cutoverWindowSeconds' | 'retentionSeconds'>
}

/** A share moves to another aggregate. */
export const migrateShare = operation<MigrateShareInput, object>('share.migrate', { version: 1 })
  .holds(({ shareId }) => [`share-migration/${shareId}`])

  .commit('begin', {
    do: () => {
      throw final('This is being built.')
    },
    happened: () => false,
  })

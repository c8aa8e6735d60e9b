/** Shares: a part of the composition root. */
import { bind, type BoundOperation } from '@volant/saga'
import { createShare } from './operations/create-share.ts'
import { deleteShare } from './operations/delete-share.ts'
import { extendShare } from './operations/extend-share.ts'
import { applyShareAccess } from './operations/apply-share-access.ts'
import { revertShare } from './operations/revert-share.ts'
import { migrateShare } from './operations/migrate-share.ts'

export interface Shares {
  /** For the engine; they exist before it does. */
  operations: BoundOperation[]
}

export function createShares(): Shares {
  return {
    operations: [
      bind(createShare, {}),
      bind(deleteShare, {}),
      bind(extendShare, {}),
      bind(applyShareAccess, {}),
      bind(revertShare, {}),
      bind(migrateShare, {}),
    ],
  }
}

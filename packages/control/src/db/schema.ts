import type { BlockStorageTables } from './tables/block-storage.ts'
import type { ComputeTables } from './tables/compute.ts'
import type { IdentityTables } from './tables/identity.ts'
import type { ImageTables } from './tables/image.ts'
import type { OperationTables } from './tables/operation.ts'
import type { ShareTables } from './tables/share.ts'
import type { StorageTables } from './tables/storage.ts'
import type { SweepTables } from './tables/sweep.ts'

/** All tables. Each area keeps its row types in `tables/<area>.ts`. */
export interface Database
  extends
    StorageTables,
    OperationTables,
    BlockStorageTables,
    IdentityTables,
    ImageTables,
    ComputeTables,
    SweepTables,
    ShareTables {}

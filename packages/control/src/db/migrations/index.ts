import type { Migration } from 'kysely/migration'
import * as core from './0001-core.ts'
import * as operations from './0002-operations.ts'
import * as identityImage from './0003-identity-image.ts'
import * as blockStorage from './0004-block-storage.ts'
import * as compute from './0005-compute.ts'
import * as tombstones from './0006-tombstones.ts'
import * as flexvolMoves from './0007-flexvol-moves.ts'
import * as shares from './0008-shares.ts'
import * as snapshotAccess from './0009-snapshot-access.ts'
import * as hosts from './0010-hosts.ts'
import * as rootDisks from './0011-root-disks.ts'
import * as pace from './0012-pace.ts'
import * as sums from './0013-sums.ts'

/** In order. A released migration is never changed; a change is a new one. */
export const migrations: Record<string, Migration> = {
  '0001-core': core,
  '0002-operations': operations,
  '0003-identity-image': identityImage,
  '0004-block-storage': blockStorage,
  '0005-compute': compute,
  '0006-tombstones': tombstones,
  '0007-flexvol-moves': flexvolMoves,
  '0008-shares': shares,
  '0009-snapshot-access': snapshotAccess,
  '0010-hosts': hosts,
  '0011-root-disks': rootDisks,
  '0012-pace': pace,
  '0013-sums': sums,
}

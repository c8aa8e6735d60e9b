import { DomainError } from '@volant/contract'
import type { ComputeAgent } from '@volant/contract'

type Migrating = Pick<
  ComputeAgent,
  | 'guestHardware'
  | 'ensureIncoming'
  | 'awaitIncoming'
  | 'ensureArrived'
  | 'ensureNoIncoming'
  | 'ensureMigration'
  | 'setMigrationLimits'
  | 'awaitMigration'
  | 'beginSwitchover'
  | 'continueMigration'
  | 'ensureMigrationAbandoned'
>

const beingBuilt = (): Promise<never> =>
  Promise.reject(new DomainError('notImplemented', 'This is being built.'))

export const migratingBeingBuilt: Migrating = {
  guestHardware: beingBuilt,
  ensureIncoming: beingBuilt,
  awaitIncoming: beingBuilt,
  ensureArrived: beingBuilt,
  ensureNoIncoming: beingBuilt,
  ensureMigration: beingBuilt,
  setMigrationLimits: beingBuilt,
  awaitMigration: beingBuilt,
  beginSwitchover: beingBuilt,
  continueMigration: beingBuilt,
  ensureMigrationAbandoned: beingBuilt,
}

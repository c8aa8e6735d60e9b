import { isInTheWay } from './giving-way.ts'
import { poolName } from './topology.ts'
import { formatHostString } from './host-string.ts'
import type { Attachment, FlexVol, Volume } from './volume.ts'
import { gib } from './volume.ts'

/**
 * What must hold before a volume may migrate. Each condition has its own answer, so a refusal names the thing
 * that is wrong and what would be right; a dry run shows all of them.
 */
export interface MigrationCheck {
  /** A stable name for scripts. */
  name: string
  ok: boolean
  /** What is wrong and what would be right; where `ok`, what was found. */
  reason: string
}

export interface MigrationFacts {
  volume: Volume
  attachments: Attachment[]
  /** How many it has. */
  snapshots: number
  source: FlexVol | undefined
  target: TargetFacts
  /** Bytes that the source image occupies. */
  allocatedBytes: number
  /** The operation that holds the volume now, if any. */
  heldBy: { id: string; kind: string } | undefined
  /** Hosts of the attachments' servers that do not answer. */
  hostsDown: string[]
  /** Why a node's data plane could not do it; empty: it can. */
  missingAbilities: string[]
}

export interface TargetFacts {
  /** As it was asked for. */
  text: string
  host: string
  backend: string
  pool: string
  /** This installation's own. */
  knownHost: string
  knownBackends: string[]
  /** Pools of the named backend. */
  knownPools: string[]
  flexvol: FlexVol | undefined
  enabled: boolean
  /** The operation that empties the aggregate where the volume would go; null: none does. */
  vacatedBy: string | null
  /** Bytes that can still be written, reservations taken off. */
  freeBytes: number
}

type Rule = (facts: MigrationFacts) => Omit<MigrationCheck, 'name'>

const pass = (reason: string) => ({ ok: true, reason })
const refuse = (reason: string) => ({ ok: false, reason })
const amount = (bytes: number) => `${(bytes / gib).toFixed(2)} GiB`
const list = (names: string[]) => (names.length === 0 ? '(none)' : names.join(', '))

const rules: Record<string, Rule> = {
  'target-host': ({ target: t }) =>
    t.host === t.knownHost
      ? pass(`host ${t.host}`)
      : refuse(`No available service named '${t.host}': the host here is '${t.knownHost}'.`),
  'target-backend': ({ target: t }) =>
    t.knownBackends.includes(t.backend)
      ? pass(`backend ${t.backend}`)
      : refuse(`There is no backend '${t.backend}'. There are: ${list(t.knownBackends)}.`),
  'target-pool': ({ target: t }) =>
    t.flexvol !== undefined
      ? pass(`pool ${t.pool}`)
      : refuse(`Backend '${t.backend}' has no pool '${t.pool}'. It has: ${list(t.knownPools)}.`),
  'target-enabled': ({ target: t }) =>
    t.enabled
      ? pass('the service is enabled and up')
      : refuse(`The service ${t.host}@${t.backend} is disabled. 'cinder service-enable' enables it.`),
  'target-not-vacated': ({ target: t }) =>
    t.vacatedBy === null
      ? pass('its aggregate is not being emptied')
      : refuse(
          `The aggregate of pool ${t.pool} is being emptied by operation ${t.vacatedBy}. Name another pool, or wait.`,
        ),
  'another-pool': ({ source, target: t }) =>
    source === undefined || t.flexvol === undefined || source.id !== t.flexvol.id
      ? pass('source and target are different pools')
      : refuse(`The volume is in ${t.text} already. Name another pool.`),
  'volume-status': ({ volume: v }) =>
    v.status === 'available' || v.status === 'in-use'
      ? pass(`status ${v.status}`)
      : refuse(`Invalid volume: its status must be available or in-use, but it is ${v.status}.`),
  'not-migrating': ({ volume: v }) =>
    v.migrationStatus === null || v.migrationStatus === 'success' || v.migrationStatus === 'error'
      ? pass('no migration is under way')
      : refuse(`Invalid volume: it is migrating already (migration status ${v.migrationStatus}).`),
  'not-busy': ({ heldBy }) =>
    !isInTheWay(heldBy)
      ? pass('no other operation is under way')
      : refuse(
          `Operation ${heldBy.id} (${heldBy.kind}) is working on the volume. Wait for it, or cancel it.`,
        ),
  'has-data': ({ volume: v, source }) =>
    v.imageId !== null && source !== undefined
      ? pass('the volume has an image')
      : refuse('Invalid volume: it has no data to move; it was never created whole.'),
  'no-snapshots': ({ volume: v, snapshots }) =>
    snapshots === 0
      ? pass('the volume has no snapshots')
      : refuse(
          `Invalid volume: Volume ${v.id} must not have snapshots, and it has ${snapshots}, which would stay behind. ` +
            'Delete them, or move its whole FlexVol to another aggregate: that takes them along.',
        ),
  'one-attachment': ({ attachments }) =>
    attachments.length <= 1
      ? pass(attachments.length === 0 ? 'detached' : `attached to ${String(attachments[0]?.serverId)}`)
      : refuse('Invalid volume: it is attached more than once, and such a volume cannot move yet.'),
  'attachment-settled': ({ attachments }) =>
    attachments.every((a) => a.status === 'attached')
      ? pass('no attachment is changing')
      : refuse('Invalid volume: it is being attached or detached, or reserved. Try again afterwards.'),
  'host-up': ({ hostsDown }) =>
    hostsDown.length === 0
      ? pass('the compute host answers')
      : refuse(`The compute host ${list(hostsDown)} does not answer, and the volume's head is there.`),
  abilities: ({ missingAbilities }) =>
    missingAbilities.length === 0 ? pass('the data plane can do it') : refuse(missingAbilities.join(' ')),
  'target-space': ({ target: t, allocatedBytes }) =>
    t.flexvol === undefined || t.freeBytes >= allocatedBytes
      ? pass(`${amount(allocatedBytes)} to move, ${amount(t.freeBytes)} free`)
      : refuse(
          `Pool ${t.pool} is too small: ${amount(allocatedBytes)} are needed, and ${amount(t.freeBytes)} are free ` +
            'after what other operations have reserved.',
        ),
}

/** All checks, in the order in which they are reported. */
export function checkMigration(facts: MigrationFacts): MigrationCheck[] {
  return Object.entries(rules).map(([name, rule]) => ({ name, ...rule(facts) }))
}

export const hostStringOf = (host: string, flexvol: FlexVol): string =>
  formatHostString({ host, backend: flexvol.cluster, pool: poolName(flexvol) })

import { DomainError } from '@volant/contract'
import type { Share, ShareType } from './share.ts'

/** The type of shares that name none, until an administrator makes another one. */
const defaultShareTypeName = 'default'
/** Fixed, so that every control plane of an installation makes the same row. */
export const defaultShareTypeId = '5ea2e000-0000-4000-8000-5f0000de5a17'

export const defaultShareType = (createdAt: string): ShareType => ({
  id: defaultShareTypeId,
  name: defaultShareTypeName,
  description: 'NFS, with snapshots',
  isPublic: true,
  isDefault: true,
  extraSpecs: {
    driver_handles_share_servers: 'False',
    snapshot_support: 'True',
    create_share_from_snapshot_support: 'True',
    revert_to_snapshot_support: 'True',
  },
  createdAt,
  updatedAt: null,
})

/** Extra specs that say what a share of the type can do; a user sees them. */
export const shareAbilities = [
  'snapshot_support',
  'create_share_from_snapshot_support',
  'revert_to_snapshot_support',
  'mount_snapshot_support',
] as const

/** Of these too, a user sees the value. */
export const tenantVisibleSpecs: readonly string[] = [
  ...shareAbilities,
  'driver_handles_share_servers',
  'replication_type',
  'availability_zones',
  'provisioning:max_share_size',
  'provisioning:min_share_size',
  'provisioning:max_share_extend_size',
  'volant:root_squash',
]

const booleanSpecs: readonly string[] = [
  ...shareAbilities,
  'driver_handles_share_servers',
  'volant:root_squash',
]
const sizeSpecs: readonly string[] = [
  'provisioning:max_share_size',
  'provisioning:min_share_size',
  'provisioning:max_share_extend_size',
]

/** `True`, `<is> True`, `yes`, as Manila reads it; undefined for what is neither. */
export function booleanSpec(text: string): boolean | undefined {
  const word = text
    .trim()
    .toLowerCase()
    .replace(/^<is>\s*/, '')
  if (['true', '1', 't', 'yes', 'y', 'on'].includes(word)) return true
  if (['false', '0', 'f', 'no', 'n', 'off'].includes(word)) return false
  return undefined
}

/** Throws `invalid` for a value that means nothing, and for what no share here can do. */
export function requireSpecs(specs: Readonly<Record<string, string>>): void {
  const refuse = (reason: string): never => {
    throw new DomainError('invalid', reason)
  }
  for (const [key, value] of Object.entries(specs)) {
    const shown = value.slice(0, 80)
    if (key.startsWith('volant:') && key !== 'volant:root_squash') {
      refuse(`Invalid extra_spec: ${key.slice(0, 80)} means nothing. There is volant:root_squash.`)
    }
    if (booleanSpecs.includes(key) && booleanSpec(value) === undefined) {
      refuse(`Invalid extra_spec: ${key}: ${shown}. It must be True or False.`)
    }
    if (sizeSpecs.includes(key) && !/^[1-9]\d{0,8}$/.test(value)) {
      refuse(`Invalid extra_spec: ${key}: ${shown}. It must be a whole number of GiB, and greater than 0.`)
    }
  }
  const wants = (key: string): boolean => booleanSpec(specs[key] ?? 'False') === true
  if (wants('driver_handles_share_servers')) {
    refuse(
      'Invalid extra_spec: driver_handles_share_servers=True: there are no share servers to be made here, each backend ' +
        'has its own. Use driver_handles_share_servers=False.',
    )
  }
  if (specs['replication_type'] !== undefined && specs['replication_type'] !== '') {
    refuse('Invalid extra_spec: replication_type: shares have no replicas here.')
  }
  const dependent = shareAbilities.slice(1).find(wants)
  if (dependent !== undefined && specs['snapshot_support'] !== undefined && !wants('snapshot_support')) {
    refuse(`Invalid extra_spec: ${dependent}=True needs snapshot_support=True.`)
  }
}

export type ShareAbilities = Pick<
  Share,
  | 'snapshotSupport'
  | 'createShareFromSnapshotSupport'
  | 'revertToSnapshotSupport'
  | 'mountSnapshotSupport'
  | 'rootSquash'
>

/** What a share of the type can do: what the type does not say, it can't. Root squash is on unless the type says no. */
export function abilitiesOf({ extraSpecs }: Pick<ShareType, 'extraSpecs'>): ShareAbilities {
  const has = (key: string, otherwise: boolean): boolean => booleanSpec(extraSpecs[key] ?? '') ?? otherwise
  return {
    snapshotSupport: has('snapshot_support', false),
    createShareFromSnapshotSupport: has('create_share_from_snapshot_support', false),
    revertToSnapshotSupport: has('revert_to_snapshot_support', false),
    mountSnapshotSupport: has('mount_snapshot_support', false),
    rootSquash: has('volant:root_squash', true),
  }
}

/** Throws `invalid` with Manila's words where the type has a bound that the size is beyond. */
export function requireTypeSize(
  { extraSpecs, name }: Pick<ShareType, 'extraSpecs' | 'name'>,
  sizeGib: number,
  doing: 'create' | 'extend' | 'admin-extend',
): void {
  const bound = (key: string): number => Number(extraSpecs[`provisioning:${key}`] ?? Number.NaN)
  if (doing === 'create' && sizeGib < bound('min_share_size')) {
    throw new DomainError(
      'invalid',
      `Invalid input received: Specified share size of '${sizeGib}' is less than the minimum required size of ` +
        `'${bound('min_share_size')}' for share type '${name}'.`,
    )
  }
  const [key, word] =
    doing === 'admin-extend'
      ? (['max_share_extend_size', 'extend size'] as const)
      : (['max_share_size', 'size'] as const)
  if (sizeGib > bound(key)) {
    throw new DomainError(
      'invalid',
      `Invalid input received: Specified share size of '${sizeGib}' is greater than the maximum allowable ${word} of ` +
        `'${bound(key)}' for share type '${name}'.`,
    )
  }
}

import { randomUUID } from 'node:crypto'
import { DomainError, type AccessLevel } from '@volant/contract'
import { enforce } from '../domain/policy.ts'
import type { Principal } from '../domain/principal.ts'
import { canonicalAccessTo } from '../domain/share-access-rule.ts'
import type { Share, ShareAccessRule } from '../domain/share.ts'
import { applyShareAccess } from '../operations/apply-share-access.ts'
import type { Clock } from '../ports/clock.ts'
import type { OperationEngine } from '../ports/operations.ts'
import type { ShareAccessRecords, ShareRecords } from '../ports/shares.ts'
import { changeableShare, invalidShare, ownShare } from './share-visibility.ts'

export interface NewAccessRule {
  accessType: string
  accessTo: string
  accessLevel: AccessLevel
  metadata: Record<string, string>
}

/** Who may mount a share. Nobody, without a rule. */
export interface ShareAccessRules {
  list(principal: Principal, shareId: string): Promise<ShareAccessRule[]>
  show(principal: Principal, ruleId: string): Promise<ShareAccessRule>
  /** Returns while the rule is still `queued_to_apply`. */
  allow(principal: Principal, shareId: string, rule: NewAccessRule): Promise<ShareAccessRule>
  /** Returns while the rule is still `queued_to_deny`. */
  deny(principal: Principal, shareId: string, ruleId: string): Promise<void>
  setLevel(principal: Principal, ruleId: string, level: AccessLevel): Promise<ShareAccessRule>
  /** Adds to the metadata. */
  setMetadata(
    principal: Principal,
    ruleId: string,
    metadata: Record<string, string>,
  ): Promise<Record<string, string>>
  removeMetadata(principal: Principal, ruleId: string, key: string): Promise<void>
}

export interface ShareAccessRuleSources {
  shares: ShareRecords
  rules: ShareAccessRecords
  engine: OperationEngine
  clock: Clock
}

export const createShareAccessRules = (sources: ShareAccessRuleSources): ShareAccessRules => {
  const { shares, rules } = sources
  /** Another project's rule is `notFound`. */
  const visible = async (principal: Principal, ruleId: string): Promise<ShareAccessRule> => {
    const rule = await rules.find(ruleId)
    const missing = new DomainError('notFound', `Share access rule ${ruleId} could not be found.`)
    if (rule === undefined) throw missing
    await ownShare(shares, principal, rule.shareId, 'share_access_rule:get').catch(() => {
      throw missing
    })
    return rule
  }
  const changeable = async (
    principal: Principal,
    ruleId: string,
    policy: string,
  ): Promise<ShareAccessRule> => {
    const rule = await visible(principal, ruleId)
    enforce(principal, policy, 'member', (await shares.get(rule.shareId)).projectId)
    return rule
  }
  return {
    async list(principal, shareId) {
      await ownShare(shares, principal, shareId, 'share_access_rule:index')
      return rules.ofShare(shareId)
    },
    show: visible,
    allow: (principal, shareId, rule) => allow(sources, principal, shareId, rule),
    deny: (principal, shareId, ruleId) => deny(sources, principal, shareId, ruleId),
    async setLevel(principal, ruleId, level) {
      const rule = await changeable(principal, ruleId, 'share_access_rule:update')
      return setLevel(sources, await shares.get(rule.shareId), rule, level)
    },
    async setMetadata(principal, ruleId, metadata) {
      const rule = await changeable(principal, ruleId, 'share_access_metadata:update')
      const next = { ...rule.metadata, ...metadata }
      await rules.update(ruleId, { metadata: next })
      return next
    },
    async removeMetadata(principal, ruleId, key) {
      const rule = await changeable(principal, ruleId, 'share_access_metadata:delete')
      if (!Object.hasOwn(rule.metadata, key)) {
        throw new DomainError('notFound', 'Share access rule metadata does not exist.')
      }
      const { [key]: _, ...rest } = rule.metadata
      await rules.update(ruleId, { metadata: rest })
    },
  }
}

const others: Record<string, string> = {
  user: 'NFS as it is served here does not authenticate users',
  cert: 'NFS as it is served here does not use certificates',
  cephx: 'the share is NFS, not CephFS',
}

async function allow(
  sources: ShareAccessRuleSources,
  principal: Principal,
  shareId: string,
  asked: NewAccessRule,
): Promise<ShareAccessRule> {
  const { shares, rules, clock } = sources
  const share = await changeableShare(shares, principal, shareId, 'share:allow_access')
  const accessTo = accessToOf(asked)
  const exists = () => new DomainError('invalid', `Share access ip:${asked.accessTo.slice(0, 80)} exists.`)
  if ((await rules.ofShare(shareId)).some((rule) => rule.accessTo === accessTo)) throw exists()
  requireRulesChangeable(share)
  const rule: ShareAccessRule = {
    id: randomUUID(),
    shareId,
    accessType: 'ip',
    accessTo,
    accessLevel: asked.accessLevel,
    state: 'queued_to_apply',
    metadata: asked.metadata,
    createdAt: clock.now().toISOString(),
    updatedAt: null,
  }
  await requireFree(sources, shareId)
  try {
    await rules.create(rule)
  } catch (error) {
    throw error instanceof DomainError && error.code === 'conflict' ? exists() : error
  }
  try {
    await apply(sources, shareId)
  } catch (error) {
    // An application that was under way may have found it: then it is in effect, and stays.
    if (await rules.removeIf(rule.id, { state: ['queued_to_apply'] })) throw error
  }
  return rule
}

/** In canonical form; throws `invalid`. */
export function accessToOf({ accessType, accessTo }: Pick<NewAccessRule, 'accessType' | 'accessTo'>): string {
  if (accessType === 'ip') return canonicalAccessTo(accessTo)
  const reason = Object.hasOwn(others, accessType) ? others[accessType] : undefined
  if (reason === undefined) {
    throw new DomainError('invalid', "Only 'ip', 'user', 'cert' or 'cephx' access types are supported.")
  }
  throw new DomainError(
    'invalid',
    `Invalid or unsupported share access type: ${accessType}: ${reason}. Use 'ip' with an address or a network.`,
  )
}

/** Where the share is served, or about to be; a migration is no obstacle: clients go on at the same export. */
const changeableStatuses: readonly Share['status'][] = [
  'available',
  'migrating',
  'extending',
  'extending_error',
  'shrinking_error',
  'reverting_error',
  'error',
]

function requireRulesChangeable(share: Share): void {
  if (changeableStatuses.includes(share.status) && share.exportId !== null) return
  throw invalidShare(
    'New access rules cannot be applied while the share or any of its replicas or migration copies lacks a valid host or ' +
      `is in an invalid state. Share ${share.id} is ${share.status}.`,
  )
}

async function deny(
  sources: ShareAccessRuleSources,
  principal: Principal,
  shareId: string,
  ruleId: string,
): Promise<void> {
  const { shares, rules } = sources
  const share = await changeableShare(shares, principal, shareId, 'share:deny_access')
  const rule = await rules.find(ruleId)
  if (rule === undefined || rule.shareId !== shareId) {
    throw new DomainError('notFound', `Share access rule ${ruleId} could not be found.`)
  }
  requireRulesChangeable(share)
  if (isDenied(rule)) return
  await requireFree(sources, shareId)
  await rules.update(ruleId, { state: 'queued_to_deny' })
  try {
    await apply(sources, shareId)
  } catch (error) {
    await rules.updateIf(ruleId, { state: ['queued_to_deny'] }, { state: rule.state })
    throw error
  }
}

const isDenied = ({ state }: ShareAccessRule): boolean => state === 'queued_to_deny' || state === 'denying'

/** A rule that is in effect stays so: `applying` is told to the export by whoever tells it anything meanwhile. */
async function setLevel(
  sources: ShareAccessRuleSources,
  share: Share,
  rule: ShareAccessRule,
  accessLevel: AccessLevel,
): Promise<ShareAccessRule> {
  const { rules } = sources
  requireRulesChangeable(share)
  const denied = () => new DomainError('conflict', `Share access rule ${rule.id} is being denied.`)
  if (isDenied(rule)) throw denied()
  if (rule.accessLevel === accessLevel) return rule
  await requireFree(sources, share.id)
  const isInEffect = rule.state === 'active' || rule.state === 'applying'
  const state = isInEffect ? 'applying' : 'queued_to_apply'
  const notDenied = ['queued_to_apply', 'applying', 'active', 'error'] as const
  if (!(await rules.updateIf(rule.id, { state: notDenied }, { accessLevel, state }))) throw denied()
  try {
    await apply(sources, share.id)
  } catch (error) {
    const { accessLevel: former, state: was } = rule
    await rules.updateIf(rule.id, { state: [state], accessLevel }, { accessLevel: former, state: was })
    throw error
  }
  return (await rules.find(rule.id)) ?? rule
}

/** Before anything is written: what else is done with the share is not waited for. */
async function requireFree({ engine }: ShareAccessRuleSources, shareId: string): Promise<void> {
  const holder = await engine.holderOf(`share/${shareId}`)
  if (holder === undefined || holder.kind === applyShareAccess.kind) return
  throw new DomainError(
    'conflict',
    `Operation ${holder.id} (${holder.kind}) is working on share ${shareId}. Wait for its end.`,
  )
}

/** How many operations on the rules a request may meet: one may begin between the end of another and its start. */
const attempts = 20
/** How long a request waits for one, in milliseconds. */
const patienceMs = 10_000

/** Another application of rules that is under way may have read them before; so another follows it. */
async function apply({ engine }: ShareAccessRuleSources, shareId: string): Promise<void> {
  const until = performance.now() + patienceMs
  for (let attempt = 1; ; attempt += 1) {
    try {
      await engine.start(applyShareAccess, { shareId })
      return
    } catch (error) {
      const isTaken = error instanceof DomainError && error.code === 'conflict'
      if (!isTaken || attempt === attempts || performance.now() > until) throw error
      const holder = await engine.holderOf(`share/${shareId}`)
      if (holder === undefined) continue
      if (holder.kind !== applyShareAccess.kind) throw error
      await engine.settled(holder.id)
    }
  }
}

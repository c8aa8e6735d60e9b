import { enforce } from '../domain/policy.ts'
import { DomainError } from '@volant/contract'
import { isAdmin, type Principal } from '../domain/principal.ts'
import type { ShareFilter, SharePageRequest } from '../domain/share-query.ts'
import type { Share } from '../domain/share.ts'
import type { ShareLists } from '../ports/share-records.ts'
import type { ShareRecords } from '../ports/shares.ts'
import { gatherShareFacts, type ShareFacts, type ShareFactsSources } from './share-facts.ts'
import { changeableShare, ownShare, visibleShare } from './share-visibility.ts'
import { requireFewPairs } from './volume.ts'

/** Reading shares, and changing what is only described by them. */
export interface Shares {
  /** Throws `notFound` with Manila's text, also for another project's that is not public. */
  show(principal: Principal, shareId: string): Promise<ShareFacts>
  /** As `show`, but for what is inside: export locations, rules. A public share's are its project's. */
  inside(principal: Principal, shareId: string, policy: string): Promise<ShareFacts>
  /** The filter's project is the caller's to choose: see `isAdmin`. */
  list(principal: Principal, request: SharePageRequest): Promise<ShareFacts[]>
  count(principal: Principal, filter: ShareFilter): Promise<number>
  update(
    principal: Principal,
    shareId: string,
    fields: { name?: string | null; description?: string | null; isPublic?: boolean },
  ): Promise<ShareFacts>
  /** Adds to the metadata, or replaces it whole. */
  setMetadata(
    principal: Principal,
    shareId: string,
    metadata: Record<string, string>,
    how: 'merge' | 'replace',
  ): Promise<Record<string, string>>
  removeMetadata(principal: Principal, shareId: string, key: string): Promise<boolean>
}

export interface SharesSources extends ShareFactsSources {
  shares: ShareRecords
  lists: ShareLists
}

export function createShareReader(sources: SharesSources): Shares {
  const { shares, lists } = sources
  const factsOf = async (share: Share): Promise<ShareFacts> => {
    const [facts] = await gatherShareFacts(sources, [share])
    return facts as ShareFacts
  }
  return {
    async show(principal, shareId) {
      const share = await visibleShare(shares, principal, shareId)
      if (!share.isPublic) enforce(principal, 'share:get', 'reader', share.projectId)
      return factsOf(share)
    },
    inside: async (principal, shareId, policy) => factsOf(await ownShare(shares, principal, shareId, policy)),
    async list(principal, request) {
      enforce(principal, 'share:get_all', 'reader')
      return gatherShareFacts(sources, await lists.page(request))
    },
    async count(principal, filter) {
      enforce(principal, 'share:get_all', 'reader')
      return lists.count(filter)
    },
    async update(principal, shareId, fields) {
      await changeableShare(shares, principal, shareId, 'share:update')
      if (fields.isPublic === true) requirePublic(principal, 'share:set_public_share')
      await shares.update(shareId, fields)
      return factsOf(await shares.get(shareId))
    },
    async setMetadata(principal, shareId, metadata, how) {
      const share = await changeableShare(shares, principal, shareId, 'share:update_share_metadata')
      const next = how === 'replace' ? metadata : { ...share.metadata, ...metadata }
      requireFewPairs(next, 'a share')
      await shares.update(shareId, { metadata: next })
      return next
    },
    async removeMetadata(principal, shareId, key) {
      const share = await changeableShare(shares, principal, shareId, 'share:delete_share_metadata')
      if (!Object.hasOwn(share.metadata, key)) return false
      const { [key]: _, ...rest } = share.metadata
      await shares.update(shareId, { metadata: rest })
      return true
    },
  }
}

/** A public share is seen by all projects: an administrator's decision. */
export function requirePublic(principal: Principal, policy: string): void {
  if (isAdmin(principal)) return
  throw new DomainError(
    'forbidden',
    `User is not authorized to set 'is_public' to True in the request (${policy}).`,
  )
}

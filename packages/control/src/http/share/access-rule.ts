import { DomainError } from '@volant/contract'
import { Type } from 'typebox'
import type { NewAccessRule, ShareAccessRules } from '../../app/share-access-rule.ts'
import type { ShareAccessRule } from '../../domain/share.ts'
import { accepted, ok } from '../answer.ts'
import { atLeast } from '../microversion.ts'
import { nameText, parser } from '../parse.ts'
import { argument, flag } from './action.ts'
import { metadataSchema, nullable, parseMetadata } from './body.ts'
import { manilaTime, param, queryText, type ShareCall, type ShareRoutes } from './call.ts'
import { queryPairs } from './list-query.ts'

const levelSchema = Type.Union([Type.Literal('rw'), Type.Literal('ro')])

const parseAllowed = argument(
  'allow_access',
  Type.Object({
    access_type: nameText({ minLength: 1 }),
    access_to: nameText({ minLength: 1 }),
    access_level: nullable(nameText()),
    metadata: nullable(metadataSchema),
    lock_visibility: Type.Optional(Type.Unknown()),
    lock_deletion: Type.Optional(Type.Unknown()),
  }),
)
export const parseDeny = argument('deny_access', Type.Object({ access_id: nameText({ minLength: 1 }) }))

export function parseAllow(call: ShareCall, value: unknown): NewAccessRule {
  const asked = parseAllowed(value)
  if (flag(asked.lock_visibility, 'lock_visibility') || flag(asked.lock_deletion, 'lock_deletion')) {
    throw new DomainError('invalid', 'Access rules cannot be locked here.')
  }
  const level = asked.access_level ?? 'rw'
  if (level !== 'rw' && level !== 'ro') {
    throw new DomainError(
      'invalid',
      `Invalid access rule: Invalid share access level: ${level.slice(0, 80)}. There are rw and ro.`,
    )
  }
  return {
    accessType: asked.access_type,
    accessTo: asked.access_to.trim(),
    accessLevel: level,
    metadata: atLeast(call.version, '2.45') ? (asked.metadata ?? {}) : {},
  }
}

/** Before 2.28 a rule's state was told by the share's rules together. */
const stateText = (call: ShareCall, { state }: ShareAccessRule): string =>
  atLeast(call.version, '2.28') || state === 'active' || state === 'error' ? state : 'new'

export const accessRuleView = (call: ShareCall, rule: ShareAccessRule) => ({
  id: rule.id,
  access_level: rule.accessLevel,
  access_to: rule.accessTo,
  access_type: rule.accessType,
  state: stateText(call, rule),
  ...(atLeast(call.version, '2.21') && { access_key: null }),
  ...(atLeast(call.version, '2.33') && {
    created_at: manilaTime(rule.createdAt),
    updated_at: manilaTime(rule.updatedAt),
  }),
  ...(atLeast(call.version, '2.45') && { metadata: rule.metadata }),
})

const parseLevel = parser(Type.Object({ update_access: Type.Object({ access_level: levelSchema }) }))

const id = (call: ShareCall): string => param(call, 'rule_id')

export function registerAccessRules(routes: ShareRoutes, rules: ShareAccessRules): void {
  const since = { since: '2.45' }
  routes.get(
    '/share-access-rules',
    async (call) => {
      const shareId = queryText(call, 'share_id')
      if (shareId === undefined || shareId === '') {
        throw new DomainError('invalid', 'The field share_id has to be specified.')
      }
      const found = await rules.list(call.principal, shareId)
      const metadata = Object.entries(queryPairs(call, 'metadata') ?? {})
      const equal = (name: 'access_to' | 'access_type' | 'access_level', value: string): boolean =>
        [undefined, '', value].includes(queryText(call, name))
      return ok({
        access_list: found
          .filter(
            (rule) =>
              equal('access_to', rule.accessTo) &&
              equal('access_type', rule.accessType) &&
              equal('access_level', rule.accessLevel) &&
              metadata.every(([key, value]) => rule.metadata[key] === value),
          )
          .map((rule) => accessRuleView(call, rule)),
      })
    },
    since,
  )
  routes.get(
    '/share-access-rules/:rule_id',
    async (call) => {
      const rule = await rules.show(call.principal, id(call))
      return ok({ access: { ...accessRuleView(call, rule), share_id: rule.shareId } })
    },
    since,
  )
  routes.put(
    '/share-access-rules/:rule_id',
    async (call) => {
      const level = parseLevel(call.body).update_access.access_level
      return ok({ access: accessRuleView(call, await rules.setLevel(call.principal, id(call), level)) })
    },
    { since: '2.88' },
  )
  routes.put(
    '/share-access-rules/:rule_id/metadata',
    async (call) => {
      const { metadata } = parseMetadata(call.body)
      return ok({ metadata: await rules.setMetadata(call.principal, id(call), metadata) })
    },
    since,
  )
  routes.delete(
    '/share-access-rules/:rule_id/metadata/:key',
    async (call) => {
      await rules.removeMetadata(call.principal, id(call), param(call, 'key'))
      return accepted()
    },
    since,
  )
}

import type { ShareMessages } from '../../app/share-message.ts'
import type { ShareMessage } from '../../domain/share-message.ts'
import { noContent, ok } from '../answer.ts'
import { atLeast } from '../microversion.ts'
import {
  linksOf,
  manilaTime,
  nextLink,
  pageOf,
  param,
  queryText,
  type ShareCall,
  type ShareRoutes,
} from './call.ts'
import { invalidQuery, textFilter } from './list-query.ts'

const view = (call: ShareCall, message: ShareMessage) => ({
  id: message.id,
  project_id: message.projectId,
  action_id: message.actionId,
  detail_id: message.detailId,
  message_level: 'ERROR',
  created_at: manilaTime(message.createdAt),
  expires_at: manilaTime(message.expiresAt),
  request_id: message.requestId,
  links: linksOf(call, 'messages', message.id),
  resource_type: message.resourceType,
  resource_id: message.resourceId,
  user_message: message.text,
})

/** What became of requests that failed after they were accepted; since microversion 2.37. */
export function registerMessages(routes: ShareRoutes, messages: ShareMessages): void {
  const since = { since: '2.37' }
  routes.get(
    '/messages',
    async (call) => {
      const { limit, offset } = pageOf(call)
      const level = queryText(call, 'message_level')
      const found =
        level !== undefined && level !== '' && level.toUpperCase() !== 'ERROR'
          ? []
          : await messages.list(call.principal, {
              ...textFilter(call, 'resource_type', 'resourceType'),
              ...textFilter(call, 'resource_id', 'resourceId'),
              ...textFilter(call, 'action_id', 'actionId'),
              ...textFilter(call, 'detail_id', 'detailId'),
              ...textFilter(call, 'request_id', 'requestId'),
              ...(atLeast(call.version, '2.52') && {
                ...timeFilter(call, 'created_since', 'createdSince'),
                ...timeFilter(call, 'created_before', 'createdBefore'),
              }),
              limit,
              offset,
            })
      const next = nextLink(call, '/messages', found)
      return ok({
        messages: found.map((message) => view(call, message)),
        ...(next !== undefined && { messages_links: [next] }),
      })
    },
    since,
  )
  routes.get(
    '/messages/:message_id',
    async (call) =>
      ok({ message: view(call, await messages.show(call.principal, param(call, 'message_id'))) }),
    since,
  )
  routes.delete(
    '/messages/:message_id',
    async (call) => {
      await messages.remove(call.principal, param(call, 'message_id'))
      return noContent()
    },
    since,
  )
}

function timeFilter<Name extends string>(
  call: ShareCall,
  query: string,
  name: Name,
): Partial<Record<Name, string>> {
  const text = queryText(call, query)
  if (text === undefined || text === '') return {}
  const time = new Date(/[zZ]|[+-]\d\d:?\d\d$/.test(text) ? text : `${text}Z`)
  if (!/^\d{4}-\d\d-\d\d/.test(text) || Number.isNaN(time.getTime())) {
    throw invalidQuery(`${query} must be a time such as 2026-05-01 12:00:00.`)
  }
  return { [name]: time.toISOString() } as Partial<Record<Name, string>>
}

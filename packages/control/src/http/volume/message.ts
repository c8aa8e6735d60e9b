import type { VolumeMessages } from '../../app/volume-message.ts'
import { resourceTypeOf, type VolumeMessage } from '../../domain/volume-message.ts'
import { noContent, ok, pageOf, param, type VolumeCall, type VolumeRoutes } from './call.ts'
import { cinderTime } from './volume-view.ts'

const view = (call: VolumeCall, message: VolumeMessage) => ({
  id: message.id,
  event_id: message.eventId,
  user_message: message.text,
  message_level: message.level,
  created_at: cinderTime(message.createdAt),
  guaranteed_until: cinderTime(message.expiresAt),
  request_id: message.requestId,
  resource_type: resourceTypeOf(message),
  resource_uuid: message.resourceId,
  links: [
    { rel: 'self', href: `${call.base}/v3/${call.projectId}/messages/${message.id}` },
    { rel: 'bookmark', href: `${call.base}/${call.projectId}/messages/${message.id}` },
  ],
})

/** What became of requests that failed after they were accepted; since microversion 3.3. */
export function registerMessages(routes: VolumeRoutes, messages: VolumeMessages): void {
  routes.get(
    '/messages',
    async (call) => {
      const { limit, offset } = pageOf(call)
      const found = await messages.list(call.principal, { limit, offset })
      return ok({ messages: found.map((message) => view(call, message)) })
    },
    '3.3',
  )
  routes.get(
    '/messages/:message_id',
    async (call) =>
      ok({ message: view(call, await messages.show(call.principal, param(call, 'message_id'))) }),
    '3.3',
  )
  routes.delete(
    '/messages/:message_id',
    async (call) => {
      await messages.remove(call.principal, param(call, 'message_id'))
      return noContent()
    },
    '3.3',
  )
}

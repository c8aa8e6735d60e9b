import { DomainError } from '@volant/contract'
import { enforce } from '../domain/policy.ts'
import { isAdmin, type Principal } from '../domain/principal.ts'
import type { ShareMessage } from '../domain/share-message.ts'
import type { Clock } from '../ports/clock.ts'
import type { ShareMessageRecords } from '../ports/share-records.ts'

type Query = Omit<Parameters<ShareMessageRecords['list']>[0], 'projectId' | 'now'>

export interface ShareMessages {
  list(principal: Principal, query: Query): Promise<ShareMessage[]>
  show(principal: Principal, id: string): Promise<ShareMessage>
  remove(principal: Principal, id: string): Promise<void>
}

export function createShareMessages(sources: { messages: ShareMessageRecords; clock: Clock }): ShareMessages {
  const { messages, clock } = sources
  const show: ShareMessages['show'] = async (principal, id) => {
    const message = await messages.find(id)
    const visible = message !== undefined && (isAdmin(principal) || message.projectId === principal.projectId)
    if (!visible) throw new DomainError('notFound', `Message ${id} could not be found.`)
    return message
  }
  return {
    show,
    async list(principal, query) {
      enforce(principal, 'message:get_all', 'reader')
      const own = isAdmin(principal) ? {} : { projectId: principal.projectId ?? '' }
      return messages.list({ ...query, ...own, now: clock.now().toISOString() })
    },
    async remove(principal, id) {
      const message = await show(principal, id)
      enforce(principal, 'message:delete', 'member', message.projectId)
      await messages.remove(id)
    },
  }
}

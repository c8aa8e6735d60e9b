import { DomainError } from '@volant/contract'
import { enforce } from '../domain/policy.ts'
import { isAdmin, type Principal } from '../domain/principal.ts'
import type { VolumeMessage } from '../domain/volume-message.ts'
import type { VolumeMessageRecords } from '../ports/block-storage.ts'
import type { Clock } from '../ports/clock.ts'

export interface VolumeMessages {
  list(principal: Principal, page: { limit: number; offset: number }): Promise<VolumeMessage[]>
  show(principal: Principal, id: string): Promise<VolumeMessage>
  remove(principal: Principal, id: string): Promise<void>
}

export function createVolumeMessages(sources: {
  messages: VolumeMessageRecords
  clock: Clock
}): VolumeMessages {
  const { messages, clock } = sources
  const show: VolumeMessages['show'] = async (principal, id) => {
    const message = await messages.find(id)
    const visible = message !== undefined && (isAdmin(principal) || message.projectId === principal.projectId)
    if (!visible) throw new DomainError('notFound', `Message ${id} could not be found.`)
    return message
  }
  return {
    show,
    async list(principal, page) {
      enforce(principal, 'message:get_all', 'reader')
      const own = principal.projectId === null ? {} : { projectId: principal.projectId }
      return messages.list({ ...own, ...page, now: clock.now().toISOString() })
    },
    async remove(principal, id) {
      const message = await show(principal, id)
      enforce(principal, 'message:delete', 'member', message.projectId)
      await messages.remove(id)
    },
  }
}

import { DomainError } from '@volant/contract'
import type { FastifyReply, FastifyRequest } from 'fastify'
import Type from 'typebox'
import type { ServerEvacuations } from '../../app/evacuation.ts'
import { nameText } from '../parse.ts'
import { since } from './request.ts'
import { bodyOf, boolean, hostName, strict, toBoolean } from './schema.ts'
import { randomPassword } from './server-body.ts'

const always = { host: Type.Optional(hostName()), adminPass: Type.Optional(nameText({ maxLength: 255 })) }
const until213 = bodyOf(strict({ evacuate: strict({ ...always, onSharedStorage: boolean() }) }))
const until228 = bodyOf(strict({ evacuate: strict(always) }))
const until267 = bodyOf(strict({ evacuate: strict({ ...always, force: Type.Optional(boolean()) }) }))

interface Wanted {
  host?: string
  /** What 2.13 and older answer; null where the disk is shared, and so its password stays. */
  adminPass?: string | null
}

/** `force` would skip the scheduler's check of the destination; here it is checked all the same. */
function wantedOf(request: FastifyRequest): Wanted {
  if (since(request, '2.68') || !since(request, '2.29')) return olderOrNewer(request)
  const { host, force } = until267(request.body).evacuate
  if (host === undefined && force !== undefined && toBoolean(force)) {
    throw new DomainError('invalid', "Can't force to a non-provided destination")
  }
  return host === undefined ? {} : { host }
}

function olderOrNewer(request: FastifyRequest): Wanted {
  if (since(request, '2.14')) {
    const { host } = until228(request.body).evacuate
    return host === undefined ? {} : { host }
  }
  const { host, adminPass, onSharedStorage } = until213(request.body).evacuate
  const isShared = toBoolean(onSharedStorage)
  if (isShared && adminPass !== undefined) {
    throw new DomainError('invalid', "admin password can't be changed on existing disk")
  }
  return {
    adminPass: isShared ? null : (adminPass ?? randomPassword()),
    ...(host !== undefined && { host }),
  }
}

/** The action `evacuate`. */
export const evacuating =
  (evacuations: ServerEvacuations) =>
  async (request: FastifyRequest, reply: FastifyReply, serverId: string): Promise<unknown> => {
    const { adminPass, host } = wantedOf(request)
    const how = { staysStopped: since(request, '2.95'), ...(host !== undefined && { host }) }
    await evacuations.evacuate(request.principal, serverId, how, request.id)
    // Since 2.14 nothing is told; before, what Nova would have set.
    return since(request, '2.14') ? reply.code(202).send() : reply.code(200).send({ adminPass })
  }

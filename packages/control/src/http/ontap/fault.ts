import { isDomainError } from '@volant/contract'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { OntapError, ontapCodes } from '../../domain/ontap/error.ts'
import { codeOf } from '../../domain/ontap/fault.ts'
import { faultOf } from '../errors.ts'

/** Turns any thrown value into ONTAP's error form. */
export function sendOntapFault(error: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  if (error instanceof OntapError) {
    const { code, message, target, reasons } = error
    return send(reply, error.status, {
      message,
      code,
      ...(target !== undefined && { target }),
      ...(reasons.length > 1 && { arguments: reasons }),
    })
  }
  const fault = faultOf(error)
  // What needs room gets a conflict here: the request was right.
  const status = isDomainError(error) && error.code === 'noCapacity' ? 409 : fault.status
  if (status >= 500) request.log.error({ err: error }, fault.message)
  return send(reply, status, { message: fault.message, code: codeOf(fault.code) })
}

const send = (reply: FastifyReply, status: number, error: object): FastifyReply =>
  reply.code(status).type('application/hal+json').send({ error })

export const noSuchApi = (): never => {
  throw new OntapError(404, ontapCodes.noSuchApi, 'API not found.')
}

/** For a method that ONTAP has and this does not. */
export const notOffered = (message: string) => (): never => {
  throw new OntapError(405, ontapCodes.noSuchApi, message)
}

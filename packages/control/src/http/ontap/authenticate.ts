import { createHash, timingSafeEqual } from 'node:crypto'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { OntapError, ontapCodes } from '../../domain/ontap/error.ts'

export interface Credentials {
  user: string
  password: string
}

/** Of equal length whatever the text, so that comparing takes the same time. */
const digest = (text: string): Buffer => createHash('sha256').update(text).digest()

/** An onRequest hook that lets basic authentication with the cluster's user pass, and nothing else. */
export function basicAuthentication({ user, password }: Credentials) {
  const right = digest(`${user}:${password}`)
  return async (request: FastifyRequest, reply: FastifyReply): Promise<void> => {
    const [scheme, encoded, ...rest] = (request.headers.authorization ?? '').trim().split(/\s+/)
    const given = rest.length > 0 || scheme?.toLowerCase() !== 'basic' ? '' : (encoded ?? '')
    if (timingSafeEqual(digest(Buffer.from(given, 'base64').toString()), right)) return
    void reply.header('www-authenticate', 'Basic realm="ONTAP REST API", charset="UTF-8"')
    throw new OntapError(401, ontapCodes.badLogin, 'User is not authorized.')
  }
}

import { DomainError } from '@volant/contract'
import type { FastifyRequest } from 'fastify'
import type { Principal } from '../domain/principal.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** Set by `authenticate`; reading it on a route without is a fault of ours. */
    principal: Principal
  }
}

export interface TokenVerifier {
  /** Throws `unauthenticated` for a token that is malformed, expired or revoked. */
  verify(token: string): Promise<Principal>
}

/** A preHandler/onRequest hook that turns `X-Auth-Token` into `request.principal`, or answers 401. */
export function authenticate(tokens: TokenVerifier) {
  return async (request: FastifyRequest): Promise<void> => {
    const token = request.headers['x-auth-token']
    if (typeof token !== 'string' || token === '') {
      throw new DomainError('unauthenticated', 'The request you have made requires authentication.')
    }
    request.principal = await tokens.verify(token)
  }
}

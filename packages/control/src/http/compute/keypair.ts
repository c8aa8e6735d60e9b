import type { FastifyInstance, FastifyRequest } from 'fastify'
import Type from 'typebox'
import type { Keypairs } from '../../app/keypair.ts'
import type { Keypair } from '../../ports/servers.ts'
import { DomainError } from '@volant/contract'
import { longText } from '../parse.ts'
import { microTime, nextLink, paramOf, since } from './request.ts'
import { Query } from './query.ts'
import { bodyOf, requireKnown, strict } from './schema.ts'

const createBody = bodyOf(
  strict({
    keypair: strict({
      name: Type.String({ minLength: 1, maxLength: 255, pattern: '^[a-zA-Z0-9 @._-]+$' }),
      type: Type.Optional(Type.Enum(['ssh', 'x509'])),
      public_key: Type.Optional(longText(16384)),
      user_id: Type.Optional(Type.String({ minLength: 1, maxLength: 255, pattern: '^[A-Za-z0-9_-]+$' })),
    }),
  }),
)

export function keypairRoutes(app: FastifyInstance, keypairs: Keypairs): void {
  const userOf = (request: FastifyRequest): string | undefined =>
    since(request, '2.10') ? new Query(request).text('user_id') : undefined

  app.get('/os-keypairs', async (request) => {
    const query = new Query(request)
    query.requireKnown(request, ['user_id', 'limit', 'marker'])
    const all = await keypairs.list(request.principal, userOf(request))
    const paged = since(request, '2.35')
    const marker = paged ? query.text('marker') : undefined
    const start = marker === undefined ? 0 : all.findIndex(({ name }) => name === marker) + 1
    if (marker !== undefined && start === 0) {
      throw new DomainError('invalid', `marker [${marker}] not found`)
    }
    const page = all.slice(start, start + (paged ? query.limit() : all.length))
    const last = page.at(-1)
    return {
      keypairs: page.map((each) => ({ keypair: view(request, each) })),
      ...(start + page.length < all.length && last !== undefined
        ? { keypairs_links: [nextLink(request, last.name)] }
        : {}),
    }
  })
  app.post('/os-keypairs', async (request, reply) => {
    const { keypair: body } = createBody(request.body)
    requireKnown(request.computeVersion, body, { type: '2.2', user_id: '2.10' })
    if (since(request, '2.92') && body.public_key === undefined) {
      throw new DomainError('invalid', "'public_key' is a required property")
    }
    const made = await keypairs.create(
      request.principal,
      {
        name: body.name,
        type: body.type ?? 'ssh',
        ...(body.public_key === undefined ? {} : { publicKey: body.public_key }),
      },
      body.user_id,
    )
    reply.code(since(request, '2.2') ? 201 : 200)
    return {
      keypair: {
        ...view(request, made.keypair),
        user_id: made.keypair.userId,
        ...(made.privateKey === undefined ? {} : { private_key: made.privateKey }),
      },
    }
  })
  app.get('/os-keypairs/:name', async (request) => {
    const found = await keypairs.show(request.principal, paramOf(request, 'name'), userOf(request))
    return {
      keypair: {
        ...view(request, found),
        id: found.number,
        user_id: found.userId,
        created_at: microTime(found.createdAt),
        updated_at: null,
        deleted_at: null,
        deleted: false,
      },
    }
  })
  app.delete('/os-keypairs/:name', async (request, reply) => {
    await keypairs.remove(request.principal, paramOf(request, 'name'), userOf(request))
    return reply.code(since(request, '2.2') ? 204 : 202).send()
  })
}

const view = (request: FastifyRequest, keypair: Keypair) => ({
  name: keypair.name,
  public_key: keypair.publicKey,
  fingerprint: keypair.fingerprint,
  ...(since(request, '2.2') ? { type: keypair.type } : {}),
})

import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { originOf } from '../origin.ts'

const versions = ['v2.9', 'v2.7', 'v2.6', 'v2.5', 'v2.4', 'v2.3', 'v2.2', 'v2.1', 'v2.0']

const answer = (status: number) => (request: FastifyRequest, reply: FastifyReply) =>
  reply.status(status).send({
    versions: versions.map((id, index) => ({
      id,
      status: index === 0 ? 'CURRENT' : 'SUPPORTED',
      links: [{ rel: 'self', href: `${originOf(request)}/image/v2/` }],
    })),
  })

/** Version discovery, without a token. */
export function versionRoutes(app: FastifyInstance): void {
  for (const path of ['/', '/v2']) app.get(path, answer(300))
  // Whoever asks for it by name gets a plain 200; glanceclient takes a 300 here for a failure.
  app.get('/versions', answer(200))
}

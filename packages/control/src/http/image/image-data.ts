import type { Readable } from 'node:stream'
import { DomainError } from '@volant/contract'
import type { FastifyInstance } from 'fastify'
import type { ImageApp } from '../../app/image/index.ts'
import { pathText } from './images.ts'

/** Images' data: streams both ways, of any length. */
export function imageDataRoutes(app: FastifyInstance, { data }: ImageApp): void {
  app.removeAllContentTypeParsers()
  // Handed on unread: it goes to disk as it comes.
  app.addContentTypeParser('application/octet-stream', (_request, payload, done) => done(null, payload))
  app.addContentTypeParser('*', (_request, payload, done) => {
    payload.resume()
    done(
      new DomainError('invalid', 'The data of an image has the content type application/octet-stream.', {
        httpStatus: 415,
      }),
    )
  })

  app.put('/v2/images/:image/file', { config: { streams: true } }, async (request, reply) => {
    const length = request.headers['content-length']
    const announced = length === undefined ? undefined : Number(length)
    const payload = (request.body as Readable | undefined) ?? request.raw
    await data.upload(request.principal, pathText(request, 'image'), payload, announced)
    return reply.status(204).send()
  })
  // A HEAD would read the whole file for its headers.
  app.get('/v2/images/:image/file', { exposeHeadRoute: false }, async (request, reply) => {
    const download = await data.download(request.principal, pathText(request, 'image'))
    if (download === undefined) return reply.status(204).send()
    if (download.checksum !== null) void reply.header('content-md5', download.checksum)
    return reply
      .type('application/octet-stream')
      .header('content-length', download.sizeBytes)
      .send(download.stream)
  })
}

import { DomainError } from '@volant/contract'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { ImageApp } from '../../app/image/index.ts'
import { parser } from '../parse.ts'
import { parseImagePatch, parseNewImage, tagText } from './image-body.ts'
import { parseImageQuery } from './image-query.ts'
import { imageView } from './image-view.ts'

/** The parameter of the path. Ids are only looked up, never used as a path unchecked. */
export const pathText = (request: FastifyRequest, name: string): string =>
  (request.params as Record<string, string>)[name] ?? ''

export function imageRoutes(app: FastifyInstance, { images }: ImageApp): void {
  app.get('/v2/images', async (request) => {
    const raw = request.query as Record<string, string | string[]>
    const page = await images.list(request.principal, parseImageQuery(raw))
    const last = page.images.at(-1)
    return {
      images: page.images.map(imageView),
      first: pageLink(raw),
      ...(page.more && last !== undefined ? { next: pageLink(raw, last.id) } : {}),
      schema: '/v2/schemas/images',
    }
  })
  app.post('/v2/images', async (request, reply) => {
    const image = await images.create(request.principal, parseNewImage(request.body))
    return reply.status(201).header('location', `/v2/images/${image.id}`).send(imageView(image))
  })
  app.get('/v2/images/:image', async (request) =>
    imageView(await images.show(request.principal, pathText(request, 'image'))),
  )
  app.patch('/v2/images/:image', async (request) => {
    const type = request.headers['content-type'] ?? ''
    if (!/^application\/openstack-images-v2\.[01]-json-patch/.test(type)) {
      throw new DomainError(
        'invalid',
        'A change of an image has the content type application/openstack-images-v2.1-json-patch.',
        { httpStatus: 415 },
      )
    }
    const steps = parseImagePatch(request.body)
    return imageView(await images.change(request.principal, pathText(request, 'image'), steps))
  })
  app.delete('/v2/images/:image', async (request, reply) => {
    await images.remove(request.principal, pathText(request, 'image'))
    return reply.status(204).send()
  })
  actionRoutes(app, images)
}

const parseTag = parser(tagText, 'tag')

function actionRoutes(app: FastifyInstance, images: ImageApp['images']): void {
  app.put('/v2/images/:image/tags/:tag', async (request, reply) => {
    const tag = parseTag(pathText(request, 'tag'))
    await images.setTag(request.principal, pathText(request, 'image'), tag)
    return reply.status(204).send()
  })
  app.delete('/v2/images/:image/tags/:tag', async (request, reply) => {
    await images.removeTag(request.principal, pathText(request, 'image'), pathText(request, 'tag'))
    return reply.status(204).send()
  })
  for (const [action, active] of [
    ['deactivate', false],
    ['reactivate', true],
  ] as const) {
    app.post(`/v2/images/:image/actions/${action}`, async (request, reply) => {
      await images.setActive(request.principal, pathText(request, 'image'), active)
      return reply.status(204).send()
    })
  }
}

/** Below the service's address, as Glance gives them. */
function pageLink(raw: Record<string, string | string[]>, marker?: string): string {
  const query = new URLSearchParams()
  for (const [name, value] of Object.entries(raw)) {
    if (name === 'marker') continue
    for (const each of typeof value === 'string' ? [value] : value) query.append(name, each)
  }
  if (marker !== undefined) query.set('marker', marker)
  const text = query.toString()
  return text === '' ? '/v2/images' : `/v2/images?${text}`
}

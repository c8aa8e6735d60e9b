import type { FastifyInstance } from 'fastify'
import { Type } from 'typebox'
import type { ImageApp } from '../../app/image/index.ts'
import { memberStatuses } from '../../domain/image.ts'
import { idText, parser } from '../parse.ts'
import { memberView } from './image-view.ts'
import { pathText } from './images.ts'

const parseMember = parser(Type.Object({ member: idText() }))
const parseStatus = parser(Type.Object({ status: Type.Enum([...memberStatuses]) }))

export function memberRoutes(app: FastifyInstance, { members }: ImageApp): void {
  const path = '/v2/images/:image/members'
  app.get(path, async (request) => {
    const list = await members.list(request.principal, pathText(request, 'image'))
    return { members: list.map(memberView), schema: '/v2/schemas/members' }
  })
  app.post(path, async (request) => {
    const { member } = parseMember(request.body)
    return memberView(await members.add(request.principal, pathText(request, 'image'), member))
  })
  app.get(`${path}/:member`, async (request) =>
    memberView(
      await members.show(request.principal, pathText(request, 'image'), pathText(request, 'member')),
    ),
  )
  app.put(`${path}/:member`, async (request) => {
    const { status } = parseStatus(request.body)
    const [image, member] = [pathText(request, 'image'), pathText(request, 'member')]
    return memberView(await members.setStatus(request.principal, image, member, status))
  })
  app.delete(`${path}/:member`, async (request, reply) => {
    await members.remove(request.principal, pathText(request, 'image'), pathText(request, 'member'))
    return reply.status(204).send()
  })
}

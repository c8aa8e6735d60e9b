import { DomainError } from '@volant/contract'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import Type from 'typebox'
import type { ServerLiveMigrations } from '../../app/live-migration.ts'
import type { ServerEvacuations } from '../../app/evacuation.ts'
import type { ServerActions } from '../../app/server-action.ts'
import type { ServerResizes } from '../../app/server-resize.ts'
import type { Servers } from '../../app/server.ts'
import { nameText } from '../parse.ts'
import { migrateLive } from './live-migration.ts'
import { evacuating } from './evacuate.ts'
import { paramOf, since } from './request.ts'
import { bodyOf, hostName, idText, integer, strict, toInteger } from './schema.ts'

const rebootBody = bodyOf(
  strict({ reboot: strict({ type: Type.Enum(['HARD', 'Hard', 'hard', 'SOFT', 'Soft', 'soft']) }) }),
)
const consoleBody = bodyOf(
  strict({
    'os-getConsoleOutput': Type.Union([
      strict({ length: Type.Optional(Type.Union([integer(-1), Type.Null()])) }),
      Type.Null(),
    ]),
  }),
)
const resetBody = bodyOf(strict({ 'os-resetState': strict({ state: Type.Enum(['active', 'error']) }) }))
const lockBody = bodyOf(
  strict({
    lock: Type.Union([
      strict({ locked_reason: Type.Optional(nameText({ minLength: 1, maxLength: 255 })) }),
      Type.Null(),
    ]),
  }),
)

const migrateBody = bodyOf(
  strict({
    migrate: Type.Union([
      strict({ host: Type.Optional(Type.Union([hostName(), Type.Null()])) }),
      Type.Null(),
    ]),
  }),
)
const resizeBody = bodyOf(
  strict({
    resize: strict({
      flavorRef: Type.Union([idText(), Type.Integer({ minimum: 0 })]),
      'OS-DCF:diskConfig': Type.Optional(Type.Enum(['AUTO', 'MANUAL'])),
    }),
  }),
)

/** Actions that Nova has and Volant does not, each with what to do instead. */
const missing: Record<string, string> = {
  createImage: 'Images cannot be made of servers yet. Upload one to the image service.',
  createBackup: 'Backups of servers are not there yet.',
  rebuild: 'Servers cannot be rebuilt yet. Delete the server and create it anew.',
  rescue: 'There is no rescue mode.',
  unrescue: 'There is no rescue mode.',
  suspend: 'Servers cannot be suspended. Pause or stop the server.',
  resume: 'Servers cannot be suspended.',
  shelve: 'Servers cannot be shelved. Stop the server.',
  shelveOffload: 'Servers cannot be shelved.',
  unshelve: 'Servers cannot be shelved.',
  restore: 'Deleted servers cannot be restored.',
  changePassword: 'Passwords in guests are not set by this service.',
  addSecurityGroup: 'There is no network service, so there are no security groups.',
  removeSecurityGroup: 'There is no network service, so there are no security groups.',
  addFixedIp: 'There is no network service.',
  removeFixedIp: 'There is no network service.',
  addFloatingIp: 'There is no network service.',
  removeFloatingIp: 'There is no network service.',
  resetNetwork: 'There is no network service.',
  injectNetworkInfo: 'There is no network service.',
  trigger_crash_dump: 'Crash dumps cannot be triggered.',
  'os-getVNCConsole': 'There are no graphical consoles. Use the console log.',
  'os-getSPICEConsole': 'There are no graphical consoles. Use the console log.',
  'os-getRDPConsole': 'There are no graphical consoles. Use the console log.',
  'os-getSerialConsole': 'There are no serial consoles. Use the console log.',
}

type Handler = (request: FastifyRequest, reply: FastifyReply, serverId: string) => Promise<unknown>

export function serverActionRoutes(
  app: FastifyInstance,
  {
    servers,
    actions,
    liveMigrations,
    evacuations,
    resizes,
  }: {
    servers: Servers
    actions: ServerActions
    liveMigrations: ServerLiveMigrations
    evacuations: ServerEvacuations
    resizes: ServerResizes
  },
): void {
  const accepted =
    (act: (request: FastifyRequest, serverId: string) => Promise<void>): Handler =>
    async (request, reply, serverId) => {
      await act(request, serverId)
      return reply.code(202).send()
    }
  const handlers: Record<string, Handler> = {
    'os-start': accepted((request, id) => actions.start(request.principal, id, request.id)),
    'os-stop': accepted((request, id) => actions.stop(request.principal, id, request.id)),
    reboot: accepted((request, id) => {
      const how = rebootBody(request.body).reboot.type.toLowerCase() === 'hard' ? 'hard' : 'soft'
      return actions.reboot(request.principal, id, how, request.id)
    }),
    evacuate: evacuating(evacuations),
    'os-migrateLive': accepted((request, id) => migrateLive(liveMigrations, request, id)),
    pause: accepted((request, id) => actions.pause(request.principal, id, true, request.id)),
    unpause: accepted((request, id) => actions.pause(request.principal, id, false, request.id)),
    forceDelete: accepted((request, id) => actions.remove(request.principal, id, request.id)),
    migrate: accepted((request, id) => {
      const host = since(request, '2.56') ? migrateBody(request.body).migrate?.host : undefined
      return resizes.migrate(request.principal, id, host ?? undefined, request.id)
    }),
    resize: accepted((request, id) => {
      const { flavorRef } = resizeBody(request.body).resize
      return resizes.resize(request.principal, id, String(flavorRef), request.id)
    }),
    confirmResize: async (request, reply, id) => {
      await resizes.confirm(request.principal, id, request.id)
      return reply.code(204).send()
    },
    revertResize: accepted((request, id) => resizes.revert(request.principal, id, request.id)),
    lock: accepted((request, id) => {
      const body = since(request, '2.73') ? lockBody(request.body).lock : null
      return servers.setLock(request.principal, id, { reason: body?.locked_reason ?? null })
    }),
    unlock: accepted((request, id) => servers.setLock(request.principal, id, null)),
    'os-resetState': accepted((request, id) =>
      servers.resetState(request.principal, id, resetBody(request.body)['os-resetState'].state),
    ),
    'os-getConsoleOutput': async (request, _reply, id) => {
      const { length } = consoleBody(request.body)['os-getConsoleOutput'] ?? {}
      const wanted = length === undefined || length === null ? -1 : toInteger(length, 'length', -1)
      const lines = wanted < 0 ? undefined : wanted
      return { output: await actions.consoleOutput(request.principal, id, lines) }
    },
  }

  app.post('/servers/:id/action', async (request, reply) => {
    const name = actionOf(request.body)
    const serverId = paramOf(request, 'id')
    const handler = Object.hasOwn(handlers, name) ? handlers[name] : undefined
    if (handler !== undefined) return handler(request, reply, serverId)
    if (Object.hasOwn(missing, name)) {
      await servers.show(request.principal, serverId)
      throw new DomainError('notImplemented', missing[name] as string)
    }
    throw new DomainError('invalid', `There is no such action: ${name.slice(0, 100)}`)
  })
}

function actionOf(body: unknown): string {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) {
    throw new DomainError('invalid', 'Malformed request body: it must be an object with one action in it.')
  }
  const [name, ...more] = Object.keys(body)
  if (name === undefined || more.length > 0) {
    throw new DomainError('invalid', 'Malformed request body: it must hold exactly one action.')
  }
  return name
}

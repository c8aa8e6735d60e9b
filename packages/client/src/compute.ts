import { ApiError } from './api-error.ts'
import type { Session } from './session.ts'

/** A server as Compute v2.1 shows it to an administrator; only what is used here is spelt out. */
export interface Server {
  id: string
  name: string
  status: string
  'OS-EXT-SRV-ATTR:host'?: string | null
  'OS-EXT-STS:task_state'?: string | null
  'os-extended-volumes:volumes_attached'?: { id: string }[]
  flavor: Record<string, unknown>
  [field: string]: unknown
}

export interface ComputeClient {
  list(): Promise<Server[]>
  show(id: string): Promise<Server>
  /** Flavor and image by name; no network. */
  create(server: { name: string; flavor: string; image: string }): Promise<Server>
  remove(id: string): Promise<void>
  start(id: string): Promise<void>
  stop(id: string): Promise<void>
  attach(serverId: string, volumeId: string): Promise<Record<string, unknown>>
  consoleOutput(serverId: string, lines?: number): Promise<string>
}

const headers = { 'openstack-api-version': 'compute 2.92' }

interface Named {
  id: string
  name: string
}

function named(things: Named[], name: string, what: string): string {
  const found = things.find((thing) => thing.name === name || thing.id === name)
  if (found === undefined) {
    throw new ApiError(404, `There is no ${what} '${name}', but ${things.map((t) => t.name).join(', ')}.`)
  }
  return found.id
}

export function computeClient(session: Session): ComputeClient {
  const call = (method: string, path: string, options = {}): Promise<unknown> =>
    session.json(method, `/compute/v2.1${path}`, { headers, ...options })
  const show = async (id: string): Promise<Server> =>
    ((await call('GET', `/servers/${encodeURIComponent(id)}`)) as { server: Server }).server
  return {
    list: async () =>
      ((await call('GET', '/servers/detail', { query: { all_tenants: 1 } })) as { servers: Server[] })
        .servers,
    show,
    async create(server) {
      const { flavors } = (await call('GET', '/flavors')) as { flavors: Named[] }
      const { images } = (await session.json('GET', '/image/v2/images')) as { images: Named[] }
      const body = {
        server: {
          name: server.name,
          flavorRef: named(flavors, server.flavor, 'flavor'),
          imageRef: named(images, server.image, 'image'),
          networks: 'none',
        },
      }
      const answer = (await call('POST', '/servers', { body })) as { server: { id: string } }
      return show(answer.server.id)
    },
    async remove(id) {
      await call('DELETE', `/servers/${encodeURIComponent(id)}`)
    },
    async start(id) {
      await call('POST', `/servers/${encodeURIComponent(id)}/action`, { body: { 'os-start': null } })
    },
    async stop(id) {
      await call('POST', `/servers/${encodeURIComponent(id)}/action`, { body: { 'os-stop': null } })
    },
    async attach(serverId, volumeId) {
      const answer = await call('POST', `/servers/${encodeURIComponent(serverId)}/os-volume_attachments`, {
        body: { volumeAttachment: { volumeId } },
      })
      return (answer as { volumeAttachment: Record<string, unknown> }).volumeAttachment
    },
    async consoleOutput(serverId, lines) {
      const body = { 'os-getConsoleOutput': lines === undefined ? {} : { length: lines } }
      const answer = await call('POST', `/servers/${encodeURIComponent(serverId)}/action`, { body })
      return (answer as { output: string }).output
    },
  }
}

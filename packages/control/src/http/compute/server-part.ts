import { DomainError } from '@volant/contract'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import Type from 'typebox'
import type { Servers } from '../../app/server.ts'
import { isAdmin } from '../../domain/principal.ts'
import type { InstanceAction } from '../../ports/servers.ts'
import { microTime, nextLink, paramOf, since } from './request.ts'
import { Query } from './query.ts'
import { bodyOf, metadata, strict, tag } from './schema.ts'
import { hostIdOf } from './server-view.ts'

const metadataBody = bodyOf(strict({ metadata: metadata() }))
const metaBody = bodyOf(strict({ meta: metadata() }))
const tagsBody = bodyOf(strict({ tags: Type.Array(tag(), { maxItems: 50 }) }))
const oneTag = bodyOf(tag())

/** What hangs below a server: metadata, tags, the record of its actions, and what there is none of. */
export function serverPartRoutes(app: FastifyInstance, servers: Servers): void {
  metadataRoutes(app, servers)
  tagRoutes(app, servers)
  actionRoutes(app, servers)
  emptyRoutes(app, servers)
}

function metadataRoutes(app: FastifyInstance, servers: Servers): void {
  const path = '/servers/:id/metadata'
  const missing = (key: string): DomainError =>
    new DomainError('notFound', `Metadata item was not found: ${key}`)
  app.get(path, async (request) => ({
    metadata: (await servers.show(request.principal, paramOf(request, 'id'))).server.metadata,
  }))
  app.post(path, async (request) => {
    const added = metadataBody(request.body).metadata
    const id = paramOf(request, 'id')
    const merged = await servers.changeMetadata(request.principal, id, (old) => ({ ...old, ...added }))
    return { metadata: merged }
  })
  app.put(path, async (request) => {
    const whole = metadataBody(request.body).metadata
    const id = paramOf(request, 'id')
    return { metadata: await servers.changeMetadata(request.principal, id, () => whole) }
  })
  app.get(`${path}/:key`, async (request) => {
    const { server } = await servers.show(request.principal, paramOf(request, 'id'))
    const key = paramOf(request, 'key')
    if (!Object.hasOwn(server.metadata, key)) throw missing(key)
    return { meta: { [key]: server.metadata[key] } }
  })
  app.put(`${path}/:key`, async (request) => {
    const { meta } = metaBody(request.body)
    const key = paramOf(request, 'key')
    if (Object.keys(meta).length !== 1 || !Object.hasOwn(meta, key)) {
      throw new DomainError('invalid', 'Request body and URI mismatch')
    }
    const id = paramOf(request, 'id')
    await servers.changeMetadata(request.principal, id, (old) => ({ ...old, ...meta }))
    return { meta }
  })
  app.delete(`${path}/:key`, async (request, reply) => {
    const key = paramOf(request, 'key')
    await servers.changeMetadata(request.principal, paramOf(request, 'id'), (old) => {
      if (!Object.hasOwn(old, key)) throw missing(key)
      return Object.fromEntries(Object.entries(old).filter(([other]) => other !== key))
    })
    return reply.code(204).send()
  })
}

function tagRoutes(app: FastifyInstance, servers: Servers): void {
  const path = '/servers/:id/tags'
  const from226 = (request: FastifyRequest): void => {
    if (!since(request, '2.26')) throw new DomainError('notFound', 'The resource could not be found.')
  }
  const missing = (serverId: string, name: string): DomainError =>
    new DomainError('notFound', `Instance ${serverId} has no tag '${name}'`)
  app.get(path, async (request) => {
    from226(request)
    return { tags: (await servers.show(request.principal, paramOf(request, 'id'))).server.tags }
  })
  app.put(path, async (request) => {
    from226(request)
    const tags = [...new Set(tagsBody(request.body).tags)]
    return { tags: await servers.changeTags(request.principal, paramOf(request, 'id'), () => tags) }
  })
  app.delete(path, async (request, reply) => {
    from226(request)
    await servers.changeTags(request.principal, paramOf(request, 'id'), () => [])
    return reply.code(204).send()
  })
  app.get(`${path}/:tag`, async (request, reply) => {
    from226(request)
    const id = paramOf(request, 'id')
    const name = paramOf(request, 'tag')
    const { server } = await servers.show(request.principal, id)
    if (!server.tags.includes(name)) throw missing(id, name)
    return reply.code(204).send()
  })
  app.put(`${path}/:tag`, async (request, reply) => {
    from226(request)
    const name = oneTag(paramOf(request, 'tag'))
    let isNew = false
    await servers.changeTags(request.principal, paramOf(request, 'id'), (old) => {
      isNew = !old.includes(name)
      return isNew ? [...old, name] : old
    })
    return reply.code(isNew ? 201 : 204).send()
  })
  app.delete(`${path}/:tag`, async (request, reply) => {
    from226(request)
    const id = paramOf(request, 'id')
    const name = paramOf(request, 'tag')
    await servers.changeTags(request.principal, id, (old) => {
      if (!old.includes(name)) throw missing(id, name)
      return old.filter((other) => other !== name)
    })
    return reply.code(204).send()
  })
}

function actionRoutes(app: FastifyInstance, servers: Servers): void {
  const path = '/servers/:id/os-instance-actions'
  app.get(path, async (request) => {
    const all = await servers.actions(request.principal, paramOf(request, 'id'))
    if (!since(request, '2.58')) return { instanceActions: all.map((each) => actionView(request, each)) }
    const query = new Query(request)
    query.requireKnown(request, ['limit', 'marker', 'changes-since', 'changes-before'])
    const from = query.time('changes-since')
    const until = since(request, '2.66') ? query.time('changes-before') : undefined
    const marker = query.text('marker')
    const start = marker === undefined ? 0 : all.findIndex(({ requestId }) => requestId === marker) + 1
    if (marker !== undefined && start === 0) {
      throw new DomainError('invalid', `Marker ${marker} could not be found.`)
    }
    const rest = all.slice(start).filter((each) => {
      const changed = each.finishedAt ?? each.startedAt
      return (from === undefined || changed >= from) && (until === undefined || changed <= until)
    })
    const page = rest.slice(0, query.limit())
    const last = page.at(-1)
    return {
      instanceActions: page.map((each) => actionView(request, each)),
      ...(page.length < rest.length && last !== undefined
        ? { links: [nextLink(request, last.requestId)] }
        : {}),
    }
  })
  app.get(`${path}/:requestId`, async (request) => {
    const found = await servers.action(
      request.principal,
      paramOf(request, 'id'),
      paramOf(request, 'requestId'),
    )
    const showsEvents = isAdmin(request.principal) || since(request, '2.51')
    return {
      instanceAction: {
        ...actionView(request, found),
        ...(showsEvents ? { events: [eventView(request, found)] } : {}),
      },
    }
  })
}

const actionView = (request: FastifyRequest, action: InstanceAction) => ({
  action: action.action,
  instance_uuid: action.serverId,
  request_id: action.requestId,
  user_id: action.userId,
  project_id: action.projectId,
  start_time: microTime(action.startedAt),
  message: action.message,
  ...(since(request, '2.58') ? { updated_at: microTime(action.finishedAt ?? action.startedAt) } : {}),
})

/** The one step that users see of an action: its operation, whose id is in the name of the event. */
const eventView = (request: FastifyRequest, action: InstanceAction) => ({
  event: action.action.endsWith('_volume') ? `compute_${action.action}` : `compute_${action.action}_instance`,
  start_time: microTime(action.startedAt),
  finish_time: microTime(action.finishedAt),
  result: action.result,
  ...(isAdmin(request.principal) ? { traceback: null } : {}),
  ...(isAdmin(request.principal) && since(request, '2.62') ? { host: action.host } : {}),
  ...(since(request, '2.62') ? { hostId: hostIdOf({ host: action.host, projectId: action.projectId }) } : {}),
  ...(since(request, '2.84') ? { details: action.result === 'Error' ? action.message : null } : {}),
})

function emptyRoutes(app: FastifyInstance, servers: Servers): void {
  const shown = (request: FastifyRequest) => servers.show(request.principal, paramOf(request, 'id'))
  const administered = async (request: FastifyRequest, policy: string) => {
    const facts = await shown(request)
    if (isAdmin(request.principal)) return facts
    throw new DomainError('forbidden', `Policy doesn't allow ${policy} to be performed.`)
  }
  const none = (path: string, answer: (id: string) => object): void => {
    app.get(`/servers/:id/${path}`, async (request) => answer((await shown(request)).server.id))
  }
  none('ips', () => ({ addresses: {} }))
  none('os-security-groups', () => ({ security_groups: [] }))
  none('os-virtual-interfaces', () => ({ virtual_interfaces: [] }))
  none('os-server-password', () => ({ password: '' }))
  app.get('/servers/:id/os-interface', async (request) => {
    const { server } = await shown(request)
    return {
      interfaceAttachments: server.nics.map(({ bridge, mac }) => ({
        net_id: bridge,
        port_id: mac,
        mac_addr: mac,
        port_state: 'ACTIVE',
        fixed_ips: [],
        ...(since(request, '2.70') ? { tag: null } : {}),
      })),
    }
  })
  app.get('/servers/:id/diagnostics', async (request) => {
    const { server, disks } = await administered(request, 'os_compute_api:os-server-diagnostics')
    if (server.vmState !== 'active') {
      throw new DomainError(
        'conflict',
        `Cannot 'get_diagnostics' instance ${server.id} while it is in vm_state ${server.vmState}`,
      )
    }
    return {
      state: server.powerState === 3 ? 'paused' : 'running',
      driver: 'libvirt',
      hypervisor: 'kvm',
      hypervisor_os: 'linux',
      uptime: null,
      config_drive: server.configDrive === 'True',
      num_cpus: server.flavor.vcpus,
      num_disks: disks,
      num_nics: server.nics.length,
      memory_details: { maximum: server.flavor.memoryMib, used: null },
      cpu_details: [],
      disk_details: [],
      nic_details: server.nics.map(({ mac }) => ({ mac_address: mac })),
    }
  })
}

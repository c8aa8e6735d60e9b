import { DomainError } from '@volant/contract'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { HostUse, Hypervisor, Hypervisors } from '../../app/hypervisor.ts'
import { enforce } from '../../domain/policy.ts'
import { Query } from './query.ts'
import { paramOf, since } from './request.ts'

/** `os-hosts`, which went with microversion 2.43: what `openstack host list` and `host show` ask for. */
export function hostRoutes(app: FastifyInstance, hypervisors: Hypervisors): void {
  const before243 = (request: FastifyRequest): void => {
    if (since(request, '2.43')) throw new DomainError('notFound', 'The resource could not be found.')
  }
  app.get('/os-hosts', async (request) => {
    before243(request)
    const services = await hypervisors.hosts(request.principal, new Query(request).text('zone'))
    return {
      hosts: services.map(({ host, binary, zone }) => ({
        host_name: host,
        service: binary.replace(/^nova-/, ''),
        zone,
      })),
    }
  })
  app.get('/os-hosts/:host', async (request) => {
    before243(request)
    const found = await hypervisors.host(request.principal, paramOf(request, 'host'))
    return { host: resourcesOf(found) }
  })
  const unsupported = async (request: FastifyRequest, policy: string, instead: string): Promise<never> => {
    before243(request)
    enforce(request.principal, `os_compute_api:os-hosts:${policy}`, 'admin')
    await hypervisors.host(request.principal, paramOf(request, 'host'))
    throw new DomainError('notImplemented', instead)
  }
  app.put('/os-hosts/:host', (request) =>
    unsupported(
      request,
      'update',
      'Hosts are not changed here: disable or enable their service (os-services).',
    ),
  )
  for (const action of ['startup', 'shutdown', 'reboot']) {
    app.get(`/os-hosts/:host/${action}`, (request) =>
      unsupported(request, action, 'The power of compute hosts is not controlled by this service.'),
    )
  }
}

/** All it has, what is given out, what its servers have, and what those of each project have. */
function resourcesOf({ service, facts, vcpus, memoryMib, used, projects }: Hypervisor): object[] {
  const resource = (project: string, use: HostUse): object => ({
    resource: {
      host: service.host,
      project,
      cpu: use.vcpus,
      memory_mb: use.memoryMib,
      disk_gb: use.diskGib,
    },
  })
  const sum = { vcpus: 0, memoryMib: 0, diskGib: 0 }
  for (const use of projects.values()) {
    sum.vcpus += use.vcpus
    sum.memoryMib += use.memoryMib
    sum.diskGib += use.diskGib
  }
  return [
    resource('(total)', { vcpus, memoryMib, diskGib: facts?.localDiskGiB ?? 0 }),
    resource('(used_now)', used),
    resource('(used_max)', sum),
    ...[...projects].map(([project, use]) => resource(project, use)),
  ]
}

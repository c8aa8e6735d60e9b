import { createHash } from 'node:crypto'
import type { FastifyRequest } from 'fastify'
import type { ServerFacts } from '../../app/server.ts'
import { isAdmin } from '../../domain/principal.ts'
import { instanceName, statusOf, type Server } from '../../domain/server.ts'
import { bookmarkOf, isoTime, linksOf, microTime, since } from './request.ts'

type View = Record<string, unknown>

export const basicView = (request: FastifyRequest, { server }: ServerFacts): View => ({
  id: server.id,
  name: server.name,
  links: linksOf(request, `servers/${server.id}`),
})

/** A server in detail, as the request's microversion and the caller's role show it. */
export function serverView(request: FastifyRequest, facts: ServerFacts): View {
  return {
    ...updatedView(request, facts, false),
    ...placeView(request, facts),
    ...extendedView(request, facts),
  }
}

/** The answer to `PUT /servers/{id}`: before 2.75 without the extensions' attributes. */
export function updatedView(
  request: FastifyRequest,
  facts: ServerFacts,
  whole = since(request, '2.75'),
): View {
  if (whole) return serverView(request, facts)
  const { server } = facts
  const status = statusOf(server)
  return {
    id: server.id,
    name: server.name,
    status,
    tenant_id: server.projectId,
    user_id: server.userId,
    metadata: server.metadata,
    hostId: hostIdOf(server),
    image:
      server.imageId === null
        ? ''
        : { id: server.imageId, links: [bookmarkOf(request, `images/${server.imageId}`)] },
    flavor: flavorView(request, server),
    created: isoTime(server.createdAt),
    updated: isoTime(server.updatedAt),
    addresses: {},
    accessIPv4: '',
    accessIPv6: '',
    links: linksOf(request, `servers/${server.id}`),
    'OS-DCF:diskConfig': 'MANUAL',
    ...(['ACTIVE', 'BUILD'].includes(status) ? { progress: 0 } : {}),
    ...(server.fault === null ? {} : { fault: { ...faultView(server) } }),
    ...versionedView(request, server),
  }
}

const faultView = ({ fault }: Server): View => ({
  code: fault?.code,
  created: isoTime(fault?.created ?? ''),
  message: fault?.message,
})

function versionedView(request: FastifyRequest, server: Server): View {
  return {
    ...(since(request, '2.9') ? { locked: server.lockedBy !== null } : {}),
    ...(since(request, '2.19') ? { description: server.description } : {}),
    ...(since(request, '2.26') ? { tags: server.tags } : {}),
    ...(since(request, '2.63') ? { trusted_image_certificates: server.trustedCerts } : {}),
    ...(since(request, '2.73') ? { locked_reason: server.lockedReason } : {}),
  }
}

/** Where it is, which only an administrator sees. */
function placeView(request: FastifyRequest, { server, hostStatus }: ServerFacts): View {
  const hostname = since(request, '2.90') ? { 'OS-EXT-SRV-ATTR:hostname': server.hostname } : {}
  if (!isAdmin(request.principal)) return hostname
  return {
    'OS-EXT-SRV-ATTR:host': server.host,
    'OS-EXT-SRV-ATTR:instance_name': instanceName(server.number),
    'OS-EXT-SRV-ATTR:hypervisor_hostname': server.host,
    ...(since(request, '2.3')
      ? {
          'OS-EXT-SRV-ATTR:reservation_id': server.reservationId,
          'OS-EXT-SRV-ATTR:launch_index': server.launchIndex,
          'OS-EXT-SRV-ATTR:hostname': server.hostname,
          'OS-EXT-SRV-ATTR:kernel_id': server.kernelId ?? '',
          'OS-EXT-SRV-ATTR:ramdisk_id': server.ramdiskId ?? '',
          'OS-EXT-SRV-ATTR:root_device_name': server.rootDeviceName,
          'OS-EXT-SRV-ATTR:user_data': server.userData,
        }
      : {}),
    ...(since(request, '2.16') ? { host_status: hostStatus } : {}),
  }
}

function extendedView(request: FastifyRequest, { server, attachments, zone }: ServerFacts): View {
  return {
    'OS-EXT-AZ:availability_zone': zone,
    config_drive: server.configDrive,
    key_name: server.keyName,
    'OS-SRV-USG:launched_at': microTime(server.launchedAt),
    'OS-SRV-USG:terminated_at': microTime(server.terminatedAt),
    'OS-EXT-STS:task_state': server.taskState,
    'OS-EXT-STS:vm_state': server.vmState,
    'OS-EXT-STS:power_state': server.powerState,
    'os-extended-volumes:volumes_attached': attachments.map((attachment) => ({
      id: attachment.volumeId,
      ...(since(request, '2.3') ? { delete_on_termination: attachment.deleteOnTermination } : {}),
    })),
  }
}

function flavorView(request: FastifyRequest, { flavor, flavorId }: Server): View {
  if (!since(request, '2.47')) {
    return { id: flavorId, links: [bookmarkOf(request, `flavors/${flavorId}`)] }
  }
  return {
    vcpus: flavor.vcpus,
    ram: flavor.memoryMib,
    disk: flavor.diskGib,
    ephemeral: flavor.ephemeralGib,
    swap: flavor.swapMib,
    original_name: flavor.name,
    extra_specs: flavor.extraSpecs,
  }
}

/** The same for all servers of a project on one host, and telling nothing of the host. */
export const hostIdOf = ({ host, projectId }: Pick<Server, 'host' | 'projectId'>): string =>
  host === null ? '' : createHash('sha224').update(`${projectId}${host}`).digest('hex')

import { DomainError } from '@volant/contract'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import Type from 'typebox'
import type { ComputeLimits } from '../../app/compute-quota.ts'
import { computeResources, type ComputeQuotas, type ProjectUsage } from '../../domain/compute-quota.ts'
import { paramOf, since } from './request.ts'
import { Query } from './query.ts'
import { bodyOf, boolean, integer, strict, toBoolean, toInteger, unexpected } from './schema.ts'

/** Of the network services that there were: unlimited, and gone from 2.36 on. */
const networkResources = ['fixed_ips', 'floating_ips', 'security_groups', 'security_group_rules'] as const
const fileResources = ['injected_files', 'injected_file_content_bytes', 'injected_file_path_bytes']

const limit = () => Type.Optional(integer(-1))
const updateBody = bodyOf(
  strict({
    quota_set: strict({
      ...Object.fromEntries([...computeResources, ...networkResources].map((name) => [name, limit()])),
      force: Type.Optional(boolean()),
    }),
  }),
)

/** Resources as the request's microversion knows them. */
function namesOf(request: FastifyRequest): string[] {
  const own = computeResources.filter((name) => !(since(request, '2.57') && fileResources.includes(name)))
  return since(request, '2.36') ? own : [...own, ...networkResources]
}

const valueOf = (limits: ComputeQuotas, name: string): number =>
  (limits as Record<string, number>)[name] ?? -1

const quotaView = (request: FastifyRequest, limits: ComputeQuotas): Record<string, number> =>
  Object.fromEntries(namesOf(request).map((name) => [name, valueOf(limits, name)]))

export function quotaRoutes(app: FastifyInstance, limits: ComputeLimits): void {
  app.get('/limits', async (request) => {
    const query = new Query(request)
    query.requireKnown(request, ['tenant_id', 'reserved'])
    const found = await limits.limits(request.principal, query.text('tenant_id'))
    return { limits: { rate: [], absolute: absoluteView(request, found) } }
  })
  app.get('/os-quota-sets/:project', async (request) => {
    const project = paramOf(request, 'project')
    const { limits: found } = await limits.quotas(request.principal, project)
    return { quota_set: { id: project, ...quotaView(request, found) } }
  })
  app.get('/os-quota-sets/:project/defaults', async (request) => {
    const project = paramOf(request, 'project')
    const found = await limits.defaults(request.principal, project)
    return { quota_set: { id: project, ...quotaView(request, found) } }
  })
  app.get('/os-quota-sets/:project/detail', async (request) => {
    const project = paramOf(request, 'project')
    const { limits: found, used } = await limits.quotas(request.principal, project)
    const detail = namesOf(request).map((name) => [
      name,
      {
        limit: valueOf(found, name),
        in_use: (used as unknown as Record<string, number>)[name] ?? 0,
        reserved: 0,
      },
    ])
    return { quota_set: { id: project, ...Object.fromEntries(detail) } }
  })
  app.put('/os-quota-sets/:project', async (request) => {
    const { changes, force } = parseUpdate(request)
    const changed = await limits.change(request.principal, paramOf(request, 'project'), changes, force)
    return { quota_set: quotaView(request, changed) }
  })
  app.delete('/os-quota-sets/:project', async (request, reply) => {
    await limits.reset(request.principal, paramOf(request, 'project'))
    return reply.code(202).send()
  })
  app.get('/os-quota-class-sets/:name', async (request) => {
    const name = paramOf(request, 'name')
    const found = await limits.defaults(request.principal, request.principal.projectId ?? '')
    return { quota_class_set: { id: name, ...quotaView(request, found) } }
  })
}

function parseUpdate(request: FastifyRequest): { changes: Partial<ComputeQuotas>; force: boolean } {
  const { force, ...given } = updateBody(request.body).quota_set as Record<string, string | number | boolean>
  const known = namesOf(request)
  const changes: Record<string, number> = {}
  for (const [name, value] of Object.entries(given)) {
    if (!known.includes(name)) throw unexpected(name)
    const number = toInteger(value as string | number, name, -1)
    if ((computeResources as string[]).includes(name)) changes[name] = number
    else if (number !== -1) {
      throw new DomainError('invalid', `Quota ${name} is unlimited: there is no network service.`)
    }
  }
  return {
    changes: changes as Partial<ComputeQuotas>,
    force: force !== undefined && toBoolean(force as string | boolean),
  }
}

function absoluteView(
  request: FastifyRequest,
  { limits, used }: { limits: ComputeQuotas; used: ProjectUsage },
): Record<string, number> {
  return {
    maxTotalInstances: limits.instances,
    maxTotalCores: limits.cores,
    maxTotalRAMSize: limits.ram,
    maxServerMeta: limits.metadata_items,
    maxTotalKeypairs: limits.key_pairs,
    maxServerGroups: limits.server_groups,
    maxServerGroupMembers: limits.server_group_members,
    totalInstancesUsed: used.instances,
    totalCoresUsed: used.cores,
    totalRAMUsed: used.ram,
    totalServerGroupsUsed: used.server_groups,
    ...(since(request, '2.39') ? {} : { maxImageMeta: limits.metadata_items }),
    ...(since(request, '2.57')
      ? {}
      : { maxPersonality: limits.injected_files, maxPersonalitySize: limits.injected_file_content_bytes }),
    ...(since(request, '2.36')
      ? {}
      : {
          maxTotalFloatingIps: -1,
          totalFloatingIpsUsed: 0,
          maxSecurityGroups: -1,
          maxSecurityGroupRules: -1,
          totalSecurityGroupsUsed: 0,
        }),
  }
}

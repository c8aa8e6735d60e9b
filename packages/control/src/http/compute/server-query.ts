import { DomainError } from '@volant/contract'
import type { FastifyRequest } from 'fastify'
import { isAdmin } from '../../domain/principal.ts'
import { statesOfStatus, type TaskState, type VmState } from '../../domain/server.ts'
import type { ServerFilter, ServerPage, ServerSortKey } from '../../ports/servers.ts'
import { since } from './request.ts'
import { Query } from './query.ts'

/** Nova's sort keys; those without a meaning here sort by nothing. */
const sortKeys: Record<string, ServerSortKey | undefined> = {
  created_at: 'createdAt',
  updated_at: 'updatedAt',
  launched_at: 'launchedAt',
  display_name: 'name',
  display_description: 'description',
  hostname: 'hostname',
  host: 'host',
  node: 'host',
  vm_state: 'vmState',
  task_state: 'taskState',
  power_state: 'powerState',
  project_id: 'projectId',
  user_id: 'userId',
  key_name: 'keyName',
  image_ref: 'imageId',
  instance_type_id: 'flavorId',
  locked_by: 'lockedBy',
  locked: 'lockedBy',
  uuid: 'id',
}

const ignoredSortKeys = new Set(
  (
    'access_ip_v4 access_ip_v6 auto_disk_config availability_zone config_drive kernel_id launch_index progress ramdisk_id ' +
    'root_device_name terminated_at architecture cell_name cleaned default_ephemeral_device ' +
    'default_swap_device deleted deleted_at disable_terminate ephemeral_gb ephemeral_key_uuid id key_data ' +
    'launched_on memory_mb os_type reservation_id root_gb shutdown_terminate user_data vcpus vm_mode'
  ).split(' '),
)

const knownParameters = (
  'user_id project_id tenant_id launch_index image_ref image kernel_id ramdisk_id hostname key_name power_state ' +
  'vm_state task_state host node flavor reservation_id launched_at terminated_at availability_zone name ' +
  'display_name description display_description locked_by uuid root_device_name config_drive access_ip_v4 ' +
  'access_ip_v6 auto_disk_config progress sort_key sort_dir all_tenants soft_deleted deleted status ' +
  'changes-since changes-before ip ip6 created_at tags tags-any not-tags not-tags-any locked limit marker'
).split(' ')

/** What Nova joins; asking for it is refused. */
const refusedParameters = new Set(
  'block_device_mapping services metadata system_metadata info_cache security_groups pci_devices'.split(' '),
)

export interface ServerListRequest {
  filter: ServerFilter
  page: ServerPage
  allProjects: boolean
  /** Servers of this zone only. */
  zone?: string
  /** The filter can match nothing. */
  isEmpty: boolean
}

export function parseServerList(request: FastifyRequest): ServerListRequest {
  const query = new Query(request)
  for (const key of query.keys()) {
    if (refusedParameters.has(key) || key.startsWith('_')) {
      throw new DomainError('invalid', `Invalid filter field: ${key.slice(0, 100)}.`)
    }
  }
  query.requireKnown(request, knownParameters)
  const admin = isAdmin(request.principal)
  const allText = query.text('all_tenants')
  const allProjects = allText === '' ? true : (query.boolean('all_tenants') ?? false)
  const status = statusFilter(request, query, admin)
  const filter: ServerFilter = {
    ...commonFilter(request, query),
    ...(admin || since(request, '2.83') ? stateFilter(query) : {}),
    ...(admin ? adminFilter(query, allProjects) : {}),
    ...status,
    ...deletedFilter(request, query, admin, status),
  }
  const zone = admin || since(request, '2.83') ? query.text('availability_zone') : undefined
  const hasNoAddress = query.text('ip') !== undefined || query.text('ip6') !== undefined
  return {
    filter,
    page: pageOf(request, query),
    allProjects,
    ...(zone === undefined ? {} : { zone }),
    isEmpty: hasNoAddress || (status === undefined && query.all('status').length > 0),
  }
}

/** Undefined: no status of the filter is one. */
function statusFilter(
  request: FastifyRequest,
  query: Query,
  admin: boolean,
): Pick<ServerFilter, 'vmStates' | 'taskStates'> | undefined {
  const words = query.all('status')
  if (words.length === 0) return {}
  const states = words.map((word) => statesOfStatus(word)).filter((state) => state !== undefined)
  if (states.length === 0) {
    if (since(request, '2.38')) throw new DomainError('invalid', 'Invalid status value')
    return undefined
  }
  const vmStates = [...new Set(states.flatMap((state) => state.vmStates))]
  if (vmStates.length === 1 && vmStates[0] === 'deleted' && !admin) {
    throw new DomainError('forbidden', 'Only administrators may list deleted instances')
  }
  const everyTask = states.some((state) => state.taskStates === undefined)
  return {
    vmStates,
    ...(everyTask ? {} : { taskStates: states.flatMap((state) => state.taskStates ?? []) }),
  }
}

function commonFilter(request: FastifyRequest, query: Query): ServerFilter {
  const text = (key: keyof ServerFilter, ...names: string[]): ServerFilter => {
    const value = names.map((each) => query.text(each)).find((found) => found !== undefined)
    return value === undefined ? {} : { [key]: value }
  }
  const tags = (key: keyof ServerFilter, parameter: string): ServerFilter => {
    const value = since(request, '2.26') ? query.text(parameter) : undefined
    return value === undefined ? {} : { [key]: value.split(',').filter((each) => each !== '') }
  }
  const changedSince = query.time('changes-since')
  const changedBefore = since(request, '2.66') ? query.time('changes-before') : undefined
  if (changedSince !== undefined && changedBefore !== undefined && changedBefore < changedSince) {
    throw new DomainError(
      'invalid',
      'The value of changes-since must be less than or equal to changes-before.',
    )
  }
  const locked = since(request, '2.73') ? query.boolean('locked') : undefined
  return {
    ...text('name', 'name', 'display_name'),
    ...text('flavorId', 'flavor'),
    ...text('imageId', 'image', 'image_ref'),
    ...text('reservationId', 'reservation_id'),
    ...tags('tagsAll', 'tags'),
    ...tags('tagsAny', 'tags-any'),
    ...tags('notTagsAll', 'not-tags'),
    ...tags('notTagsAny', 'not-tags-any'),
    ...(changedSince === undefined ? {} : { changedSince }),
    ...(changedBefore === undefined ? {} : { changedBefore }),
    ...(locked === undefined ? {} : { locked }),
  }
}

/** For administrators, and from 2.83 on for all. */
function stateFilter(query: Query): ServerFilter {
  const vmStates = query.all('vm_state') as VmState[]
  const taskStates = query.all('task_state') as TaskState[]
  const powerState = query.integer('power_state')
  const value = (key: string): string | undefined => query.text(key)
  return {
    ...(vmStates.length === 0 ? {} : { vmStates }),
    ...(taskStates.length === 0 ? {} : { taskStates }),
    ...(powerState === undefined ? {} : { powerState }),
    ...(value('key_name') === undefined ? {} : { keyName: value('key_name') as string }),
    ...(value('user_id') === undefined ? {} : { userId: value('user_id') as string }),
  }
}

function adminFilter(query: Query, allProjects: boolean): ServerFilter {
  const project = query.text('project_id') ?? query.text('tenant_id')
  const host = query.text('host') ?? query.text('node')
  const ids = query.all('uuid')
  const hostname = query.text('hostname')
  const about = query.text('description') ?? query.text('display_description')
  const launchIndex = query.integer('launch_index')
  return {
    ...(project === undefined || !allProjects ? {} : { projectId: project }),
    ...(host === undefined ? {} : { host }),
    ...(ids.length === 0 ? {} : { ids }),
    ...(hostname === undefined ? {} : { hostname }),
    ...(about === undefined ? {} : { description: about }),
    ...(launchIndex === undefined ? {} : { launchIndex }),
  }
}

function deletedFilter(
  request: FastifyRequest,
  query: Query,
  admin: boolean,
  status: Pick<ServerFilter, 'vmStates'> | undefined,
): Pick<ServerFilter, 'deleted'> {
  if (admin && status?.vmStates?.includes('deleted') === true) return { deleted: true }
  const asked = admin ? query.text('deleted') : undefined
  if (asked !== undefined) return { deleted: /^(?:1|t|true|on|y|yes)$/i.test(asked) }
  const changes =
    query.text('changes-since') !== undefined ||
    (since(request, '2.66') && query.text('changes-before') !== undefined)
  return changes ? {} : { deleted: false }
}

function pageOf(request: FastifyRequest, query: Query): ServerPage {
  const keys = query.all('sort_key')
  const directions = query.all('sort_dir')
  const sort: ServerPage['sort'] = []
  let direction = 'desc'
  for (const [index, key] of keys.entries()) {
    direction = directions[index] ?? direction
    if (direction !== 'asc' && direction !== 'desc') {
      throw new DomainError('invalid', "Unknown sort direction, must be 'desc' or 'asc'")
    }
    const known = sortKeys[key]
    if (known === undefined) {
      if (ignoredSortKeys.has(key)) continue
      throw query.invalid('sort_key', key, 'is not one of the sort keys of servers')
    }
    if ((known === 'host' || known === 'lockedBy') && !isAdmin(request.principal)) continue
    sort.push({ key: known, descending: direction === 'desc' })
  }
  if (sort.length === 0) {
    const first = directions[0]
    if (first !== undefined && first !== 'asc' && first !== 'desc') {
      throw new DomainError('invalid', "Unknown sort direction, must be 'desc' or 'asc'")
    }
    sort.push({ key: 'createdAt', descending: first !== 'asc' })
  }
  const marker = query.text('marker')
  return { sort, limit: query.limit(), ...(marker === undefined ? {} : { marker }) }
}

import type { ComputeQuotas, ComputeResource, ComputeUsage } from '../domain/compute-quota.ts'
import type { Flavor } from '../domain/flavor.ts'
import type { Server, TaskState, VmState } from '../domain/server.ts'
import type { Attachment } from '../domain/volume.ts'

export interface ServerFilter {
  /** Absent: every project's. */
  projectId?: string
  userId?: string
  /** Patterns as `likeFromPattern` takes them. */
  name?: string
  description?: string
  hostname?: string
  keyName?: string
  vmStates?: VmState[]
  taskStates?: TaskState[]
  powerState?: number
  host?: string
  flavorId?: string
  imageId?: string
  ids?: string[]
  /** On one of them; a zone's. */
  hosts?: string[]
  reservationId?: string
  launchIndex?: number
  locked?: boolean
  tagsAll?: string[]
  tagsAny?: string[]
  notTagsAll?: string[]
  notTagsAny?: string[]
  /** True: only deleted ones; false: only others; absent: both. */
  deleted?: boolean
  /** ISO 8601 with milliseconds and `Z`. */
  changedSince?: string
  changedBefore?: string
}

export type ServerSortKey =
  | 'createdAt'
  | 'updatedAt'
  | 'launchedAt'
  | 'name'
  | 'description'
  | 'hostname'
  | 'host'
  | 'vmState'
  | 'taskState'
  | 'powerState'
  | 'projectId'
  | 'userId'
  | 'keyName'
  | 'imageId'
  | 'flavorId'
  | 'lockedBy'
  | 'id'

export interface ServerPage {
  sort: { key: ServerSortKey; descending: boolean }[]
  limit: number
  /** The id of the last server of the page before. */
  marker?: string
}

/** What operations and the application may do with the records of servers. Every method is one transaction. */
export interface ServerRecords {
  /** Deleted servers are not found. */
  find(serverId: string): Promise<Server | undefined>
  /** Throws `notFound` with Nova's text. */
  get(serverId: string): Promise<Server>
  /** Throws `invalid` for a marker that is no server. */
  list(filter: ServerFilter, page: ServerPage): Promise<Server[]>
  /** Numbers and stores them, all or none, and in the server group. Throws `invalid` where that is gone. */
  create(servers: Omit<Server, 'number'>[], groupId?: string): Promise<Server[]>
  /** Changes only the given fields, and `updatedAt`. */
  update(serverId: string, fields: Partial<Omit<Server, 'id' | 'number'>>): Promise<void>
  /** Changes the server only if it still has one of the states; tells whether it did. */
  updateIf(
    serverId: string,
    expected: { vmStates?: readonly VmState[]; taskStates?: readonly (TaskState | null)[] },
    fields: Partial<Omit<Server, 'id' | 'number'>>,
  ): Promise<boolean>
  /** The attachments of the servers of a page, by the server's id. */
  attachmentsOf(serverIds: readonly string[]): Promise<Map<string, Attachment[]>>
  /** All servers that have not been deleted, on a host or on all. */
  onHost(host?: string): Promise<Server[]>
  /** vCPUs and MiB that servers recorded on each host have. */
  usageByHost(): Promise<Map<string, { servers: number; vcpus: number; memoryMib: number; diskGib: number }>>
  usageOfProject(projectId: string): Promise<ComputeUsage>
}

/**
 * A volume and its attachment, changed in one transaction, so that a crash never leaves one without the other. False,
 * and nothing is changed, where the volume is in another status by now, or is being migrated.
 */
export interface VolumeClaims {
  /**
   * `available` becomes `attaching`, and the attachment's row is made. Throws `conflict` where its server is no longer at
   * the attachment's host, or something is under way with it.
   */
  attach(attachment: Attachment): Promise<boolean>
  /** `in-use` becomes `detaching`, the attachment too. */
  detach(attachment: Attachment): Promise<boolean>
}

export interface FlavorRecords {
  find(flavorId: string): Promise<Flavor | undefined>
  /** Those the project may use, and all where `projectId` is absent. Ordered by id, in numbers' order. */
  list(filter: { projectId?: string | null }): Promise<Flavor[]>
  /** Throws `conflict` with Nova's text where the id or name is taken. */
  create(flavor: Flavor): Promise<void>
  update(flavorId: string, fields: Partial<Pick<Flavor, 'description' | 'extraSpecs'>>): Promise<void>
  remove(flavorId: string): Promise<void>
  projectsOf(flavorId: string): Promise<string[]>
  /** Tell whether they changed anything. */
  addAccess(flavorId: string, projectId: string): Promise<boolean>
  removeAccess(flavorId: string, projectId: string): Promise<boolean>
}

export interface Keypair {
  userId: string
  name: string
  number: number
  type: 'ssh' | 'x509'
  publicKey: string
  fingerprint: string
  createdAt: string
}

export interface KeypairRecords {
  find(userId: string, name: string): Promise<Keypair | undefined>
  list(userId: string): Promise<Keypair[]>
  /** False: the name is taken. */
  create(keypair: Omit<Keypair, 'number'>): Promise<boolean>
  remove(userId: string, name: string): Promise<boolean>
}

export interface ComputeService {
  id: string
  number: number
  host: string
  binary: 'nova-compute' | 'nova-conductor' | 'nova-scheduler'
  hypervisorId: string
  disabled: boolean
  disabledReason: string | null
  forcedDown: boolean
  createdAt: string
  updatedAt: string
}

export interface ComputeServiceRecords {
  list(): Promise<ComputeService[]>
  /** Creates the row where there is none for the host and binary. */
  ensure(service: Omit<ComputeService, 'number'>): Promise<void>
  update(
    serviceId: string,
    fields: Partial<Pick<ComputeService, 'disabled' | 'disabledReason' | 'forcedDown' | 'updatedAt'>>,
  ): Promise<void>
}

export interface ComputeQuotaRecords {
  /** Only what was set for the project; the rest are defaults. */
  of(projectId: string): Promise<Partial<ComputeQuotas>>
  set(projectId: string, resource: ComputeResource, limit: number): Promise<void>
  clear(projectId: string): Promise<void>
}

export interface InstanceAction {
  requestId: string
  serverId: string
  action: string
  userId: string
  projectId: string
  operationId: string | null
  startedAt: string
  finishedAt: string | null
  result: 'Success' | 'Error' | null
  message: string | null
  host: string | null
}

export interface InstanceActionRecords {
  /** Idempotent by server and request. */
  create(action: InstanceAction): Promise<void>
  /** Newest first. */
  ofServer(serverId: string): Promise<InstanceAction[]>
  find(serverId: string, requestId: string): Promise<InstanceAction | undefined>
  /** Ends the action, if it has no end yet. */
  finish(
    which: Pick<InstanceAction, 'serverId' | 'requestId'>,
    end: Pick<InstanceAction, 'finishedAt' | 'result' | 'message'>,
  ): Promise<void>
  /** Actions of operations that have no end yet. */
  unfinished(): Promise<InstanceAction[]>
}

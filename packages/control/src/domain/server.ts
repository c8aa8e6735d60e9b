import { DomainError } from '@volant/contract'
import type { FlavorSnapshot } from './flavor.ts'

export type VmState = 'building' | 'active' | 'paused' | 'stopped' | 'resized' | 'error' | 'deleted'

export type TaskState =
  | 'scheduling'
  | 'block_device_mapping'
  | 'spawning'
  | 'powering-off'
  | 'powering-on'
  | 'rebooting'
  | 'rebooting_hard'
  | 'pausing'
  | 'unpausing'
  /** Live migration. */
  | 'migrating'
  /** Cold migration and resize. */
  | 'resize_prep'
  | 'resize_migrating'
  | 'resize_finish'
  | 'resize_reverting'
  /** Evacuation. */
  | 'rebuilding'
  | 'deleting'

/** Nova's numbers. */
export const powerStates = { noState: 0, running: 1, paused: 3, shutdown: 4, crashed: 6 } as const
export type PowerState = (typeof powerStates)[keyof typeof powerStates]

export interface Fault {
  code: number
  message: string
  details: string | null
  created: string
}

export interface Nic {
  bridge: string
  mac: string
}

/** What the image said about starting from it. */
export interface BootSource {
  /** Of the kernel. */
  commandLine?: string
  /** The root disk is made from the image's data; absent: there is none of its own. */
  rootDisk?: { format: 'raw' | 'qcow2'; sizeBytes: number }
}

/** A server as the application sees it. Field meanings: `db/tables/compute.ts`. */
export interface Server {
  id: string
  number: number
  projectId: string
  userId: string
  name: string
  description: string | null
  hostname: string
  vmState: VmState
  taskState: TaskState | null
  powerState: PowerState
  fault: Fault | null
  host: string | null
  /** The zone that it was made in by name, and stays in; null: any. Its zone is its host's. */
  pinnedZone: string | null
  flavorId: string
  flavor: FlavorSnapshot
  imageId: string | null
  kernelId: string | null
  ramdiskId: string | null
  boot: BootSource
  keyName: string | null
  userData: string | null
  configDrive: string
  metadata: Record<string, string>
  tags: string[]
  nics: Nic[]
  securityGroups: string[]
  trustedCerts: string[] | null
  rootDeviceName: string
  reservationId: string
  launchIndex: number
  lockedBy: 'owner' | 'admin' | null
  lockedReason: string | null
  launchedAt: string | null
  terminatedAt: string | null
  deletedAt: string | null
  createdAt: string
  updatedAt: string
}

export type ServerStatus =
  | 'ACTIVE'
  | 'BUILD'
  | 'DELETED'
  | 'ERROR'
  | 'HARD_REBOOT'
  | 'MIGRATING'
  | 'PAUSED'
  | 'REBOOT'
  | 'REBUILD'
  | 'RESIZE'
  | 'REVERT_RESIZE'
  | 'SHUTOFF'
  | 'VERIFY_RESIZE'

/** What a server's state is called while nothing is under way. */
const statuses: Record<VmState, ServerStatus> = {
  building: 'BUILD',
  active: 'ACTIVE',
  paused: 'PAUSED',
  stopped: 'SHUTOFF',
  resized: 'VERIFY_RESIZE',
  error: 'ERROR',
  deleted: 'DELETED',
}

/** What a task makes of that, in the states in which it has a name of its own. */
const statusesOfTasks: Partial<Record<TaskState, Partial<Record<VmState, ServerStatus>>>> = {
  rebooting: { active: 'REBOOT' },
  rebooting_hard: { active: 'HARD_REBOOT' },
  migrating: { active: 'MIGRATING', paused: 'MIGRATING' },
  rebuilding: { active: 'REBUILD', stopped: 'REBUILD', paused: 'REBUILD', error: 'REBUILD' },
  resize_prep: { active: 'RESIZE', stopped: 'RESIZE' },
  resize_migrating: { active: 'RESIZE', stopped: 'RESIZE' },
  resize_finish: { active: 'RESIZE', stopped: 'RESIZE' },
  resize_reverting: { resized: 'REVERT_RESIZE' },
}

/** `status` from `vm_state` and `task_state`, by Nova's table. */
export const statusOf = ({ vmState, taskState }: Pick<Server, 'vmState' | 'taskState'>): ServerStatus =>
  (taskState === null ? undefined : statusesOfTasks[taskState]?.[vmState]) ?? statuses[vmState]

/** What a `status` of a filter means; undefined for a word that is no status. */
export function statesOfStatus(
  status: string,
): { vmStates: VmState[]; taskStates?: TaskState[] } | undefined {
  switch (status.toUpperCase()) {
    case 'ACTIVE':
      return { vmStates: ['active'] }
    case 'BUILD':
      return { vmStates: ['building'] }
    case 'DELETED':
      return { vmStates: ['deleted'] }
    case 'ERROR':
      return { vmStates: ['error'] }
    case 'PAUSED':
      return { vmStates: ['paused'] }
    case 'SHUTOFF':
      return { vmStates: ['stopped'] }
    case 'REBOOT':
      return { vmStates: ['active'], taskStates: ['rebooting'] }
    case 'HARD_REBOOT':
      return { vmStates: ['active'], taskStates: ['rebooting_hard'] }
    case 'MIGRATING':
      return { vmStates: ['active', 'paused'], taskStates: ['migrating'] }
    case 'REBUILD':
      return { vmStates: ['active', 'stopped', 'paused', 'error'], taskStates: ['rebuilding'] }
    case 'RESIZE':
      return {
        vmStates: ['active', 'stopped'],
        taskStates: ['resize_prep', 'resize_migrating', 'resize_finish'],
      }
    case 'REVERT_RESIZE':
      return { vmStates: ['resized'], taskStates: ['resize_reverting'] }
    case 'VERIFY_RESIZE':
      return { vmStates: ['resized'] }
    default:
      return emptyStatuses.has(status.toUpperCase()) ? { vmStates: [] } : undefined
  }
}

/** Nova's statuses that no server of Volant ever has. */
const emptyStatuses = new Set([
  'PASSWORD',
  'RESCUE',
  'SHELVED',
  'SHELVED_OFFLOADED',
  'SOFT_DELETED',
  'SUSPENDED',
  'UNKNOWN',
])

/** Throws `conflict` with Nova's words unless the server is in one of the states and nothing is under way. */
export function requireState(
  server: Server,
  action: string,
  allowed: readonly VmState[],
  taskStates: readonly (TaskState | null)[] = [null],
): void {
  const refuse = (attribute: string, state: string): never => {
    throw new DomainError(
      'conflict',
      `Cannot '${action}' instance ${server.id} while it is in ${attribute} ${state}`,
    )
  }
  if (!allowed.includes(server.vmState)) refuse('vm_state', server.vmState)
  if (!taskStates.includes(server.taskState)) refuse('task_state', String(server.taskState))
}

/** What is to be done where a server's root disk is a file on its compute host. */
export const movableInstead =
  'It was made with local root disks (compute.root_disks), or before there were others: make one anew, or boot it from a volume.'

/** Why the server can't leave its compute host; undefined: nothing that it has is only there. */
export const rootDiskRefusal = ({
  id,
  boot,
  host,
}: Pick<Server, 'id' | 'boot' | 'host'>): string | undefined =>
  boot.rootDisk === undefined
    ? undefined
    : `Instance ${id} has a root disk of its own, made of its image, which is on host ${String(host)} and stays there. ` +
      movableInstead

/** An administrator goes through a lock, its owner through the own. */
export function requireUnlocked(server: Server, caller: { isAdmin: boolean }): void {
  if (server.lockedBy === null || caller.isAdmin) return
  throw new DomainError('conflict', `Instance ${server.id} is locked`)
}

/** A name that DNS allows, from the server's: as Nova sanitises `hostname`. */
export function hostnameFrom(name: string, serverId: string): string {
  const cleaned = name
    .normalize('NFKD')
    .replaceAll(/[\s_]+/g, '-')
    .replaceAll(/[^A-Za-z0-9.-]/g, '')
    .replaceAll('.', '-')
    .toLowerCase()
    .replaceAll(/^[-]+|[-]+$/g, '')
    .slice(0, 63)
    .replace(/-+$/, '')
  return cleaned === '' ? `server-${serverId}` : cleaned
}

export const instanceName = (number: number): string => `instance-${number.toString(16).padStart(8, '0')}`

/** A locally administered address, with the prefix that OpenStack gives its ports. */
export function randomMac(random: Uint8Array): string {
  const rest = [...random.subarray(0, 3)].map((byte) => byte.toString(16).padStart(2, '0'))
  return ['fa', '16', '3e', ...rest].join(':')
}

/** `/dev/vda`, `/dev/vdb`, … `/dev/vdaa`: the first name that is not taken. */
export function freeDeviceName(taken: ReadonlySet<string>): string | undefined {
  for (let index = 0; index < 702; index += 1) {
    const name = `/dev/vd${letters(index)}`
    if (!taken.has(name)) return name
  }
  return undefined
}

const letters = (index: number): string => {
  const last = String.fromCodePoint(97 + (index % 26))
  return index < 26 ? last : `${String.fromCodePoint(96 + Math.floor(index / 26))}${last}`
}

/** QEMU's PCI bus takes no more disks beside the other devices; Nova's libvirt limit is the same. */
export const maxDisks = 26

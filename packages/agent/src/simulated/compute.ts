import { DomainError } from '@volant/contract'
import type {
  Caller,
  ComputeAgent,
  GuestDisk,
  GuestSpec,
  GuestState,
  GuestStatus,
  HypervisorFacts,
  InventoryItem,
} from '@volant/contract'
import { simulatedInventory, simulatedItem } from './inventory.ts'
import { SimulatedLatency } from './latency.ts'
import type { EndedRequests } from './latency.ts'
import { SimulatedMigrations } from './migration.ts'
import type { MigrationControls } from './migration.ts'
import type { Planted } from './inventory.ts'

/** A method of the agent, for hooks and the record of calls. */
export type ComputeCall = Exclude<keyof ComputeAgent, 'host'>

export interface SimulatedComputeOptions {
  host: string
  facts?: Partial<Omit<HypervisorFacts, 'host'>>
  /** Runs before a call has any effect; what it throws is the call's answer. */
  before?: (call: ComputeCall, serverId: string | undefined) => void | Promise<void>
  /** Runs after the call took effect; what it throws stands for an answer that was lost. */
  after?: (call: ComputeCall, serverId: string | undefined) => void | Promise<void>
}

interface SimulatedGuest {
  spec: GuestSpec
  state: Exclude<GuestState, 'absent'>
  disks: Map<string, GuestDisk & { sizeBytes?: number }>
  /** By attachment. */
  latencies: Map<string, SimulatedLatency>
  console: string[]
  reboots: number
  pid: number
  reason: string | undefined
}

/**
 * A compute host in memory, for tests of the control plane: the same answers, refusals and idempotence as the
 * real agent, without QEMU. It lives as long as the object, so a control plane may be "restarted" around it.
 */
export interface SimulatedComputeAgent extends ComputeAgent, Planted, MigrationControls {
  /** The calls so far, in order. */
  readonly calls: readonly { call: ComputeCall; serverId: string | undefined }[]
  /** What the server has attached, with the size last announced. */
  disksOf(serverId: string): (GuestDisk & { sizeBytes?: number })[]
  rebootsOf(serverId: string): number
  /**
   * Requests of the guest's to a disk ended: `guestLatency` counts them. To be called from the hook `before`, for a load that
   * follows a clock.
   */
  endRequests(serverId: string, attachmentId: string, ended: EndedRequests): void
  /** The storage under the guest fails, or is back. */
  setStorageFault(serverId: string, faulty: boolean): void
  /** The guest's process dies. */
  crash(serverId: string): void
  /** The guest does not give disks back when asked: `ensureNoDisk` times out with `conflict`. */
  setKeepsDisks(serverId: string, keeps: boolean): void
  appendConsole(serverId: string, line: string): void
}

const defaultFacts: Omit<HypervisorFacts, 'host'> = {
  accelerator: 'tcg',
  acceleratorReason: 'simulated',
  qemuVersion: '7.2.22',
  cpuModel: 'simulated',
  cpuFlagsDigest: 'simulated',
  machines: ['pc-i440fx-7.1', 'pc-i440fx-7.2'],
  vcpus: 8,
  memoryMiB: 16384,
  freeMemoryMiB: 16384,
  localDiskGiB: 200,
  freeDiskGiB: 200,
  uptimeSeconds: 90_061,
  loadAverage: [0.5, 0.25, 0.125],
}

const linesOf = (text: string): string[] => text.replace(/\n$/, '').split('\n')

const runs = (guest: SimulatedGuest): boolean => guest.state !== 'stopped'

export const createSimulatedComputeAgent = (options: SimulatedComputeOptions): SimulatedComputeAgent => {
  const guests = new Map<string, SimulatedGuest>()
  const keepsDisks = new Set<string>()
  const calls: { call: ComputeCall; serverId: string | undefined }[] = []
  let highestFence = 0
  let nextPid = 10_000

  const run = async <T>(
    call: ComputeCall,
    serverId: string | undefined,
    caller: Caller | undefined,
    act: () => T | Promise<T>,
  ): Promise<T> => {
    calls.push({ call, serverId })
    await options.before?.(call, serverId)
    if (caller !== undefined) {
      if (caller.fence < highestFence) {
        throw new DomainError(
          'staleFence',
          `The caller's fence number ${caller.fence} is older than ${highestFence}: another control plane has taken over.`,
        )
      }
      highestFence = caller.fence
    }
    const result = await act()
    await options.after?.(call, serverId)
    return result
  }

  const known = (serverId: string): SimulatedGuest => {
    const guest = guests.get(serverId)
    if (guest === undefined)
      throw new DomainError('notFound', `Server ${serverId} is not on ${options.host}.`)
    return guest
  }

  const running = (serverId: string): SimulatedGuest => {
    const guest = known(serverId)
    if (!runs(guest)) {
      throw new DomainError('conflict', `Server ${serverId} is stopped; it must run for this.`)
    }
    return guest
  }

  const migrations = new SimulatedMigrations<SimulatedGuest>({
    host: options.host,
    accelerator: options.facts?.accelerator ?? defaultFacts.accelerator,
    guests,
    running,
    receive: (spec) => {
      guests.delete(spec.serverId)
      start(spec).state = 'incoming'
    },
    setState: (serverId, state) => void (known(serverId).state = state),
  })

  /** A guest that nothing may change while it goes to another host. */
  const steady = (serverId: string): void => {
    const migrationId = migrations.underWay(serverId)
    if (migrationId === undefined) return
    throw new DomainError('conflict', `Server ${serverId} is being migrated (${migrationId}).`)
  }

  const statusOf = (serverId: string): GuestStatus => {
    const guest = guests.get(serverId)
    if (guest === undefined) return { serverId, state: 'absent', diskAttachmentIds: [] }
    const migrationId = migrations.migrationIdOf(serverId)
    const standsStill = guest.state === 'running' && migrations.standsStill(serverId)
    return {
      serverId,
      state: standsStill ? 'paused' : guest.state,
      ...(migrationId === undefined ? {} : { migrationId }),
      ...(runs(guest) && migrations.isLeaving(serverId) ? { isLeaving: true as const } : {}),
      ...(guest.reason === undefined ? {} : { reason: guest.reason }),
      ...(runs(guest) ? { pid: guest.pid, accelerator: 'tcg' as const } : {}),
      diskAttachmentIds: runs(guest) ? [...guest.disks.keys()] : [],
    }
  }

  const start = (spec: GuestSpec): SimulatedGuest => {
    const existing = guests.get(spec.serverId)
    if (existing !== undefined && runs(existing)) return existing
    nextPid += 1
    const started: SimulatedGuest = {
      spec,
      state: 'running',
      disks: new Map(spec.disks.map((disk) => [disk.attachmentId, { ...disk }])),
      latencies: new Map(),
      console: existing?.console ?? [],
      reboots: existing?.reboots ?? 0,
      pid: nextPid,
      reason: undefined,
    }
    guests.set(spec.serverId, started)
    return started
  }

  /** A disk that is plugged in anew counts anew. */
  const latencyOf = (serverId: string, attachmentId: string): SimulatedLatency => {
    const { disks, latencies } = running(serverId)
    if (!disks.has(attachmentId)) throw new DomainError('notFound', `The guest has no disk ${attachmentId}.`)
    const present = latencies.get(attachmentId) ?? new SimulatedLatency()
    latencies.set(attachmentId, present)
    return present
  }

  const stop = (serverId: string): void => {
    const guest = guests.get(serverId)
    if (guest === undefined) return
    guest.state = 'stopped'
    guest.reason = undefined
    guest.disks.clear()
  }

  const removeGuest = (serverId: string): void => {
    guests.delete(serverId)
    migrations.noteEnd(serverId, true)
  }

  const detach = (serverId: string, attachmentId: string, timeoutMs: number): void => {
    const guest = guests.get(serverId)
    if (guest === undefined || !runs(guest) || !guest.disks.has(attachmentId)) return
    if (keepsDisks.has(serverId)) {
      throw new DomainError(
        'conflict',
        `The guest did not give disk ${attachmentId} back within ${timeoutMs} ms.`,
      )
    }
    guest.disks.delete(attachmentId)
    guest.latencies.delete(attachmentId)
  }

  const resize = (serverId: string, attachmentId: string, sizeBytes: number): void => {
    const disk = running(serverId).disks.get(attachmentId)
    if (disk === undefined) {
      throw new DomainError('notFound', `The guest has no disk ${attachmentId}.`)
    }
    disk.sizeBytes = sizeBytes
  }

  const items = (): InventoryItem[] =>
    [...guests].map(([serverId, guest]) =>
      simulatedItem({ kind: 'guest', id: serverId, serverId, pids: runs(guest) ? [guest.pid] : [] }),
    )
  const { planted, inventory, removeStray } = simulatedInventory({
    admit: () => {},
    items,
    remove: ({ serverId = '' }) => removeGuest(serverId),
  })

  return {
    ...migrations.controls,
    host: options.host,
    calls,
    planted,
    inventory: async () => {
      await run('inventory', undefined, undefined, () => undefined)
      return inventory()
    },
    removeStray: async (caller, item) => {
      await run('removeStray', item.serverId, caller, () => undefined)
      await removeStray(caller, item)
    },
    disksOf: (serverId) => [...(guests.get(serverId)?.disks.values() ?? [])],
    rebootsOf: (serverId) => guests.get(serverId)?.reboots ?? 0,
    endRequests: (serverId, attachmentId, ended) => latencyOf(serverId, attachmentId).add(ended),
    setStorageFault: (serverId, faulty) => {
      const guest = running(serverId)
      guest.state = faulty ? 'paused-io-error' : 'running'
      guest.reason = faulty ? 'the storage does not answer' : undefined
    },
    crash: (serverId) => {
      stop(serverId)
      migrations.noteEnd(serverId, false)
      known(serverId).reason = 'the QEMU process died'
    },
    setKeepsDisks: (serverId, keeps) => {
      if (keeps) keepsDisks.add(serverId)
      else keepsDisks.delete(serverId)
    },
    appendConsole: (serverId, line) => void known(serverId).console.push(line),

    facts: () =>
      run('facts', undefined, undefined, () => {
        const facts = { ...defaultFacts, ...options.facts, host: options.host }
        const used = [...guests.values()].filter(runs).reduce((sum, guest) => sum + guest.spec.memoryMiB, 0)
        return { ...facts, freeMemoryMiB: Math.max(0, facts.memoryMiB - used) }
      }),
    ensureGuest: (caller, spec) =>
      run('ensureGuest', spec.serverId, caller, () => {
        steady(spec.serverId)
        start(spec)
        return statusOf(spec.serverId)
      }),
    ensureGuestStopped: (caller, serverId) =>
      run('ensureGuestStopped', serverId, caller, () => {
        steady(serverId)
        stop(serverId)
      }),
    rebootGuest: (caller, serverId) =>
      run('rebootGuest', serverId, caller, () => {
        steady(serverId)
        running(serverId).reboots += 1
      }),
    ensureGuestPaused: (caller, serverId, paused) =>
      run('ensureGuestPaused', serverId, caller, () => {
        steady(serverId)
        running(serverId).state = paused ? 'paused' : 'running'
      }),
    ensureNoGuest: (caller, serverId) => run('ensureNoGuest', serverId, caller, () => removeGuest(serverId)),
    guestStatus: (serverId) => run('guestStatus', serverId, undefined, () => statusOf(serverId)),
    listGuests: () => run('listGuests', undefined, undefined, () => [...guests.keys()].map(statusOf)),
    guestLatency: (serverId) =>
      run('guestLatency', serverId, undefined, () => {
        if (running(serverId).state === 'incoming') {
          throw new DomainError('conflict', `Server ${serverId} is being migrated to another host.`)
        }
        return [...running(serverId).disks.values()].map(({ attachmentId, volumeId }) => {
          return { attachmentId, volumeId, ...latencyOf(serverId, attachmentId).read() }
        })
      }),
    consoleOutput: (serverId, lines) =>
      run('consoleOutput', serverId, undefined, () => {
        const all = known(serverId).console
        return (lines === undefined ? all : all.slice(-lines)).map((line) => `${line}\n`).join('')
      }),
    ensureDisk: (caller, serverId, disk) =>
      run('ensureDisk', serverId, caller, () => {
        steady(serverId)
        const guest = running(serverId)
        if (!guest.disks.has(disk.attachmentId)) guest.disks.set(disk.attachmentId, { ...disk })
      }),
    ensureNoDisk: (caller, serverId, attachmentId, timeoutMs) =>
      run('ensureNoDisk', serverId, caller, () => {
        steady(serverId)
        detach(serverId, attachmentId, timeoutMs)
      }),
    ensureDiskSize: (caller, serverId, attachmentId, sizeBytes) =>
      run('ensureDiskSize', serverId, caller, () => {
        steady(serverId)
        resize(serverId, attachmentId, sizeBytes)
      }),

    guestHardware: (serverId) =>
      run('guestHardware', serverId, undefined, () => migrations.hardware(serverId)),
    ensureIncoming: (caller, request) =>
      run('ensureIncoming', request.guest.serverId, caller, () => migrations.ensureIncoming(request)),
    awaitIncoming: (serverId, migrationId, timeoutMs) =>
      run('awaitIncoming', serverId, undefined, () =>
        migrations.awaitIncoming(serverId, migrationId, timeoutMs),
      ),
    ensureArrived: (caller, serverId, migrationId, paused, earlierConsole) =>
      run('ensureArrived', serverId, caller, () => {
        const arrives = known(serverId).state === 'incoming'
        migrations.ensureArrived(serverId, migrationId, paused)
        if (arrives && earlierConsole !== undefined) known(serverId).console.push(...linesOf(earlierConsole))
      }),
    ensureNoIncoming: (caller, serverId, migrationId) =>
      run('ensureNoIncoming', serverId, caller, () => migrations.ensureNoIncoming(serverId, migrationId)),
    ensureMigration: (caller, serverId, request) =>
      run('ensureMigration', serverId, caller, () => migrations.ensureMigration(serverId, request)),
    setMigrationLimits: (caller, serverId, migrationId, limits) =>
      run('setMigrationLimits', serverId, caller, () => migrations.setLimits(serverId, migrationId, limits)),
    awaitMigration: (serverId, migrationId, knownPhase, timeoutMs) =>
      run('awaitMigration', serverId, undefined, () =>
        migrations.awaitMigration(serverId, migrationId, knownPhase, timeoutMs),
      ),
    beginSwitchover: (caller, serverId, migrationId) =>
      run('beginSwitchover', serverId, caller, () => migrations.beginSwitchover(serverId, migrationId)),
    continueMigration: (caller, serverId, migrationId) =>
      run('continueMigration', serverId, caller, () => migrations.continueMigration(serverId, migrationId)),
    ensureMigrationAbandoned: (caller, serverId, migrationId) =>
      run('ensureMigrationAbandoned', serverId, caller, () =>
        migrations.ensureAbandoned(serverId, migrationId),
      ),
  }
}

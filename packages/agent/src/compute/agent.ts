import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Caller, ComputeAgent, HypervisorFacts } from '@volant/contract'
import { DomainError, messageOf } from '@volant/contract'
import { ensurePrivateFolder } from '@volant/qemu'
import { askedOnce } from '@volant/qemu/asked-once.ts'
import type { Log } from '../daemon/log.ts'
import { createSerial } from '../daemon/serial.ts'
import { createFenceGuard } from '../fence-guard.ts'
import { findAccelerator } from './accelerator.ts'
import type { AcceleratorVerdict, ProbeKernel } from './accelerator.ts'
import { defaultReconnectDelaySeconds } from './command-line.ts'
import { tailOfConsole } from './console-log.ts'
import { Guest } from './guest.ts'
import type { MigrationEnds } from './guest-process.ts'
import { listServerIds } from './guest-record.ts'
import { computeInventory, removeStrayGuest } from './inventory.ts'
import { neverRemoved } from '../inventory/unclaimed.ts'
import { machineFacts, processorFacts, readMachines, readQemuVersion } from './host-facts.ts'
import { bridgeLister } from './network.ts'

export interface ComputeAgentOptions {
  host: string
  /** Records, consoles and root disks of the guests. Private to the service's user. */
  stateDir: string
  /** QMP sockets; a short path, since a socket's is limited to 107 bytes. */
  runDir: string
  log: Log
  /** Path of the network namespace with the bridges; absent: this process's own. */
  netns?: string
  /** How much of the machine's memory is for guests; absent: all of it. */
  memoryMiB?: number
  /** A kernel that speaks on ttyS0, to find out whether KVM works here; without one guests are emulated. */
  probeKernel?: () => Promise<ProbeKernel>
  /** Where and with which certificates guests go from host to host; absent: they stay. */
  migration?: MigrationEnds
  /** Seconds that a guest's requests wait for a lost head before the guest is paused; default 30. */
  reconnectDelaySeconds?: number
}

/** The agent, and the end of it: `close` lets go of the guests, which run on and are found by the next agent. */
export interface LocalComputeAgent extends ComputeAgent {
  /** Settles when the guests of an earlier agent are looked after again. Every call waits for it. */
  readonly adopted: Promise<void>
  close(): Promise<void>
}

const beingTried: AcceleratorVerdict = { accelerator: 'tcg', reason: 'whether KVM works is being tried' }

const noCertificates = (): Promise<string> =>
  Promise.reject(
    new DomainError('unavailable', 'This compute host has no certificates to migrate guests with.'),
  )

/** Without them the host is told of all the same: its guests may have no ports. */
const bridgeFacts = (listed: Promise<string[]>): Promise<Pick<HypervisorFacts, 'bridges'>> =>
  listed.then(
    (bridges) => ({ bridges }),
    () => ({}),
  )

const staying: MigrationEnds = {
  dataAddress: '127.0.0.1',
  machine: '',
  serverTlsFolder: noCertificates,
  clientTlsFolder: noCertificates,
}

/** The compute agent of this machine. Its guests are processes of their own, which outlive it. */
export const createComputeAgent = (options: ComputeAgentOptions): LocalComputeAgent => {
  const { host, stateDir, runDir, log } = options
  ensurePrivateFolder(stateDir)
  ensurePrivateFolder(runDir)
  const fence = createFenceGuard(join(stateDir, 'fence.json'))
  const serial = createSerial()
  const guests = new Map<string, Guest>()
  const version = askedOnce(readQemuVersion)
  const machines = askedOnce(readMachines)
  const bridges = bridgeLister(options.netns)
  const accelerator = askedOnce(async (): Promise<AcceleratorVerdict> => {
    const kernel = await options.probeKernel?.()
    const found = await findAccelerator(join(stateDir, 'accelerator.json'), await version(), kernel)
    log.info({ host, ...found }, 'accelerator chosen')
    return found
  })

  const context = {
    stateDir,
    runDir,
    log,
    accelerator,
    migration: options.migration ?? staying,
    reconnectDelaySeconds: options.reconnectDelaySeconds ?? defaultReconnectDelaySeconds,
    ...(options.netns === undefined ? {} : { netns: options.netns }),
  }

  const guest = (serverId: string): Guest => {
    const present = guests.get(serverId) ?? new Guest(context, serverId)
    guests.set(serverId, present)
    return present
  }

  const adoptAll = async (): Promise<void> => {
    for (const serverId of listServerIds(stateDir)) {
      try {
        await guest(serverId).adopt()
      } catch (error) {
        log.warn(
          { serverId, reason: messageOf(error) },
          'guest could not be adopted; trying again when it is needed',
        )
      }
    }
  }
  const adopted = adoptAll()

  const change = async <T>(caller: Caller, serverId: string, act: (one: Guest) => Promise<T>): Promise<T> => {
    fence.admit(caller)
    await adopted
    return serial(serverId, () => {
      // Again: another control plane may have taken over while the call waited for its turn.
      fence.admit(caller)
      return act(guest(serverId))
    })
  }

  const usedMemoryMiB = (): number =>
    [...guests.values()]
      .filter(({ record }) => record !== undefined && record.phase !== 'stopped')
      .reduce((sum, { record }) => sum + (record?.spec.memoryMiB ?? 0), 0)

  return {
    host,
    adopted,
    async facts() {
      await adopted
      // The first trial of KVM takes seconds. Whoever starts a guest waits for it; whoever only looks does not.
      const trying = sleep(100, beingTried, { ref: false })
      const { accelerator: kind, reason } = await Promise.race([accelerator(), trying])
      return {
        host,
        accelerator: kind,
        ...(reason === undefined ? {} : { acceleratorReason: reason }),
        qemuVersion: await version(),
        machines: await machines(),
        ...(await bridgeFacts(bridges())),
        ...processorFacts(readFileSync('/proc/cpuinfo', 'utf8')),
        ...machineFacts(stateDir, options.memoryMiB, usedMemoryMiB()),
      }
    },
    ensureGuest: (caller, spec) => change(caller, spec.serverId, (one) => one.ensureStarted(spec)),
    ensureGuestStopped: (caller, serverId, graceMs) => change(caller, serverId, (one) => one.stop(graceMs)),
    rebootGuest: (caller, serverId, how) => change(caller, serverId, (one) => one.reboot(how)),
    ensureGuestPaused: (caller, serverId, paused) => change(caller, serverId, (one) => one.setPaused(paused)),
    ensureNoGuest: (caller, serverId) =>
      change(caller, serverId, async (one) => {
        await one.remove()
        guests.delete(serverId)
      }),
    async guestStatus(serverId) {
      await adopted
      return guest(serverId).status()
    },
    async listGuests() {
      await adopted
      return Promise.all(listServerIds(stateDir).map((serverId) => guest(serverId).status()))
    },
    async guestLatency(serverId) {
      await adopted
      return guest(serverId).latency()
    },
    inventory: () => computeInventory({ stateDir, runDir }),
    async removeStray(caller, item) {
      if (item.kind !== 'guest' && item.kind !== 'remains') throw neverRemoved(item)
      const serverId = item.serverId ?? item.id
      fence.admit(caller)
      await adopted
      const removeGuest = async (): Promise<void> => {
        await guest(serverId).remove()
        guests.delete(serverId)
      }
      await serial(serverId, () => removeStrayGuest({ stateDir, runDir }, item, removeGuest))
    },
    async consoleOutput(serverId, lines) {
      await adopted
      const { record, paths } = guest(serverId)
      if (record === undefined) throw new DomainError('notFound', `Server ${serverId} is not on ${host}.`)
      return tailOfConsole(paths.console, lines)
    },
    ensureDisk: (caller, serverId, disk) => change(caller, serverId, (one) => one.ensureDisk(disk)),
    ensureNoDisk: (caller, serverId, attachmentId, timeoutMs) =>
      change(caller, serverId, (one) => one.ensureNoDisk(attachmentId, timeoutMs)),
    ensureDiskSize: (caller, serverId, attachmentId, sizeBytes) =>
      change(caller, serverId, (one) => one.ensureDiskSize(attachmentId, sizeBytes)),
    async guestHardware(serverId) {
      await adopted
      return guest(serverId).hardware()
    },
    ensureIncoming: (caller, request) =>
      change(caller, request.guest.serverId, (one) => one.ensureIncoming(request)),
    async awaitIncoming(serverId, migrationId, timeoutMs) {
      await adopted
      return guest(serverId).incoming.awaitEnd(migrationId, timeoutMs)
    },
    ensureArrived: (caller, serverId, migrationId, paused, earlierConsole) =>
      change(caller, serverId, (one) => one.ensureArrived(migrationId, paused, earlierConsole)),
    ensureNoIncoming: (caller, serverId, migrationId) =>
      change(caller, serverId, (one) => one.ensureNoIncoming(migrationId)),
    ensureMigration: (caller, serverId, request) =>
      change(caller, serverId, (one) => one.ensureMigration(request)),
    setMigrationLimits: (caller, serverId, migrationId, limits) =>
      change(caller, serverId, (one) => one.outgoing.setLimits(migrationId, limits)),
    async awaitMigration(serverId, migrationId, knownPhase, timeoutMs) {
      await adopted
      return guest(serverId).outgoing.awaitOther(migrationId, knownPhase, timeoutMs)
    },
    beginSwitchover: (caller, serverId, migrationId) =>
      change(caller, serverId, (one) => one.outgoing.beginSwitchover(migrationId)),
    async continueMigration(caller, serverId, migrationId, timeoutMs) {
      await change(caller, serverId, (one) => one.outgoing.continue(migrationId))
      return guest(serverId).outgoing.awaitSent(migrationId, timeoutMs)
    },
    ensureMigrationAbandoned: (caller, serverId, migrationId) =>
      change(caller, serverId, (one) => one.ensureMigrationAbandoned(migrationId)),
    async close() {
      await adopted
      for (const one of guests.values()) one.close()
    },
  }
}

import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import type { LocalHolderAgent } from '@volant/agent'
import type { LocalComputeAgent } from '@volant/agent/compute/agent.ts'
import type {
  FileAccess,
  GuestDisk,
  GuestSpec,
  IncomingRequest,
  MigrationPhase,
  MigrationStatus,
} from '@volant/contract'
import { isDomainError } from '@volant/contract'
import { createTlsAuthority } from '@volant/qemu/tls/authority.ts'
import { parseConsole } from '../../probe/console.ts'
import { verifyImage } from '../../probe/verify.ts'
import { openGuestRig, until } from './guest-rig.ts'
import type { GuestRig } from './guest-rig.ts'
import { caller, MiB, openRig } from './rig.ts'

export const refused =
  (code: string) =>
  (error: unknown): boolean =>
    isDomainError(error) && error.code === code

/** Bytes per second: the guest's memory is still being copied when something happens to it. */
export const slow = 2 * MiB

export const stateAt = async ({ serverId }: MigrationRig, { guests }: Place): Promise<string> =>
  (await guests.agent().guestStatus(serverId)).state

/** SIGKILL for the server's QEMU at one of both hosts. */
export const kill = async ({ serverId }: MigrationRig, { guests }: Place): Promise<void> => {
  const { pid } = await guests.agent().guestStatus(serverId)
  assert.ok(pid !== undefined, 'there is a process to kill')
  process.kill(pid, 'SIGKILL')
}

/** Its QEMU there reads nothing more, as behind a network that is cut. */
export const cutOff = async ({ serverId }: MigrationRig, { guests }: Place): Promise<void> => {
  const { pid } = await guests.agent().guestStatus(serverId)
  assert.ok(pid !== undefined, 'there is a process to stop')
  process.kill(pid, 'SIGSTOP')
}

/** A compute host of a machine of its own, with that machine's heads. */
export interface Place {
  machine: string
  guests: GuestRig
  holders: LocalHolderAgent
}

/** A volume of the server, and the head that it has now. */
export interface TestVolume {
  attachmentId: string
  volumeId: string
  image: FileAccess
  headId: string
}

const limits = { downtimeMs: 300, bandwidth: 0, autoConverge: true }
const patienceMs = 30_000

/** What the control plane's operation does, step by step, so that a test may stop anywhere. */
export class Migration {
  readonly migrationId = randomUUID()
  readonly #world: MigrationRig
  readonly from: Place
  readonly to: Place
  readonly channels: number
  #newHeads: string[] = []
  #request: IncomingRequest | undefined

  constructor(world: MigrationRig, from: Place, to: Place, channels = 1) {
    this.#world = world
    this.from = from
    this.to = to
    this.channels = channels
  }

  get source(): LocalComputeAgent {
    return this.from.guests.agent()
  }

  get destination(): LocalComputeAgent {
    return this.to.guests.agent()
  }

  async incomingRequest(sourceMachine = this.from.machine): Promise<IncomingRequest> {
    const { serverId, spec, volumes } = this.#world
    this.#newHeads = volumes.map(() => randomUUID())
    const disks: GuestDisk[] = []
    for (const [index, volume] of volumes.entries()) {
      const { volumeId, image } = volume
      const holderId = this.#newHeads[index] ?? ''
      const standby = { holderId, volumeId, sizeBytes: image.sizeBytes }
      disks.push(diskOf(volume, await this.to.holders.ensureStandby(caller, standby)))
    }
    return {
      migrationId: this.migrationId,
      // In another order than they were plugged in: each must be where it was all the same.
      guest: { ...spec, disks: disks.toReversed() },
      hardware: await this.source.guestHardware(serverId),
      sourceMachine,
      channels: this.channels,
    }
  }

  /** The memory begins to be copied. */
  async begin(
    bandwidth = 0,
    { sourceMachine, tlsHostname }: { sourceMachine?: string; tlsHostname?: string } = {},
  ): Promise<void> {
    const { serverId } = this.#world
    this.#request ??= await this.incomingRequest(sourceMachine)
    const to = await this.destination.ensureIncoming(caller, this.#request)
    const { migrationId, channels } = this
    if (tlsHostname !== undefined) to.tlsHostname = tlsHostname
    await this.source.ensureMigration(caller, serverId, {
      migrationId,
      to,
      limits: { ...limits, bandwidth },
      channels,
    })
  }

  async phaseAfter(known: MigrationPhase): Promise<MigrationStatus> {
    const { serverId } = this.#world
    return this.source.awaitMigration(serverId, this.migrationId, known, patienceMs)
  }

  async toSwitchover(): Promise<void> {
    const { phase, error } = await this.phaseAfter('copying')
    assert.equal(phase, 'pre-switchover', error ?? phase)
  }

  async beginSwitchover(): Promise<void> {
    await this.source.beginSwitchover(caller, this.#world.serverId, this.migrationId)
  }

  /** The destination's heads die in standby; their agent starts them again. */
  async killStandby(): Promise<void> {
    for (const holderId of this.#newHeads) {
      const { pid } = (await this.to.holders.holderStatus(holderId)) ?? {}
      if (pid !== undefined) process.kill(pid, 'SIGKILL')
    }
  }

  /** The source's heads let go of the images; then the destination's get them. */
  async fence(): Promise<void> {
    for (const [index, volume] of this.#world.volumes.entries()) {
      const { volumeId, image, headId } = volume
      const holderId = this.#newHeads[index] ?? ''
      await this.from.holders.ensureReleased(caller, headId)
      await this.to.holders.ensureHolder(caller, { holderId, volumeId, image, serves: true })
    }
  }

  async continue(): Promise<MigrationStatus> {
    return this.source.continueMigration(caller, this.#world.serverId, this.migrationId, patienceMs)
  }

  async arrived(): Promise<void> {
    const incoming = await this.destination.awaitIncoming(this.#world.serverId, this.migrationId, patienceMs)
    assert.equal(incoming.phase, 'arrived', incoming.error ?? incoming.phase)
  }

  /** After the commit. */
  async goOn(paused = false): Promise<void> {
    const { serverId, volumes } = this.#world
    const console = this.from.guests.console(serverId)
    await this.destination.ensureArrived(caller, serverId, this.migrationId, paused, console)
    await this.source.ensureNoGuest(caller, serverId)
    for (const [index, volume] of volumes.entries()) {
      await this.from.holders.ensureNoHolder(caller, volume.headId)
      volume.headId = this.#newHeads[index] ?? ''
    }
  }

  /** All of the guest is at the destination, and stands still. Returns for how long it already has, by its agent, in ms. */
  async toArrived(): Promise<number> {
    await this.begin()
    await this.toSwitchover()
    await this.beginSwitchover()
    await this.fence()
    const { phase, error, stillMs } = await this.continue()
    assert.equal(phase, 'completed', error ?? phase)
    await this.arrived()
    return stillMs ?? NaN
  }

  async all(paused = false): Promise<number> {
    const stillMs = await this.toArrived()
    await this.goOn(paused)
    return stillMs
  }

  /** Before the commit, from wherever it is. A destination that is cut off is told last. */
  async undo(isCutOff = false): Promise<void> {
    const { serverId, volumes } = this.#world
    const endIncoming = () => this.destination.ensureNoIncoming(caller, serverId, this.migrationId)
    if (!isCutOff) await endIncoming()
    for (const headId of this.#newHeads) await this.to.holders.ensureNoHolder(caller, headId)
    for (const { headId, volumeId, image } of volumes) {
      await this.from.holders.ensureHolder(caller, { holderId: headId, volumeId, image, serves: true })
    }
    await this.source.ensureMigrationAbandoned(caller, serverId, this.migrationId)
    if (isCutOff) await endIncoming()
    assert.equal((await this.phaseAfter('copying')).phase, 'absent')
    assert.equal((await this.destination.guestStatus(serverId)).state, 'absent')
  }
}

const diskOf = (
  { attachmentId, volumeId }: TestVolume,
  head: { socketPath?: string; exportName?: string },
): GuestDisk => ({
  attachmentId,
  volumeId,
  socketPath: head.socketPath ?? '',
  exportName: head.exportName ?? '',
  boot: false,
})

export interface MigrationRig {
  serverId: string
  /** As last started, with the disks that were plugged in since. */
  spec: GuestSpec
  volumes: TestVolume[]
  places: [Place, Place]
  newVolume(place: Place): Promise<{ volume: TestVolume; disk: GuestDisk }>
  /** Boots a guest that writes to one volume. */
  boot(place: Place, nics?: GuestSpec['nics']): Promise<void>
  acked(place: Place): number
  /** The guest writes on here, and what it wrote so far is there. */
  writesOn(place: Place): Promise<void>
  /** No acknowledged write is lost, none torn; the guest saw no error. */
  verify(place: Place, live: boolean): Promise<void>
}

/** Two compute hosts of two machines that share one aggregate, as those of a storage node's machine do. */
export async function openMigrationRig(t: TestContext, netns?: string): Promise<MigrationRig> {
  const rig = await openRig(t)
  const tls = createTlsAuthority(join(rig.folder, 'tls'))
  const place = (machine: string, holders: LocalHolderAgent): Place => ({
    machine,
    holders,
    guests: openGuestRig(t, {
      host: `c-${machine}`,
      ...(netns === undefined ? {} : { netns: `/run/netns/${netns}` }),
      reconnectDelaySeconds: 5,
      migration: {
        dataAddress: '127.0.0.1',
        machine,
        serverTlsFolder: () => tls.serverFolder(machine, '127.0.0.1'),
        clientTlsFolder: () => tls.clientFolder(machine),
      },
    }),
  })
  const other = { host: 'm2', stateDir: join(rig.folder, 'h2'), runDir: join(rig.folder, 'r2') }
  const places: [Place, Place] = [place('m1', rig.holders), place('m2', rig.holderAgent(other))]
  const serverId = randomUUID()
  const world: MigrationRig = {
    serverId,
    spec: await places[0].guests.spec(serverId),
    volumes: [],
    places,
    async newVolume({ holders }) {
      const { access: image } = await rig.newImage()
      const volume: TestVolume = {
        attachmentId: randomUUID(),
        volumeId: randomUUID(),
        image,
        headId: randomUUID(),
      }
      world.volumes.push(volume)
      const { headId: holderId, volumeId } = volume
      const head = await holders.ensureHolder(caller, { holderId, volumeId, image, serves: true })
      return { volume, disk: diskOf(volume, head) }
    },
    async boot(at, nics = []) {
      const { disk } = await world.newVolume(at)
      world.spec = await at.guests.spec(serverId, { disks: [disk], nics }, 'probe.fill=16M')
      await at.guests.agent().ensureGuest(caller, world.spec)
      await until('the guest writes', () => world.acked(at) > 500)
    },
    acked(at) {
      const lines = parseConsole(at.guests.console(serverId))
      const last = (volume: TestVolume): number => {
        const progress = lines.filter(
          (line) => line.kind === 'progress' && line.serial === volume.volumeId.slice(0, 20),
        )
        const found = progress.at(-1)
        return found?.kind === 'progress' ? found.acked : 0
      }
      return Math.min(...world.volumes.map(last))
    },
    async writesOn(at) {
      const before = world.acked(at)
      await until('the guest writes on', () => world.acked(at) > before + 200)
      await world.verify(at, true)
    },
    async verify(at, live) {
      const consoleLog = at.guests.console(serverId)
      for (const { image, volumeId } of world.volumes) {
        const serial = volumeId.slice(0, 20)
        const report = await verifyImage({ imagePath: image.path, consoleLog, serial, live })
        assert.deepEqual(report.problems, [])
        assert.equal(report.ok, true)
      }
    },
  }
  return world
}

/**
 * Guests that issue requests at a fixed rate and tell how long each took, while their disk's image is copied: one of
 * Volant's, and one that a plain script runs. What the guest itself measured is compared, so with all that a copy costs it.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readFileSync } from 'node:fs'
import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { qemuArguments, type MachineChoice } from '@volant/agent/compute/command-line.ts'
import { QmpClient } from '@volant/qemu/qmp.ts'
import { processesOf, type Kind } from '../../test/crash/processes.ts'
import { registerQuietProbe, truthOf } from '../../test/crash/world.ts'
import { acknowledged, ended, poolOf, until, type Plane } from '../../test/migration/plane.ts'
import { monotonicMs } from '../measure.ts'
import { pathsIn, specOf } from './bare-guest.ts'
import { bareMove, startBareDaemon } from './bare-mirror.ts'
import { watchGrowth, type Growth } from './image-growth.ts'
import { watchWaits, type GuestWaits } from './guest-waits.ts'
import { createEmpty, fillDense } from './images.ts'

export interface GuestCopy {
  /** From the first byte at the target until all of it is there; `monotonicMs`. */
  from: number
  to: number
  /** When the cutover was over. */
  over: number
  /** From the request to the end. */
  totalMs: number
  /** Bytes at the target, over time. */
  growth: Growth
  /** Returns when what was there before is removed. */
  settled(): Promise<void>
}

export interface LoadedGuest {
  /** It begins, or goes on, to issue requests. */
  resume(): Promise<void>
  /** It stands still, and costs nothing. */
  pause(): Promise<void>
  watch(): GuestWaits
  /** To the other place. */
  copy(pace?: string): Promise<GuestCopy>
  /** Of what stores and copies. */
  daemons(): Promise<number[]>
}

export interface LoadOptions {
  /** Writes per second; one read follows on each eighth. */
  iops: number
  sizeBytes: number
}

const memoryMiB = 128
/** A copy that takes longer is cancelled, and has failed. */
const longestMs = 60_000
/** Sixteen of them keep the rate where each waits for 8 ms (2,000 a second) or 32 ms (500). */
const load = ({ iops }: LoadOptions): string =>
  `probe.iops=${iops} probe.threads=16 probe.span=64M probe.waits=1`

/** A server with a volume that is allocated as a whole; its guest writes when this returns. */
export async function bootLoaded(plane: Plane, options: LoadOptions): Promise<LoadedGuest> {
  const { client } = plane
  const image = await registerQuietProbe(plane, `load-${options.iops}`, load(options))
  const { id: serverId } = await client.compute.create({
    name: `load-${options.iops}`,
    flavor: 'm1.tiny',
    image,
  })
  const size = options.sizeBytes / 2 ** 30
  const { id: volumeId } = await client.volume.create({ name: `load-${options.iops}`, size })
  const hasStatus = (status: string): Promise<void> =>
    until(
      `the volume is ${status}`,
      60_000,
      async () => (await client.volume.show(volumeId)).status === status,
    )
  await hasStatus('available')
  await fillDense((await client.ndo.placement(volumeId)).path ?? '', options.sizeBytes)
  const isNow = (status: string): Promise<void> =>
    until(`the server is ${status}`, 60_000, async () => {
      const server = await client.compute.show(serverId)
      return server.status === status && server['OS-EXT-STS:task_state'] === null
    })
  await isNow('ACTIVE')
  await client.compute.attach(serverId, volumeId)
  await hasStatus('in-use')
  const job = { serverId, volumeId }
  await until('the guest writes', 60_000, async () => (await acknowledged(plane, job)) > 500)
  const act = (body: object): Promise<unknown> =>
    client.session.json('POST', `/compute/v2.1/servers/${serverId}/action`, { body })
  const consolePath = String((await client.ndo.placement(volumeId)).console_log_path)
  const processes = async (...kinds: Kind[]): Promise<number[]> =>
    (await processesOf(plane.stateDir)).filter(({ kind }) => kinds.includes(kind)).map(({ pid }) => pid)
  const images = ['lma', 'lmb'].map((name) => join(plane.stateDir, name, 'aggr1'))
  return {
    async pause() {
      await act({ pause: null })
      await isNow('PAUSED')
    },
    async resume() {
      await act({ unpause: null })
      await isNow('ACTIVE')
    },
    watch: () => watchWaits(consolePath, volumeId.slice(0, 20)),
    async copy(pace) {
      const begun = monotonicMs()
      const before = new Set(await imagesIn(images))
      const growth = watchGrowth(() => newImage(images, before), options.sizeBytes)
      try {
        const { id } = await client.ndo.migrate({
          volume: volumeId,
          host: await otherPool(plane, volumeId),
          ...(pace === undefined ? {} : { pace }),
        })
        const operation = await ended(plane, id, longestMs).catch(async (error: unknown) => {
          await client.ndo.cancel(id)
          await ended(plane, id)
          throw error
        })
        const over = monotonicMs()
        if (operation.state !== 'succeeded') {
          throw new Error(`the migration ${operation.state}: ${operation.error?.reason}`)
        }
        return {
          ...growth.range(),
          ...{ over, totalMs: over - begun, growth: growth.points },
          settled: () =>
            until('the source is removed', 30_000, async () => {
              return truthOf(plane.stateDir, volumeId).copies.length === 1
            }),
        }
      } finally {
        growth.stop()
      }
    },
    daemons: () => processes('holder', 'export', 'control plane', 'storage agent', 'copy'),
  }
}

/** The reference: the same guest, over one storage daemon that a plain script tells to mirror with QEMU's own settings. */
export async function startBareLoaded(
  folder: string,
  name: string,
  options: LoadOptions & { accelerator: MachineChoice['accelerator'] },
): Promise<LoadedGuest & { stop(): Promise<void> }> {
  const own = join(folder, name)
  mkdirSync(own)
  let [moves, path] = [0, join(own, 'image-0')]
  await createEmpty(path, options.sizeBytes)
  await fillDense(path, options.sizeBytes)
  const daemon = await startBareDaemon(own, 'd', path)
  const guestOptions = { folder, name, memoryMiB, probe: load(options), accelerator: options.accelerator }
  const spec = await specOf(guestOptions, daemon.socketPath, daemon.exportName)
  const paths = pathsIn(own, 1)
  const machine = { accelerator: options.accelerator, reconnectDelaySeconds: 30 }
  const process = spawn('qemu-system-x86_64', qemuArguments(spec, paths, machine), {
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  const qmp = await QmpClient.connect({ path: paths.qmp, worthTrying: () => process.exitCode === null })
  for (const end = performance.now() + 90_000; ; await sleep(100)) {
    if (/acked=\d{3}/.test(readFileSync(paths.console, 'latin1'))) break
    if (performance.now() > end) throw new Error('the bare guest does not write')
  }
  const serial = spec.disks[0]?.volumeId.slice(0, 20) ?? ''
  return {
    pause: async () => void (await qmp.execute('stop')),
    resume: async () => void (await qmp.execute('cont')),
    watch: () => watchWaits(paths.console, serial),
    async copy() {
      const source = path
      const standsOn = `n${moves}`
      moves += 1
      path = join(own, `image-${moves}`)
      const begun = monotonicMs()
      await createEmpty(path, options.sizeBytes)
      const growth = watchGrowth(async () => path, options.sizeBytes)
      try {
        const moved = await bareMove(daemon, { standsOn, target: `n${moves}`, path, plain: true })
        const over = moved.endedAt
        const totalMs = over - begun
        return { ...growth.range(), over, totalMs, growth: growth.points, settled: () => rm(source) }
      } finally {
        growth.stop()
      }
    },
    daemons: async () => [daemon.pid],
    async stop() {
      const gone = once(process, 'exit')
      process.kill('SIGKILL')
      await gone
      qmp.close()
      await daemon.stop()
    },
  }
}

async function otherPool(plane: Plane, volumeId: string): Promise<string> {
  const volume = await plane.client.volume.show(volumeId)
  const isAtLma = volume['os-vol-host-attr:host']?.includes('@cinder-lma#') ?? false
  return poolOf(plane, isAtLma ? 'cinder-lmb' : 'cinder-lma')
}

/** All files in these folders, and in theirs. */
async function imagesIn(folders: readonly string[]): Promise<string[]> {
  const lists = await Promise.all(
    folders.map(async (folder) =>
      (await readdir(folder, { recursive: true })).map((name) => join(folder, name)),
    ),
  )
  return lists.flat()
}

const newImage = async (
  folders: readonly string[],
  before: ReadonlySet<string>,
): Promise<string | undefined> =>
  (await imagesIn(folders)).find((path) => !before.has(path) && /[0-9a-f]{12}$/.test(path))

import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { qemuArguments, type MachineChoice } from '@volant/agent/compute/command-line.ts'
import { hardwareOf } from '@volant/agent/compute/hardware.ts'
import type { GuestPaths } from '@volant/agent/compute/names.ts'
import type { GuestSpec } from '@volant/contract'
import { defaultLiveMigrationPolicy } from '@volant/control/domain/live-migration.ts'
import { beginMigration, listenForMigration, queryMigration } from '@volant/qemu'
import { QmpClient } from '@volant/qemu/qmp.ts'
import { clientDistinguishedName, type TlsAuthority } from '@volant/qemu/tls/authority.ts'
import { ensureProbeGuest } from '../../probe/build.ts'

/**
 * The reference: what a plain script gets from QEMU. A guest over one storage daemon, and another QEMU of the same flags
 * that it is sent to, with the same settings as Volant's: TLS, a stop before the switchover, and a fence there, which is
 * one `block-export-del`. Nothing of Volant but its QMP connection, and the words in which it asks for the same.
 */
export interface BareGuest {
  /** To a new QEMU; returns when the guest runs there and the old one has ended. */
  migrate(): Promise<BareMigration>
  stop(): Promise<void>
}

export interface BareMigration {
  /** From the start of the destination's QEMU to the end of the source's. Milliseconds. */
  totalMs: number
  /** For how long the guest stood still, by the events STOP and RESUME of both QEMUs. */
  pauseMs: number
  /** From the fence's start to its proof, the event BLOCK_EXPORT_DELETED. */
  fenceMs: number
}

export interface BareGuestOptions {
  folder: string
  name: string
  memoryMiB: number
  /** Of the probe in the guest: further words of its kernel's command line. */
  probe: string
  authority: TlsAuthority
  accelerator: MachineChoice['accelerator']
}

const cacheDir = join(import.meta.dirname, '../../.cache')
const volumeId = '00000000-0000-4000-8000-000000000001'
const withinMs = 60_000

interface Running {
  process: ChildProcess
  qmp: QmpClient
  exportName: string
}

export async function startBareGuest(options: BareGuestOptions): Promise<BareGuest> {
  const folder = join(options.folder, options.name)
  mkdirSync(folder)
  const image = join(folder, 'image')
  writeFileSync(image, '')
  truncateSync(image, 1 << 30)
  const socketPath = join(folder, 'n')
  const storage = await startStorage(folder, socketPath, image)
  let count = 0
  const start = async (incoming?: MachineChoice['incoming']): Promise<Running> => {
    const exportName = `e${++count}`
    await storage.qmp.execute('block-export-add', {
      type: 'nbd',
      id: exportName,
      'node-name': 'n0',
      name: exportName,
      writable: true,
    })
    const spec = await specOf(options, socketPath, exportName)
    const paths = pathsIn(folder, count)
    const machine = { accelerator: options.accelerator, reconnectDelaySeconds: 30 }
    const more = incoming === undefined ? {} : { incoming }
    const process = spawn('qemu-system-x86_64', qemuArguments(spec, paths, { ...machine, ...more }), {
      stdio: ['ignore', 'ignore', 'inherit'],
    })
    const qmp = await QmpClient.connect({
      path: paths.qmp,
      timeoutMs: withinMs,
      worthTrying: () => process.exitCode === null,
    })
    return { process, qmp, exportName }
  }
  let running = await start()
  // Asked to quit, one whose disk was taken away would wait for it.
  const end = async ({ process, qmp }: Running): Promise<void> => {
    const gone = once(process, 'exit')
    process.kill('SIGKILL')
    await gone
    qmp.close()
  }
  await writes(pathsIn(folder, 1).console)
  return {
    async migrate() {
      const began = performance.now()
      const hardware = await hardwareOf(running.qmp, options.accelerator)
      const target = await start(hardware)
      const moved = await sent(running, target, storage.qmp, options.authority)
      await end(running)
      running = target
      return { totalMs: performance.now() - began, ...moved }
    },
    async stop() {
      await end(running)
      await end(storage)
    },
  }
}

async function startStorage(folder: string, socketPath: string, image: string): Promise<Running> {
  const json = JSON.stringify
  const qmpPath = join(folder, 's')
  const file = { driver: 'file', filename: image, aio: 'io_uring', cache: { direct: true }, discard: 'unmap' }
  const process = spawn(
    'qemu-storage-daemon',
    [
      '--chardev',
      `socket,id=c,path=${qmpPath},server=on,wait=off`,
      '--monitor',
      'chardev=c',
      '--blockdev',
      json({ driver: 'raw', 'node-name': 'n0', discard: 'unmap', cache: { direct: true }, file }),
      '--nbd-server',
      json({ addr: { type: 'unix', path: socketPath } }),
    ],
    { stdio: ['ignore', 'ignore', 'inherit'] },
  )
  const qmp = await QmpClient.connect({ path: qmpPath, worthTrying: () => process.exitCode === null })
  return { process, qmp, exportName: '' }
}

export async function specOf(
  { name, memoryMiB, probe }: Omit<BareGuestOptions, 'authority'>,
  socketPath: string,
  exportName: string,
): Promise<GuestSpec> {
  const { kernelPath, initrdPath, commandLine } = await ensureProbeGuest(cacheDir)
  return {
    serverId: name,
    name,
    vcpus: 1,
    memoryMiB,
    kernel: { path: kernelPath, initrdPath, commandLine: `${commandLine} ${probe}` },
    disks: [{ attachmentId: name, volumeId, socketPath, exportName, boot: true }],
    nics: [],
  }
}

export const pathsIn = (folder: string, count: number): GuestPaths => ({
  folder,
  record: join(folder, 'r'),
  switching: join(folder, 'switching'),
  console: join(folder, `console-${count}`),
  qemuLog: join(folder, 'log'),
  rootDisk: join(folder, 'root'),
  qmp: join(folder, `q${count}`),
})

async function writes(console: string): Promise<void> {
  for (const end = performance.now() + 120_000; ; await sleep(100)) {
    if (/acked=\d{3}/.test(readFileSync(console, 'latin1'))) return
    if (performance.now() > end) throw new Error(`the bare guest does not write: ${console}`)
  }
}

async function sent(
  source: Running,
  target: Running,
  storage: QmpClient,
  authority: TlsAuthority,
): Promise<Omit<BareMigration, 'totalMs'>> {
  const host = '127.0.0.1'
  const { channels, firstDowntimeMs, bandwidth, autoConverge } = defaultLiveMigrationPolicy
  const port = await listenForMigration(target.qmp, {
    host,
    channels,
    tlsFolder: await authority.serverFolder('bare', host),
    clientName: clientDistinguishedName('bare'),
  })
  const isAt = (status: string) => (event: { data: Record<string, unknown> }) =>
    event.data['status'] === status
  const any = (): boolean => true
  const stopped = source.qmp.waitFor('STOP', any, withinMs)
  const ready = source.qmp.waitFor('MIGRATION', isAt('pre-switchover'), withinMs)
  const over = source.qmp.waitFor('MIGRATION', isAt('completed'), withinMs)
  const arrived = target.qmp.waitFor('MIGRATION', isAt('completed'), withinMs)
  await beginMigration(source.qmp, {
    ...{ host, port, channels, autoConverge, bandwidth, downtimeMs: firstDowntimeMs },
    tlsFolder: await authority.clientFolder('bare'),
    tlsHostname: 'bare',
  })
  await ready
  const fenced = storage.waitFor('BLOCK_EXPORT_DELETED', any, withinMs)
  const fencing = performance.now()
  await storage.execute('block-export-del', { id: source.exportName, mode: 'hard' })
  await fenced
  const fenceMs = performance.now() - fencing
  await source.qmp.execute('migrate-continue', { state: 'pre-switchover' })
  await over
  await arrived
  if ((await queryMigration(target.qmp)).status !== 'completed')
    throw new Error('the bare guest did not arrive')
  const resumed = target.qmp.waitFor('RESUME', any, withinMs)
  await target.qmp.execute('cont')
  return { pauseMs: (await resumed).timestampMs - (await stopped).timestampMs, fenceMs }
}

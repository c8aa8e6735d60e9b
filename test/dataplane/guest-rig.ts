import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { TestContext } from 'node:test'
import { createComputeAgent } from '@volant/agent/compute/agent.ts'
import type { ComputeAgentOptions, LocalComputeAgent } from '@volant/agent/compute/agent.ts'
import type { GuestDisk, GuestSpec } from '@volant/contract'
import { QmpClient } from '@volant/qemu'
import { ensureProbeGuest } from '../../probe/build.ts'
import { parseConsole } from '../../probe/console.ts'
import type { ProbeLine } from '../../probe/console.ts'
import { nextLook } from '../look.ts'

export const caller = { fence: 1 }
const cacheDir = join(import.meta.dirname, '../../.cache')

/** A plain storage daemon with one image, in place of a head. */
export interface PlainDaemon {
  imagePath: string
  disk: GuestDisk
  start(): Promise<void>
  /** SIGKILL. */
  kill(): Promise<void>
  /** It stands still for so many milliseconds, and goes on. */
  stallFor(ms: number): Promise<void>
  /** Withdraws the export, grows the image, offers it again. */
  grow(sizeBytes: number): Promise<void>
}

const createDaemon = (
  folder: string,
  attachmentId: string,
  volumeId: string,
  sizeBytes: number,
): PlainDaemon => {
  const imagePath = join(folder, `${attachmentId}.img`)
  const socketPath = join(folder, `${attachmentId}.nbd`)
  const qmpPath = join(folder, `${attachmentId}.qmp`)
  writeFileSync(imagePath, '')
  truncateSync(imagePath, sizeBytes)
  let child: ChildProcess | undefined
  const nbdExport = { type: 'nbd', id: 'e', 'node-name': 'r', name: attachmentId, writable: true }
  return {
    imagePath,
    disk: { attachmentId, volumeId, socketPath, exportName: attachmentId, boot: false },
    async start() {
      rmSync(socketPath, { force: true })
      child = spawn('qemu-storage-daemon', [
        `--chardev=socket,id=q,path=${qmpPath},server=on,wait=off`,
        '--monitor=chardev=q',
        `--blockdev=driver=file,node-name=f,filename=${imagePath},cache.direct=on,aio=threads`,
        '--blockdev=driver=raw,node-name=r,file=f,discard=unmap',
        `--nbd-server=addr.type=unix,addr.path=${socketPath}`,
        `--export=${JSON.stringify(nbdExport)}`,
      ])
      await until('the storage daemon listens', () => existsSync(socketPath))
    },
    async kill() {
      if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
      const gone = once(child, 'exit')
      child.kill('SIGKILL')
      await gone
    },
    async stallFor(ms) {
      child?.kill('SIGSTOP')
      await sleep(ms)
      child?.kill('SIGCONT')
    },
    async grow(newSize) {
      const qmp = await QmpClient.connect({ path: qmpPath })
      const deleted = qmp.waitFor('BLOCK_EXPORT_DELETED', () => true, 30_000)
      await qmp.execute('block-export-del', { id: 'e', mode: 'hard' })
      await deleted
      await qmp.execute('block_resize', { 'node-name': 'r', size: newSize })
      await qmp.execute('block-export-add', nbdExport)
      qmp.close()
    },
  }
}

export async function until(
  what: string,
  condition: () => boolean | Promise<boolean>,
  timeoutMs = 60_000,
): Promise<void> {
  const began = performance.now()
  for (const end = began + timeoutMs; ; await nextLook(began)) {
    const late = performance.now() > end
    if (await condition()) return
    if (late) throw new Error(`waited ${timeoutMs} ms in vain: ${what}`)
  }
}

export interface GuestRig {
  folder: string
  agent(): LocalComputeAgent
  /** As when Volant is stopped and started: a new agent on the same folders, as `between` leaves them. */
  restartAgent(between?: () => void): Promise<LocalComputeAgent>
  daemon(attachmentId: string, volumeId: string, sizeBytes: number): PlainDaemon
  spec(serverId: string, more?: Partial<GuestSpec>, probe?: string): Promise<GuestSpec>
  /** The whole console log. */
  console(serverId: string): string
  lines(serverId: string, serial?: string): ProbeLine[]
}

/** A compute agent and storage daemons in a folder of their own, which all end with the test. */
export function openGuestRig(t: TestContext, options: Partial<ComputeAgentOptions> = {}): GuestRig {
  const folder = mkdtempSync(join(tmpdir(), 'vg-'))
  const daemons: PlainDaemon[] = []
  const open = (): LocalComputeAgent =>
    createComputeAgent({
      host: 'h1',
      stateDir: join(folder, 'state'),
      runDir: join(folder, 'run'),
      log: {
        info: (fields, message) => t.diagnostic(`${message} ${JSON.stringify(fields)}`),
        warn: (fields, message) => t.diagnostic(`warning: ${message} ${JSON.stringify(fields)}`),
      },
      ...options,
    })
  let agent = open()
  t.after(async () => {
    if (!t.passed) await tellState(t, agent, console)
    for (const { serverId } of await agent.listGuests()) await agent.ensureNoGuest(caller, serverId)
    await agent.close()
    for (const daemon of daemons) await daemon.kill()
    rmSync(folder, { recursive: true, force: true })
  })
  const console = (serverId: string): string => {
    const path = join(folder, 'state/guests', serverId, 'console.log')
    return existsSync(path) ? readFileSync(path, 'utf8') : ''
  }
  return {
    folder,
    agent: () => agent,
    async restartAgent(between) {
      await agent.close()
      between?.()
      agent = open()
      return agent
    },
    daemon(attachmentId, volumeId, sizeBytes) {
      const daemon = createDaemon(folder, attachmentId, volumeId, sizeBytes)
      daemons.push(daemon)
      return daemon
    },
    async spec(serverId, more = {}, probe = '') {
      const { kernelPath, initrdPath, commandLine } = await ensureProbeGuest(cacheDir)
      const kernel = { path: kernelPath, initrdPath, commandLine: `${commandLine} ${probe}`.trim() }
      return { serverId, name: serverId, vcpus: 1, memoryMiB: 128, kernel, disks: [], nics: [], ...more }
    },
    console,
    lines: (serverId, serial) => parseConsole(console(serverId), serial),
  }
}

/** Of a test that failed: what its guests do, and what they said last. */
async function tellState(
  t: TestContext,
  agent: LocalComputeAgent,
  console: (serverId: string) => string,
): Promise<void> {
  for (const guest of await agent.listGuests()) {
    t.diagnostic(JSON.stringify(guest))
    t.diagnostic(console(guest.serverId).slice(-2000))
  }
}

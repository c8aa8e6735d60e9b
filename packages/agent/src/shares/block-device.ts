import { readFileSync, renameSync, writeFileSync } from 'node:fs'
import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { DomainError, messageOf } from '@volant/contract'
import type { DeviceLatency } from '@volant/contract'
import { ensureFuseNbd } from '@volant/qemu/launcher.ts'
import { ensureGone, findByCommandWord, isAlive, startDetached, tailOf } from '@volant/qemu/process.ts'
import type { ProcessIdentity } from '@volant/qemu/process.ts'
import { mountAt, run } from '../storage/loop-mount.ts'
import { readDeviceLatency } from './device-latency.ts'
import { leaveOtherNamespaces } from './namespaces.ts'

/** Where a head serves its volume on this machine. */
export interface HeadAddress {
  socketPath: string
  exportName: string
}

export interface BlockDeviceSpec {
  head: HeadAddress
  sizeBytes: number
  /** What the export's description is, at each connection. */
  identity: string
}

interface Pair {
  supervisor?: ProcessIdentity
  worker?: ProcessIdentity
}

const startMs = 15_000
const endMs = 5000

/**
 * The block device below a share's file system: a file whose bytes a volume head serves (`native/fuse-nbd.c`). Its two
 * processes, a supervisor and a worker, outlive this one and replace each other; what is here finds them, starts them
 * where neither is left, and ends them. All of it is in one folder.
 */
export class BlockDevice {
  readonly #folder: string
  #pair: Pair = {}

  /** `folder` is absolute, without links, and there. */
  constructor(folder: string) {
    this.#folder = folder
  }

  /** The file; a loop device over it is the disk. */
  get file(): string {
    return join(this.#folder, 'device')
  }

  get logPath(): string {
    return join(this.#folder, 'device.log')
  }

  get #head(): string {
    return join(this.#folder, 'head')
  }

  get #pids(): string {
    return join(this.#folder, 'pids')
  }

  /** The one word of their command lines that no other process has. */
  get #word(): string {
    return `mount=${this.file}`
  }

  /** Those of its processes that run. Cheap while one of those known does. */
  processes(): ProcessIdentity[] {
    const known = running(this.#pair)
    if (known.length === 2) return known
    this.#pair = readPair(this.#pids)
    const found = running(this.#pair)
    // A supervisor that was started just now may not have written itself down yet.
    return found.length > 0 ? found : findByCommandWord(this.#word)
  }

  /** The process through which all of the file's I/O goes; undefined where it does not run now. */
  get worker(): ProcessIdentity | undefined {
    this.processes()
    const { worker } = this.#pair
    return isAlive(worker) ? worker : undefined
  }

  /** Where both died at once its file is there, and every request on it fails. */
  get isAlive(): boolean {
    return this.processes().length > 0
  }

  /** What is wrong with it now, as it says itself: no connection, no space. Undefined: nothing. */
  get trouble(): string | undefined {
    return read(`${this.#pids}.trouble`).trim() || undefined
  }

  /** How long its requests took, since its worker began. Throws `unavailable` where none runs now. */
  latency(): DeviceLatency {
    const { worker } = this
    if (worker) return readDeviceLatency(worker)
    throw new DomainError('unavailable', `The block device ${this.file} does not run.`)
  }

  /** From the next connection on. One that is there stays. */
  point({ socketPath, exportName }: HeadAddress): void {
    const text = `${socketPath}\n${exportName}\n`
    if (read(this.#head) === text) return
    // For the life of this machine only: after its restart the head is told anew.
    writeFileSync(`${this.#head}.new`, text, { mode: 0o600 })
    renameSync(`${this.#head}.new`, this.#head)
  }

  /**
   * Finds or starts it; returns when its file is there. Whether the head answers is not its business: requests wait.
   * Throws `unavailable` where it does not start, `conflict` where something is left of a dead one above it.
   */
  async ensure({ head, sizeBytes, identity }: BlockDeviceSpec): Promise<void> {
    this.point(head)
    const words = [this.#word, `head=${this.#head}`, `size=${sizeBytes}`, `pids=${this.#pids}`]
    words.push(`identity=${identity}`)
    if (this.isAlive) return this.#ensureSupervisor(words)
    await this.#unmount()
    await rm(this.#pids, { force: true })
    await writeFile(this.file, '', { mode: 0o600 })
    const command = await ensureFuseNbd()
    const supervisor = startDetached({ command, args: ['serve', ...words], logPath: this.logPath })
    const isThere = async (): Promise<boolean> =>
      this.#readPids().supervisor?.pid === supervisor.pid && (await mountAt(this.file)) !== undefined
    await this.#started(supervisor, isThere)
  }

  /** A worker that is alone starts a supervisor itself; where it could not, this is the way. */
  async #ensureSupervisor(words: string[]): Promise<void> {
    const isWhole = async (): Promise<boolean> => isAlive(this.#readPids().supervisor)
    for (let n = 0; n < 20 && !(await isWhole()); n++) await sleep(50)
    const { worker } = this.#pair
    if ((await isWhole()) || !isAlive(worker)) return
    const args = ['adopt', `worker=${worker.pid}`, `start=${worker.startTime}`, ...words]
    const supervisor = startDetached({ command: await ensureFuseNbd(), args, logPath: this.logPath })
    await this.#started(supervisor, isWhole)
  }

  async #started(supervisor: ProcessIdentity, isThere: () => Promise<boolean>): Promise<void> {
    for (const end = performance.now() + startMs; !(await isThere()); await sleep(5)) {
      if (isAlive(supervisor) && performance.now() < end) continue
      if (await isThere()) return
      const reason = tailOf(this.logPath).split('\n').at(-1) || 'it gave no reason.'
      throw new DomainError('unavailable', `The block device ${this.file} does not start: ${reason}`)
    }
  }

  /**
   * Ends it, whatever its state; with requests under way they fail. Returns when none of its processes runs, and
   * throws `conflict` where its file is still in use.
   */
  async end(): Promise<void> {
    await this.#unmount()
    for (const end = performance.now() + endMs; this.isAlive && performance.now() < end;) await sleep(10)
    await this.#kill()
    const beside = ['lock', 'new', 'trouble'].map((end) => `${this.#pids}.${end}`)
    for (const path of [this.file, this.#head, this.#pids, ...beside, this.logPath])
      await rm(path, { force: true })
    this.#pair = {}
  }

  /** Every request on it fails from now on: for what would wait for a head that does not come back. */
  async abort(): Promise<void> {
    if (this.isAlive)
      await run('umount', '--internal-only', '--no-canonicalize', '--force', this.file).catch(() => {})
    await this.#kill()
  }

  /** Each would start the other again. */
  async #kill(): Promise<void> {
    for (const end = performance.now() + endMs; ; await sleep(1)) {
      const left = findByCommandWord(this.#word)
      if (left.length === 0) return
      for (const { pid } of left) signal(pid)
      if (performance.now() > end) for (const one of left) await ensureGone(one)
    }
  }

  async #unmount(): Promise<void> {
    const { file } = this
    const mount = await mountAt(file)
    if (mount) await leaveOtherNamespaces(mount.device)
    for (const end = performance.now() + endMs; (await mountAt(file)) !== undefined; await sleep(20)) {
      try {
        await run('umount', '--internal-only', '--no-canonicalize', file)
      } catch (error) {
        if (performance.now() < end) continue
        throw new DomainError('conflict', `The block device ${file} is in use: ${messageOf(error)}`)
      }
    }
  }

  #readPids(): Pair {
    this.#pair = readPair(this.#pids)
    return this.#pair
  }
}

function signal(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return ''
    throw error
  }
}

const running = ({ supervisor, worker }: Pair): ProcessIdentity[] =>
  [supervisor, worker].filter((one) => isAlive(one))

/** As the supervisor writes it: lines "supervisor PID START", "worker PID START", "boot ID". */
function readPair(path: string): Pair {
  const lines = read(path).split('\n')
  const found = new Map(lines.map((line) => [line.split(' ')[0] ?? '', line.split(' ').slice(1)]))
  const bootId = found.get('boot')?.[0] ?? ''
  const identity = (name: string): ProcessIdentity | undefined => {
    const [pid, startTime = ''] = found.get(name) ?? []
    return pid === undefined ? undefined : { pid: Number(pid), startTime, bootId }
  }
  const [supervisor, worker] = [identity('supervisor'), identity('worker')]
  return { ...(supervisor ? { supervisor } : {}), ...(worker ? { worker } : {}) }
}

/** What this machine lacks for it, each with its remedy; empty: nothing. Throws `unavailable` where it can't be compiled. */
export async function missingForBlockDevice(): Promise<string[]> {
  const said = await run(await ensureFuseNbd(), 'check')
  return said.split('\n').filter((line) => line !== '')
}

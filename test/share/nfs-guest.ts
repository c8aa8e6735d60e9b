/** A guest with a real kernel NFS client, as a plain QEMU of a test's own; probe/README.md says what it can do. */
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { acceleratorArguments } from '@volant/agent/compute/command-line.ts'
import { findAccelerator } from '@volant/agent/compute/accelerator.ts'
import { ensureNfsGuest, ensureProbeGuest } from '../../probe/build.ts'
import { nextLook } from '../look.ts'
import { pathOfNetns, type ShareNetwork } from './network.ts'

const cacheDir = join(import.meta.dirname, '../../.cache')

/** What a command came to, as the guest said it. */
export interface Answer extends Record<string, unknown> {
  ok: boolean
  /** Where it failed: what it was at, and the error's name, such as EACCES. */
  op?: string
  error?: string
}

/** A record of which the guest was told that it is safe; `at` is this machine's time when that was heard. */
export interface Ack {
  seq: number
  place: number
  ms: number
  at: number
}

/** The last second's line of one work. */
export interface WorkLine {
  kind: string
  rounds: number
  errors: number
  bad: number
  maxms: number
  inflightms: number
  t: number
}

/** An error that a work saw, or something that was not as it must be. */
export interface Finding {
  work: string
  text: string
}

export type WorkKind = 'writer' | 'lock' | 'unlinked' | 'walk' | 'mapped'

export interface NfsGuest {
  name: string
  /** Without the network's size. */
  address: string
  acks: Map<string, Ack[]>
  works: Map<string, WorkLine>
  findings: Finding[]
  /** Longest rounds of each work, by the second in which they were heard. */
  rounds: { work: string; ms: number; at: number }[]
  ask(verb: string, args?: Record<string, string | number>, timeoutMs?: number): Promise<Answer>
  /** As `ask`; fails where the guest could not do it. */
  must(verb: string, args?: Record<string, string | number>, timeoutMs?: number): Promise<Answer>
  /** Starts a work and waits until it has begun. */
  start(
    work: string,
    kind: WorkKind,
    folder: string,
    options?: { rate?: number; count?: number },
  ): Promise<void>
  /** Waits until the work has done so many rounds more. */
  goesOn(work: string, rounds: number, timeoutMs?: number): Promise<void>
  /** What the kernel said, and the guest's own first words. */
  console(): string
  /** SIGKILL: a client that vanishes. */
  kill(): Promise<void>
}

export interface NfsGuestOptions {
  network: ShareNetwork
  /** Console, log and socket go there. */
  folder: string
  name: string
  memoryMiB?: number
}

const bootPatienceMs = 120_000

export async function openNfsGuest(options: NfsGuestOptions): Promise<NfsGuest> {
  const { network, folder, name } = options
  const tap = network.addTap()
  const { kernelPath, initrdPath, commandLine } = await ensureNfsGuest(cacheDir)
  const paths = {
    console: join(folder, `${name}.console`),
    socket: join(folder, `${name}.sock`),
    log: join(folder, `${name}.log`),
  }
  const child = spawn(
    'setpriv',
    [
      // It ends with the test, whatever ends that.
      ['--pdeathsig', 'KILL', 'nsenter', `--net=${pathOfNetns(network.hub)}`, 'qemu-system-x86_64'],
      ['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot', '-machine', 'pc'],
      await accelerator(folder),
      ['-smp', '1', '-m', String(options.memoryMiB ?? 192)],
      ['-kernel', kernelPath, '-initrd', initrdPath],
      ['-append', `${commandLine} guest.name=${name} guest.address=${tap.address}`],
      ['-serial', `file:${paths.console}`],
      ['-netdev', `tap,id=net0,ifname=${tap.name},script=no,downscript=no`],
      ['-device', `virtio-net-pci,netdev=net0,mac=52:54:00:${hexPairs(randomBytes(3))}`],
      ['-device', 'virtio-serial-pci'],
      ['-chardev', `socket,id=port0,path=${paths.socket},server=on,wait=off,logfile=${paths.log}`],
      ['-device', 'virtserialport,chardev=port0,name=volant.nfs'],
    ].flat(),
    { stdio: ['ignore', 'ignore', 'pipe'] },
  )
  let said = ''
  child.stderr.on('data', (data: Buffer) => (said += data.toString()))
  const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  const kill = async (): Promise<void> => {
    child.kill('SIGKILL')
    await gone
  }
  const consoleText = (): string => (existsSync(paths.console) ? readFileSync(paths.console, 'utf8') : '')
  try {
    await waitFor('the QEMU of the guest listens', 30_000, () => {
      if (child.exitCode !== null) throw new Error(`QEMU ended: ${said}`)
      return existsSync(paths.socket)
    })
    const socket = connect(paths.socket)
    const guest = speakWith(name, tap.address.split('/')[0] as string, socket, { console: consoleText, kill })
    await guest.must('ping', {}, bootPatienceMs)
    return guest
  } catch (error) {
    await kill()
    throw new Error(`the guest ${name} does not come up: ${said}${consoleText().slice(-1500)}`, {
      cause: error,
    })
  }
}

let verdict: Promise<string[]> | undefined

/** Found out once for each process: /dev/kvm may be there and its guests still hang. */
const accelerator = (folder: string): Promise<string[]> => (verdict ??= tryAccelerator(folder))

async function tryAccelerator(folder: string): Promise<string[]> {
  const { kernelPath, initrdPath, commandLine } = await ensureProbeGuest(cacheDir)
  const kernel = { path: kernelPath, initrdPath, commandLine }
  const found = await findAccelerator(join(folder, 'accelerator.json'), 'of a test', kernel)
  return acceleratorArguments(found.accelerator)
}

const hexPairs = (bytes: Buffer): string => [...bytes].map((b) => b.toString(16).padStart(2, '0')).join(':')

async function waitFor(what: string, timeoutMs: number, check: () => boolean): Promise<void> {
  const began = performance.now()
  for (const end = began + timeoutMs; ; await nextLook(began)) {
    const late = performance.now() >= end
    if (check()) return
    if (late) throw new Error(`not in ${timeoutMs} ms: ${what}`)
  }
}

function speakWith(
  name: string,
  address: string,
  socket: Socket,
  process: { console(): string; kill(): Promise<void> },
): NfsGuest {
  const waiting = new Map<number, (answer: Answer) => void>()
  const begun = new Map<string, boolean>()
  let lastId = 0
  const guest: NfsGuest = {
    name,
    address,
    acks: new Map(),
    works: new Map(),
    findings: [],
    rounds: [],
    console: process.console,
    async ask(verb, args = {}, timeoutMs = 60_000) {
      const id = ++lastId
      const words = Object.entries(args).map(([key, value]) => `${key}=${value}`)
      const answered = new Promise<Answer>((resolve) => waiting.set(id, resolve))
      socket.write(`${[id, verb, ...words].join(' ')}\n`)
      const end = new AbortController()
      const late = sleep(timeoutMs, undefined, { signal: end.signal }).then(
        () => {
          throw new Error(`guest ${name} does not answer in ${timeoutMs} ms: ${verb} ${words.join(' ')}`)
        },
        () => undefined as never,
      )
      try {
        return await Promise.race([answered, late])
      } finally {
        end.abort()
        waiting.delete(id)
      }
    },
    async must(verb, args, timeoutMs) {
      const answer = await guest.ask(verb, args, timeoutMs)
      if (!answer.ok) {
        throw new Error(`guest ${name}: ${verb} ${JSON.stringify(args)}: ${answer.op} gave ${answer.error}`)
      }
      return answer
    },
    async start(work, kind, folder, { rate = 0, count = 0 } = {}) {
      begun.delete(work)
      await guest.must('start', { work, kind, folder, rate, count })
      await waitFor(`${work} begins`, 60_000, () => begun.has(work))
      if (begun.get(work) !== true)
        throw new Error(`guest ${name}: ${work} cannot begin: ${findingsText(guest)}`)
    },
    async goesOn(work, rounds, timeoutMs = 60_000) {
      const before = guest.works.get(work)?.rounds ?? 0
      const does = (): boolean => (guest.works.get(work)?.rounds ?? 0) >= before + rounds
      await waitFor(`${name}: ${work} does ${rounds} rounds after ${before}`, timeoutMs, does).catch(
        (error: unknown) => {
          throw new Error(`${String(error)}\n${findingsText(guest).slice(-2000)}`)
        },
      )
    },
    async kill() {
      socket.destroy()
      await process.kill()
    },
  }
  socket.on('error', () => undefined) // what is asked then is not answered
  createInterface({ input: socket }).on('line', (line) => {
    const message = JSON.parse(line) as Record<string, unknown>
    const answer = waiting.get(Number(message['id']))
    if (answer !== undefined) answer(message as Answer)
    if (message['event'] === 'begun') begun.set(String(message['work']), message['ok'] === true)
    hear(guest, message)
  })
  return guest
}

/** Takes note of what the guest says of itself. */
function hear(guest: NfsGuest, message: Record<string, unknown>): void {
  const work = String(message['work'])
  const at = Date.now()
  if (message['event'] === 'ack') {
    const { seq, place, ms } = message as unknown as Ack
    const acks = guest.acks.get(work) ?? []
    guest.acks.set(work, acks)
    acks.push({ seq, place, ms, at })
  } else if (message['event'] === 'work') {
    const line = message as unknown as WorkLine
    guest.works.set(work, line)
    guest.rounds.push({ work, ms: Math.max(line.maxms, line.inflightms), at })
  } else if (message['event'] === 'error' || message['event'] === 'wrong') {
    guest.findings.push({ work, text: JSON.stringify(message) })
  }
}

export const findingsText = (guest: NfsGuest): string =>
  guest.findings.map(({ work, text }) => `${work}: ${text}`).join('\n')

/** What was acknowledged, and what must therefore be found in each place. */
export function expected(acks: readonly Ack[]): Map<number, number> {
  const places = new Map<number, number>()
  for (const { place, seq } of acks) places.set(place, seq)
  return places
}

/** How what is found differs from what was acknowledged; one newer record, which was under way, is right. */
export function lostRecords(acks: readonly Ack[], seqs: readonly number[]): string[] {
  const last = acks.at(-1)?.seq ?? 0
  const lost: string[] = []
  for (const [place, seq] of expected(acks)) {
    const found = seqs[place]
    if (found === seq || found === last + 1) continue
    lost.push(`place ${place} must hold record ${seq} and holds ${found ?? 'nothing'}`)
  }
  return lost
}

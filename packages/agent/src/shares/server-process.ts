import { existsSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { connect, isIP } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { DomainError } from '@volant/contract'
import { ensureLauncher } from '@volant/qemu/launcher.ts'
import {
  ensureGone,
  findByCommandWord,
  identityOf,
  isAlive,
  startDetached,
  tailOf,
} from '@volant/qemu/process.ts'
import type { ProcessIdentity } from '@volant/qemu/process.ts'
import type { NfsProtocol } from './exports.ts'

/** Starts and ends the two processes of an NFS server: NFS-Ganesha, and the message bus that nobody else is on. */

/** Where an NFS server keeps things: all but the socket in a folder of its own. */
export interface ServerPlaces {
  folder: string
  /** Unix socket; a path of at most 107 bytes. */
  busPath: string
  netns?: string
}

export const configPath = ({ folder }: ServerPlaces): string => join(folder, 'ganesha.conf')
const busConfigPath = ({ folder }: ServerPlaces): string => join(folder, 'bus.conf')
export const logPath = ({ folder }: ServerPlaces): string => join(folder, 'ganesha.log')
const outputPath = ({ folder }: ServerPlaces): string => join(folder, 'output.log')
export const recoveryRoot = ({ folder }: ServerPlaces): string => join(folder, 'recovery')

const startMs = 20_000

/** Nothing of the service's environment: it may hold what is nobody's business. */
const plainEnvironment = {
  PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
  LC_ALL: 'C',
}

const busText = ({ busPath }: ServerPlaces): string => `<!DOCTYPE busconfig PUBLIC
 "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path=${busPath}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <deny user="*"/>
    <allow user="${process.getuid?.() ?? 0}"/>
    <allow own="*"/>
    <allow send_destination="*" eavesdrop="false"/>
    <allow receive_sender="*"/>
  </policy>
</busconfig>
`

const logBoundBytes = 4 * 2 ** 20

/** Puts a log that has grown aside, in the place of the one before. The server opens it anew for each line. */
export function boundLog(places: ServerPlaces): void {
  const path = logPath(places)
  if ((statSync(path, { throwIfNoEntry: false })?.size ?? 0) > logBoundBytes) renameSync(path, `${path}.1`)
}

/** Starts a bus where none is left. Returns when it listens. */
export async function startBus(places: ServerPlaces): Promise<ProcessIdentity> {
  const { busPath } = places
  await endBus(places)
  writeFileSync(busConfigPath(places), busText(places), { mode: 0o600 })
  const args = [`--config-file=${busConfigPath(places)}`, '--nofork', '--nopidfile', '--nosyslog']
  const identity = startDetached({
    command: 'dbus-daemon',
    args,
    logPath: outputPath(places),
    env: plainEnvironment,
  })
  for (const end = performance.now() + startMs; !(await listens(busPath)); await sleep(5)) {
    if (isAlive(identity) && performance.now() < end) continue
    await ensureGone(identity)
    throw new DomainError('unavailable', `The NFS server's message bus did not start: ${lastLineOf(places)}`)
  }
  return identity
}

export async function endBus(places: ServerPlaces): Promise<void> {
  for (const stray of findByCommandWord(`--config-file=${busConfigPath(places)}`)) await ensureGone(stray)
  rmSync(places.busPath, { force: true })
}

const listens = (path: string): Promise<boolean> =>
  new Promise((resolve) => {
    if (!existsSync(path)) return resolve(false)
    const socket = connect({ path })
    socket.once('connect', () => (socket.destroy(), resolve(true)))
    socket.once('error', () => resolve(false))
  })

/** Starts it where none is left. Returns its identity at once: `untilListening` waits. */
export async function startGanesha(places: ServerPlaces): Promise<ProcessIdentity> {
  const { busPath, netns } = places
  const launcher = await ensureLauncher()
  await endGanesha(places, undefined)
  const args = [
    'run',
    ...(netns === undefined ? [] : ['--netns', netns]),
    '--',
    'ganesha.nfsd',
    ...['-F', '-f', configPath(places), '-L', logPath(places), '-p', join(places.folder, 'ganesha.pid')],
  ]
  return startDetached({
    command: launcher,
    args,
    logPath: outputPath(places),
    env: {
      ...plainEnvironment,
      DBUS_SYSTEM_BUS_ADDRESS: `unix:path=${busPath}`,
      // File handles carry the file system's UUID, which libblkid otherwise remembers by the name of the device for 200 s:
      // that of another share, which had the loop device before. Handles would change at the next restart.
      BLKID_FILE: '/dev/null',
    },
  })
}

/** SIGKILL, as a client sees no difference; returns when none of its threads can reach a file any more. */
export async function endGanesha(places: ServerPlaces, known: ProcessIdentity | undefined): Promise<void> {
  const found = findByCommandWord(configPath(places))
  if (known !== undefined && !found.some(({ pid }) => pid === known.pid)) found.push(known)
  for (const one of found) await endWithAllTasks(one)
}

/**
 * The first thread of a process may be gone, and its others still in the middle of a request: until the last has ended,
 * they keep files open. Throws `unavailable`.
 */
async function endWithAllTasks(identity: ProcessIdentity, timeoutMs = 15_000): Promise<void> {
  if (!hasTasks(identity)) return
  process.kill(identity.pid, 'SIGKILL')
  for (const end = performance.now() + timeoutMs; hasTasks(identity); await sleep(5)) {
    if (performance.now() < end) continue
    throw new DomainError('unavailable', `NFS server ${identity.pid} does not end; it hangs in the kernel.`)
  }
}

function hasTasks(identity: ProcessIdentity): boolean {
  try {
    const { pid, startTime } = identity
    if (identityOf(pid).startTime !== startTime) return false
    return isAlive(identity) || readdirSync(`/proc/${pid}/task`).length > 1
  } catch {
    return false
  }
}

/** Waits until it serves at its LIF. Throws `unavailable`, with what it logged, where it ends before. */
export async function untilListening(
  places: ServerPlaces,
  identity: ProcessIdentity,
  lif: string,
): Promise<void> {
  for (const end = performance.now() + startMs; !isListening(identity.pid, lif); await sleep(5)) {
    if (isAlive(identity) && performance.now() < end) continue
    throw new DomainError('unavailable', `The NFS server at ${lif} did not start: ${lastLineOf(places)}`, {
      detail: tailOf(logPath(places)),
    })
  }
}

const nfsPort = 2049
const listening = '0A'
const established = '01'

interface TcpSocket {
  local: string
  localPort: number
  remote: string
  state: string
}

/** All TCP sockets of the network namespace that the process is in. */
function tcpSockets(pid: number): TcpSocket[] {
  return ['tcp', 'tcp6'].flatMap((name) => {
    const lines = readFileSync(`/proc/${pid}/net/${name}`, 'utf8').trimEnd().split('\n').slice(1)
    return lines.map((line) => {
      const [, local = '', remote = '', state = ''] = line.trim().split(/\s+/)
      const [address = '', port = ''] = local.split(':')
      const localPort = Number.parseInt(port, 16)
      return { local: canonical(address), localPort, remote: canonical(remote.split(':')[0] ?? ''), state }
    })
  })
}

/** An address of /proc (groups of four bytes, each in the machine's order) as one word that can be compared. */
function canonical(hex: string): string {
  const bytes = Buffer.concat((hex.match(/.{8}/g) ?? []).map((group) => Buffer.from(group, 'hex').swap32()))
  const isMapped = bytes.length === 16 && bytes.toString('hex', 0, 12) === '00000000000000000000ffff'
  const [plain, parts] = [isMapped ? bytes.subarray(12) : bytes, [] as string[]]
  if (plain.length === 4) return plain.join('.')
  for (let at = 0; at < plain.length; at += 2) parts.push(plain.readUInt16BE(at).toString(16))
  return new URL(`http://[${parts.join(':')}]`).hostname.slice(1, -1)
}

const plainAddress = (address: string): string =>
  isIP(address) === 6 ? new URL(`http://[${address}]`).hostname.slice(1, -1) : address

export function isListening(pid: number, lif: string): boolean {
  try {
    return tcpSockets(pid).some(
      ({ local, localPort, state }) =>
        state === listening && localPort === nfsPort && local === plainAddress(lif),
    )
  } catch {
    return false // it ended meanwhile
  }
}

/** Addresses with a connection to the LIF now. */
export function connectedTo(pid: number, lif: string): Set<string> {
  try {
    return new Set(
      tcpSockets(pid)
        .filter(({ local, localPort }) => localPort === nfsPort && local === plainAddress(lif))
        .filter(({ state }) => state === established)
        .map(({ remote }) => remote),
    )
  } catch {
    return new Set()
  }
}

/**
 * Version 3 is served where rpcbind runs: without it the server does not start with version 3. It is found at a path, in
 * every network namespace.
 */
export const protocolsHere = async (): Promise<NfsProtocol[]> =>
  (await listens('/run/rpcbind.sock')) ? [3, 4] : [4]

/** Of the server's log the last line that says what is wrong; of its output, where it has logged nothing. */
function lastLineOf(places: ServerPlaces): string {
  const bad = tailOf(logPath(places), 8000)
    .split('\n')
    .filter((line) => / :(FATAL|CRIT|MAJ) :/.test(line))
    .filter((line) => !/Cannot acquire credentials/.test(line))
  const line = bad.findLast((one) => !/FATAL/.test(one)) ?? tailOf(outputPath(places)).split('\n').at(-1)
  return line?.replace(/^.* :(FATAL|CRIT|MAJ) :/, '') || 'it gave no reason.'
}

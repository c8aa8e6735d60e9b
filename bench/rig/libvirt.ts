/**
 * The reference: `virsh blockcopy` of a domain's disk, by a libvirtd of one's own. As root it runs as `nobody`, for only then
 * is it a session's daemon, which keeps everything in a folder and leaves the machine's own libvirt alone.
 */
import { execFile, spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { chmod, chown, mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { closeSync, existsSync, openSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { timed } from '../measure.ts'
import type { Copied } from './peers.ts'
import { processorSeconds } from './processor-time.ts'

const run = promisify(execFile)

export interface Blockcopy {
  /** Copies the domain's disk, from the command to the event that it is ready, and goes back to the source. */
  copy(): Promise<Copied>
  stop(): Promise<void>
}

/** Why there is no libvirt to compare with; undefined: there is. */
export const lacksLibvirt = (): string | undefined => {
  const missing = ['/usr/bin/virsh', '/usr/sbin/libvirtd'].filter((path) => !existsSync(path))
  return missing.length === 0
    ? undefined
    : `virsh blockcopy, because this machine has no libvirt: apt-get install libvirt-daemon-system libvirt-clients`
}

const nobody = 65_534

/** A domain that stands still, whose disk is an image that `make` makes: QEMU keeps it locked, so it is the domain's alone. */
export async function openBlockcopy(
  folder: string,
  make: (path: string) => Promise<void>,
): Promise<Blockcopy> {
  const own = join(folder, 'virt')
  const isRoot = process.getuid?.() === 0
  for (const name of ['', 'run', 'home', 'disk']) await mkdir(join(own, name), { mode: 0o755 })
  const source = join(own, 'disk', 'source')
  await make(source)
  if (isRoot) {
    for (const name of ['run', 'home', 'disk', 'disk/source']) await chown(join(own, name), nobody, nobody)
    await chmod(folder, 0o711)
  }
  await writeFile(join(own, 'libvirtd.conf'), 'auth_unix_rw = "none"\n')
  const become = isRoot ? ['setpriv', `--reuid=${nobody}`, `--regid=${nobody}`, '--clear-groups'] : []
  const env = {
    ...process.env,
    HOME: join(own, 'home'),
    XDG_RUNTIME_DIR: join(own, 'run'),
    XDG_CONFIG_HOME: join(own, 'home'),
    XDG_CACHE_HOME: join(own, 'home'),
  }
  const words = (...command: string[]): [string, string[]] => {
    const [program = '', ...rest] = [...become, ...command]
    return [program, rest]
  }
  const virsh = (...command: string[]) =>
    run(...words('virsh', '-q', '-c', 'qemu:///session', ...command), { env, timeout: 120_000 })
  const log = openSync(join(own, 'log'), 'a')
  const daemon = spawn(...words('libvirtd', '-f', join(own, 'libvirtd.conf')), {
    env,
    stdio: ['ignore', log, log],
  })
  closeSync(log)
  const stop = async (): Promise<void> => {
    await virsh('destroy', 'bench').catch(() => {})
    await ended(daemon)
    await rm(own, { recursive: true, force: true })
  }
  try {
    await ready(daemon, virsh, join(own, 'log'))
    await writeFile(join(own, 'domain.xml'), domainXml(source))
    await virsh('create', '--paused', join(own, 'domain.xml'))
    const pidText = await readFile(join(own, 'run/libvirt/qemu/run/bench.pid'), 'utf8')
    const pids = [Number(pidText), daemon.pid ?? 0]
    return { copy: () => copyOnce({ words, virsh, env, pids, own }), stop }
  } catch (error) {
    await stop()
    throw error
  }
}

interface Session {
  words(...command: string[]): [string, string[]]
  virsh(...command: string[]): Promise<unknown>
  env: NodeJS.ProcessEnv
  pids: number[]
  own: string
}

async function copyOnce({ words, virsh, env, pids, own }: Session): Promise<Copied> {
  const target = join(own, 'disk', 'target')
  const xml = join(own, 'target.xml')
  await writeFile(xml, diskXml(target))
  // Whoever asks each half second, as `--wait` does, would measure his own patience.
  const watch = words(
    'virsh',
    '-q',
    '-c',
    'qemu:///session',
    ...['event', 'bench', '--event', 'block-job', '--timeout', '120'],
  )
  const events = spawn(...watch, { env, stdio: ['ignore', 'pipe', 'inherit'] })
  let said = ''
  events.stdout.on('data', (part: Buffer) => (said += part.toString()))
  const over = once(events, 'exit')
  await sleep(300)
  const before = processorSeconds(pids)
  try {
    const { ms } = await timed(async () => {
      await virsh('blockcopy', 'bench', 'vda', '--xml', xml, '--transient-job')
      await over
    })
    if (!/ ready/.test(said)) throw new Error(`virsh blockcopy did not become ready: ${said.trim()}`)
    return { ms, processor: processorSeconds(pids) - before }
  } finally {
    events.kill('SIGKILL')
    await virsh('blockjob', 'bench', 'vda', '--abort').catch(() => {})
    await rm(target, { force: true })
  }
}

async function ready(daemon: ChildProcess, virsh: Session['virsh'], log: string): Promise<void> {
  for (const end = performance.now() + 20_000; ; await sleep(100)) {
    const answers = await virsh('version').then(
      () => true,
      () => false,
    )
    if (answers) return
    if (daemon.exitCode === null && performance.now() < end) continue
    const text = (await readFile(log, 'utf8')).trim().split('\n').at(-1)
    throw new Error(`libvirtd in ${dirname(log)} does not answer: ${text}`)
  }
}

async function ended(daemon: ChildProcess): Promise<void> {
  if (daemon.exitCode !== null || daemon.signalCode !== null) return
  const gone = once(daemon, 'exit')
  daemon.kill('SIGTERM')
  const late = setTimeout(() => daemon.kill('SIGKILL'), 5000)
  await gone
  clearTimeout(late)
}

const diskXml = (path: string): string =>
  `<disk type='file' device='disk'>
    <driver name='qemu' type='raw' cache='none' io='io_uring' discard='unmap'/>
    <source file='${path}'/><target dev='vda' bus='virtio'/>
  </disk>`

const domainXml = (path: string): string =>
  `<domain type='qemu'>
  <name>bench</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>
  <os><type arch='x86_64' machine='pc'>hvm</type></os>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    ${diskXml(path)}
    <controller type='usb' model='none'/><memballoon model='none'/>
  </devices>
</domain>
`

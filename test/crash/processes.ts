/** Which processes of the data plane there are, and what they have open: as the kernel says it, not as Volant does. */
import { readdir, readFile, readlink } from 'node:fs/promises'
import { basename, join } from 'node:path'

export type Kind =
  | 'control plane'
  | 'storage agent'
  | 'compute agent'
  | 'guest'
  | 'holder'
  | 'export'
  | 'keeper'
  | 'guard'
  | 'copy'
  | 'block device supervisor'
  | 'block device worker'
  | 'NFS server'
  | 'message bus'
  | 'unknown'

export interface Process {
  pid: number
  kind: Kind
  command: string
  /** UUIDs of the images that it has open. */
  images: string[]
}

/** Every process that names the state folder in its command line. */
export async function processesOf(stateDir: string): Promise<Process[]> {
  const found: Process[] = []
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name) || Number(name) === process.pid) continue
    const words = (await readFile(`/proc/${name}/cmdline`, 'utf8').catch(() => '')).split('\0')
    if (!words.some((word) => word.includes(stateDir))) continue
    const images = await openImages(Number(name))
    found.push({ pid: Number(name), kind: kindOf(words), command: words.join(' ').trim(), images })
  }
  return found
}

function kindOf(words: readonly string[]): Kind {
  const program = basename(words[0] ?? '')
  if (program.startsWith('qemu-system-')) return 'guest'
  if (program === 'qemu-storage-daemon') {
    return words.some((word) => /path=\S+\.eq,/.test(word)) ? 'export' : 'holder'
  }
  if (program.startsWith('volant-launch-')) {
    return words[1] === 'keep' ? 'keeper' : words[1] === 'guard' ? 'guard' : 'unknown'
  }
  if (program.startsWith('volant-copy-')) return 'copy'
  if (program.includes('fuse-nbd')) {
    return words[1] === 'work' ? 'block device worker' : 'block device supervisor'
  }
  if (program === 'ganesha.nfsd') return 'NFS server'
  if (program === 'dbus-daemon') return 'message bus'
  if (words.includes('serve')) return 'control plane'
  if (words.includes('node')) {
    const name = words.find((word) => word.endsWith('/credentials')) ?? ''
    return name.includes('-storage/') ? 'storage agent' : 'compute agent'
  }
  return 'unknown'
}

const uuid = /[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/

async function openImages(pid: number): Promise<string[]> {
  const folder = `/proc/${pid}/fd`
  const images = new Set<string>()
  for (const fd of await readdir(folder).catch(() => [])) {
    const path = await readlink(join(folder, fd)).catch(() => '')
    if (!path.includes('/aggr')) continue
    const id = uuid.exec(basename(path))?.[0]
    if (id !== undefined) images.add(id)
  }
  return [...images]
}

/** SIGKILL, all in one go; returns when they are gone. */
export async function killNow(pids: readonly number[]): Promise<void> {
  for (const pid of pids) {
    try {
      process.kill(pid, 'SIGKILL')
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
    }
  }
  for (const pid of pids) {
    for (const end = Date.now() + 10_000; (await stateOf(pid)) === 'there';) {
      if (Date.now() > end) throw new Error(`process ${pid} does not die of SIGKILL in 10 s`)
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
  }
}

async function stateOf(pid: number): Promise<'there' | 'gone'> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
  const state = stat.slice(stat.lastIndexOf(')') + 2)[0]
  return state === undefined || state === 'Z' || state === 'X' ? 'gone' : 'there'
}

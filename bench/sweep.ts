/**
 * Ends what a case has left behind, whatever ended the case: its processes, also those that outlive their starters,
 * mounts, loop devices, network namespaces and folders. What is a case's is known by an environment variable that all
 * its processes inherit, and by the folders and namespaces that it made, which it notes down (`traces.ts`).
 */
import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync, rmSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

/** Of the environment; its value is one run's of one case. */
export const marker = 'VOLANT_BENCH_CASE'

export interface Traces {
  /** The marker's value. */
  id: string
  /** That it made, absolute. */
  folders: readonly string[]
  /** Names of network namespaces. */
  namespaces: readonly string[]
}

/** How long processes may take that are just ending. */
const graceMs = 3000
const killMs = 15_000

/** Says what it had to end; nothing where the case has tidied up itself. */
export async function sweep(traces: Traces): Promise<string[]> {
  const found: string[] = []
  for (const end = performance.now() + graceMs; performance.now() < end; await sleep(50)) {
    if (processesOf(traces).length === 0) break
  }
  for (const end = performance.now() + killMs; ; await sleep(50)) {
    const left = processesOf(traces)
    if (left.length === 0) break
    if (performance.now() > end) {
      found.push(`${left.length} processes that do not die: ${left.map(({ pid }) => pid).join(', ')}`)
      break
    }
    for (const { pid, command } of left) {
      const name = `process ${command}`
      if (!found.includes(name)) found.push(name)
      attempt(() => process.kill(pid, 'SIGKILL'))
    }
  }
  for (const path of mountsIn(traces.folders)) {
    found.push(`mount ${path}`)
    if (!run('umount', path)) run('umount', '-l', path)
  }
  for (const device of loopsIn(traces.folders)) {
    found.push(`loop device ${device}`)
    run('losetup', '-d', device)
  }
  const namespaces = attempt(() => readdirSync('/run/netns')) ?? []
  for (const name of traces.namespaces.filter((one) => namespaces.includes(one))) {
    found.push(`network namespace ${name}`)
    run('ip', 'netns', 'del', name)
  }
  // A folder with something mounted in it is not gone through.
  const mounted = mountsIn(traces.folders)
  for (const folder of traces.folders) {
    if (mounted.some((path) => isIn(path, folder)))
      found.push(`folder ${folder}, which stays: it is mounted in`)
    else rmSync(folder, { recursive: true, force: true, maxRetries: 3 })
  }
  return found
}

const isIn = (path: string, folder: string): boolean => path === folder || path.startsWith(`${folder}/`)

function attempt<T>(task: () => T): T | undefined {
  try {
    return task()
  } catch {
    return undefined
  }
}

const run = (program: string, ...args: string[]): boolean =>
  attempt(() => execFileSync(program, args, { stdio: 'pipe', timeout: 20_000 })) !== undefined

const textOf = (path: string): string => attempt(() => readFileSync(path, 'latin1')) ?? ''

/** Not this process, nor what has ended and only waits to be read. */
function processesOf({ id, folders }: Traces): { pid: number; command: string }[] {
  const found: { pid: number; command: string }[] = []
  const wanted = `${marker}=${id}`
  for (const name of readdirSync('/proc')) {
    const pid = Number(name)
    if (!Number.isInteger(pid) || pid === process.pid || pid === process.ppid) continue
    const words = textOf(`/proc/${name}/cmdline`).split('\0')
    // A kernel's thread, or a process that has ended.
    if (words[0] === '') continue
    const isIts =
      textOf(`/proc/${name}/environ`).split('\0').includes(wanted) ||
      words.some((word) => folders.some((folder) => word.includes(`${folder}/`) || word === folder))
    if (isIts && !/\) [ZX] /.test(textOf(`/proc/${name}/stat`))) {
      found.push({ pid, command: words.join(' ').trim().slice(0, 160) })
    }
  }
  return found
}

/** The latest first: what is mounted in another goes before that. */
const mountsIn = (folders: readonly string[]): string[] =>
  textOf('/proc/self/mountinfo')
    .split('\n')
    .map((entry) => entry.split(' ')[4] ?? '')
    .filter((path) => folders.some((folder) => isIn(path, folder)))
    .toReversed()

function loopsIn(folders: readonly string[]): string[] {
  const found: string[] = []
  for (const name of attempt(() => readdirSync('/sys/block')) ?? []) {
    if (!name.startsWith('loop')) continue
    const file = textOf(`/sys/block/${name}/loop/backing_file`).trim()
    if (folders.some((folder) => isIn(file, folder))) found.push(`/dev/${name}`)
  }
  return found
}

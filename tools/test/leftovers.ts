import { execFile } from 'node:child_process'
import { readdir, readFile } from 'node:fs/promises'
import { promisify } from 'node:util'

export interface LeftProcess {
  pid: number
  command: string
}

const words = (data: string): string => data.replaceAll('\0', ' ').trim()

/** Processes whose command line or environment names `folder`: the tests' temporary files live only there. */
export async function processesUsing(folder: string): Promise<LeftProcess[]> {
  const found: LeftProcess[] = []
  for (const entry of await readdir('/proc')) {
    const pid = Number(entry)
    if (!Number.isInteger(pid) || pid === process.pid) continue
    const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')
    const environment = await readFile(`/proc/${pid}/environ`, 'utf8').catch(() => '')
    if (command === '') continue
    if (command.includes(folder) || environment.includes(folder)) found.push({ pid, command: words(command) })
  }
  return found
}

/** Mount points below `folder`. */
export async function mountsBelow(folder: string): Promise<string[]> {
  const mounts = await readFile('/proc/self/mounts', 'utf8')
  return mounts
    .split('\n')
    .map((line) => line.split(' ')[1] ?? '')
    .filter((point) => point.startsWith(`${folder}/`))
}

/** At once for all who look; what still has it open keeps it a little longer. */
export async function unmount(point: string): Promise<void> {
  await promisify(execFile)('umount', ['--lazy', point]).catch(() => {})
}

/** Names of the machine's network namespaces; none where `ip` is not there. */
export async function networkNamespaces(): Promise<string[]> {
  try {
    const { stdout } = await promisify(execFile)('ip', ['netns', 'list'])
    return stdout
      .split('\n')
      .map((line) => line.split(' ')[0] ?? '')
      .filter((name) => name !== '')
  } catch {
    return []
  }
}

/** The process that made a namespace: tests name them by a letter or two and its id (`vd1234a`, `vg-1234`). */
export const makerOf = (namespace: string): string | undefined => /^v[a-z]-?(\d+)[a-z]?$/.exec(namespace)?.[1]

/** Namespaces of test files that have ended. Those of a process that runs are another run's, at the same time. */
export async function orphanedNamespaces(): Promise<string[]> {
  const names = await networkNamespaces()
  // In this order: whoever begins meanwhile and makes one is running by now.
  const running = new Set(await readdir('/proc'))
  return names.filter((name) => {
    const pid = makerOf(name)
    return pid !== undefined && !running.has(pid)
  })
}

export async function removeNamespace(name: string): Promise<void> {
  await promisify(execFile)('ip', ['netns', 'delete', name])
}

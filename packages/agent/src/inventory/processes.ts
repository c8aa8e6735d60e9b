import { readdir, readFile } from 'node:fs/promises'
import { identityOf } from '@volant/qemu/process.ts'
import type { ProcessIdentity } from '@volant/qemu/process.ts'

/** A process of this machine, as its command line tells it. */
export interface FoundProcess {
  identity: ProcessIdentity
  words: string[]
  ageSeconds: number
}

/** Clock ticks in a second: fixed on Linux, whatever the kernel's own rate (`getconf CLK_TCK`). */
const ticksPerSecond = 100

/** Processes that run and name one of the folders, or something in it, on their command line. Not this one. */
export async function processesNaming(folders: readonly string[]): Promise<FoundProcess[]> {
  const uptime = Number.parseFloat(await readFile('/proc/uptime', 'utf8'))
  const found: FoundProcess[] = []
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name) || Number(name) === process.pid) continue
    try {
      const line = await readFile(`/proc/${name}/cmdline`, 'utf8')
      if (!folders.some((folder) => line.includes(`${folder}/`))) continue
      const identity = identityOf(Number(name))
      const startedAt = Number(identity.startTime) / ticksPerSecond
      const ageSeconds = Math.max(0, uptime - startedAt)
      found.push({ identity, words: line.split('\0').filter((word) => word !== ''), ageSeconds })
    } catch {
      continue // it ended meanwhile
    }
  }
  return found
}

/** Names of what the process names in that very folder: `--control /run/x.k` in `/run` is `x.k`. */
export function namesInFolder({ words }: FoundProcess, folder: string): string[] {
  const parts = words.flatMap((word) => word.split(/[=,"]/))
  return parts
    .filter((part) => part.startsWith(`${folder}/`))
    .map((part) => part.slice(folder.length + 1))
    .filter((name) => name !== '' && !name.includes('/'))
}

export const processText = ({ identity, words }: FoundProcess): string =>
  `pid ${identity.pid}: ${words.join(' ').slice(0, 160)}`

export const processToken = ({ identity }: FoundProcess): string =>
  `pid:${identity.pid}:${identity.startTime}:${identity.bootId}`

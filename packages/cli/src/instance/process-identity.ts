import { readFile } from 'node:fs/promises'

/**
 * When a process was started, in clock ticks since the boot (field 22 of /proc/PID/stat): with the pid it tells
 * a process from a later one that got its number. Undefined where there is none, or only its zombie.
 */
export async function startTicks(pid: number): Promise<string | undefined> {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return fields[0] === 'Z' || fields[0] === 'X' ? undefined : fields[19]
  } catch {
    return undefined
  }
}

export interface ProcessIdentity {
  pid: number
  startTicks: string
}

export const isRunning = async (identity: ProcessIdentity): Promise<boolean> =>
  (await startTicks(identity.pid)) === identity.startTicks

export async function ownIdentity(): Promise<ProcessIdentity> {
  const ticks = await startTicks(process.pid)
  if (ticks === undefined) throw new Error('/proc is not there; Volant needs Linux')
  return { pid: process.pid, startTicks: ticks }
}

import { readFileSync } from 'node:fs'

/** Clock ticks in a second, in which the kernel tells of processor time: the same on all Linux machines of today. */
const ticksPerSecond = 100

/** Processor seconds that these processes, with all their threads, have used since they began; 0 for one that is gone. */
export const processorSeconds = (pids: readonly number[]): number =>
  pids.reduce((sum, pid) => sum + ofProcess(pid), 0)

function ofProcess(pid: number): number {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    // The name may hold spaces; what follows its last parenthesis begins with the third field.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return (Number(fields[11]) + Number(fields[12])) / ticksPerSecond
  } catch {
    return 0
  }
}

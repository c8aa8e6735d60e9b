import { execFileSync } from 'node:child_process'
import { cpus, release, totalmem } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'

const versionOf = (program: string): string =>
  /version (\S+)/.exec(execFileSync(program, ['--version'], { encoding: 'utf8' }))?.[1] ?? 'unknown'

/** What the figures were measured on, without anything that names the machine. */
export function describeMachine(): Record<string, string> {
  const processors = cpus()
  return {
    CPU: `${processors.length} × ${processors[0]?.model ?? 'unknown'}`,
    memory: `${(totalmem() / 1024 ** 3).toFixed(0)} GiB`,
    kernel: release().split('-')[0] ?? '',
    QEMU: versionOf('qemu-storage-daemon'),
    'Node.js': process.versions.node,
  }
}

/** How busy others may be where a measurement begins. */
const quietBelow = 0.25

/**
 * Waits until the processors are three quarters idle for two seconds, at most for `longestMs`; returns how busy they
 * were at last, 0 to 1. What others do then still counts, but at least it is known.
 */
export async function waitForQuiet(longestMs: number): Promise<number> {
  for (const end = performance.now() + longestMs; ;) {
    const busy = await busyFor(2000)
    if (busy < quietBelow || performance.now() > end) return busy
  }
}

async function busyFor(ms: number): Promise<number> {
  const before = processorTimes()
  await sleep(ms)
  const after = processorTimes()
  return 1 - (after.idle - before.idle) / (after.all - before.all)
}

function processorTimes(): { idle: number; all: number } {
  const times = cpus().map((processor) => processor.times)
  const idle = times.reduce((sum, one) => sum + one.idle, 0)
  const all = times.reduce((sum, one) => sum + one.idle + one.user + one.nice + one.sys + one.irq, 0)
  return { idle, all }
}

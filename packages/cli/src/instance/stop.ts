import { setTimeout as sleep } from 'node:timers/promises'
import { CliError, exitCodes } from '../exit-codes.ts'
import { isRunning } from './process-identity.ts'
import { runningInstance, type InstanceRecord } from './record.ts'

const politeMs = 20_000
const forcedMs = 5_000

async function gone(record: InstanceRecord, withinMs: number): Promise<boolean> {
  const deadline = Date.now() + withinMs
  while (Date.now() < deadline) {
    if (!(await isRunning(record))) return true
    await sleep(20)
  }
  return !(await isRunning(record))
}

export interface Stopped {
  /** Null where none ran. */
  pid: number | null
  /** It did not end when asked and was killed; nothing is lost by that, every step of it is durable. */
  killed: boolean
}

/** Stops the control plane of a state folder; returns when its process is gone. Guests and their storage run on. */
export async function stopControlPlane(stateDir: string): Promise<Stopped> {
  const record = await runningInstance(stateDir)
  if (record === undefined) return { pid: null, killed: false }
  process.kill(record.pid, 'SIGTERM')
  if (await gone(record, politeMs)) return { pid: record.pid, killed: false }
  process.kill(record.pid, 'SIGKILL')
  if (await gone(record, forcedMs)) return { pid: record.pid, killed: true }
  throw new CliError(exitCodes.failed, `process ${record.pid} of Volant does not end`)
}

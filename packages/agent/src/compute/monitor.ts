import { setTimeout as sleep } from 'node:timers/promises'
import type { GuestDisk } from '@volant/contract'
import { messageOf } from '@volant/contract'
import { NbdClient } from '@volant/qemu'
import type { QmpClient, QmpEvent } from '@volant/qemu'
import type { Log } from '../daemon/log.ts'
import { diskNames } from './names.ts'

/** QEMU's run states (`query-status`) that matter here; there are more. */
export type RunState = 'running' | 'paused' | 'io-error' | 'shutdown' | (string & {})

export interface MonitorContext {
  serverId: string
  log: Log
  disks(): GuestDisk[]
  pausedByUser(): boolean
  /** Runs with no change of the run state beside it. */
  exclusively<T>(task: () => Promise<T>): Promise<T>
  /** The guest powered off, or QEMU was told to end; `cause` is QEMU's, such as `guest-shutdown`. */
  onShutdown(cause: string): void
  /** A live migration has another status, as `query-migrate` names it. */
  onMigration(status: string): void
}

export interface GuestMonitor {
  /** The storage fault that paused the guest, while it does. */
  readonly fault: string | undefined
  /** When the guest was stopped, by `performance.now()`; absent while it runs, and where that was before this connection. */
  readonly stoppedAt: number | undefined
  runState(timeoutMs?: number): Promise<RunState>
  /** Continues a guest that a storage fault paused as soon as its storage answers. */
  mend(): Promise<void>
}

/** The longest time that setTimeout takes: for as long as the connection lasts. */
const always = 2 ** 31 - 1
const firstPauseMs = 200
const longestPauseMs = 2000
const answerTimeoutMs = 1000
/** Time for a request that fails again to stop the guest again. */
const settleMs = 150

interface BlockInfo {
  qdev?: string
  'io-status'?: 'ok' | 'failed' | 'nospace'
}

/** The disks whose requests failed; all of them where QEMU does not say. */
const faultyDisks = async (qmp: QmpClient, disks: GuestDisk[]): Promise<GuestDisk[]> => {
  const blocks = (await qmp.execute('query-block')) as BlockInfo[]
  const failed = blocks
    .filter((block) => (block['io-status'] ?? 'ok') !== 'ok')
    .map((block) => block.qdev ?? '')
  if (failed.length === 0) return disks
  return disks.filter((disk) => failed.some((path) => path.includes(diskNames(disk.attachmentId).device)))
}

/** Whether the head serves the export. Opening it by a connection of our own disturbs nobody. */
const answers = async ({ socketPath, exportName }: GuestDisk): Promise<boolean> => {
  try {
    const client = await NbdClient.connect({ path: socketPath }, exportName, answerTimeoutMs)
    client.close()
    return true
  } catch {
    return false
  }
}

/** Watches a guest through its QMP connection, for as long as that lasts. */
export const watchGuest = (qmp: QmpClient, context: MonitorContext): GuestMonitor => {
  const { serverId, log } = context
  let fault: string | undefined
  let mending: Promise<void> | undefined
  let stoppedAt: number | undefined

  const runState = async (timeoutMs = 5000): Promise<RunState> =>
    ((await qmp.execute('query-status', {}, timeoutMs)) as { status: RunState }).status

  const continueOnce = (): Promise<'done' | 'again'> =>
    context.exclusively(async () => {
      if (context.pausedByUser()) return 'done'
      const state = await runState()
      if (state !== 'io-error') return 'done'
      for (const disk of await faultyDisks(qmp, context.disks())) if (!(await answers(disk))) return 'again'
      await qmp.execute('cont')
      await sleep(settleMs)
      return (await runState()) === 'io-error' ? 'again' : 'done'
    })

  const mendUntilDone = async (): Promise<void> => {
    const since = performance.now()
    for (let pause = firstPauseMs; qmp.isOpen; pause = Math.min(pause * 2, longestPauseMs)) {
      try {
        if ((await continueOnce()) === 'done') break
      } catch (error) {
        if (!qmp.isOpen) return
        log.warn(
          { serverId, reason: messageOf(error) },
          'guest with a storage fault could not be looked after',
        )
      }
      await sleep(pause)
    }
    if (fault === undefined || context.pausedByUser()) return
    log.info(
      { serverId, fault, pausedMs: Math.round(performance.now() - since) },
      'guest goes on after a storage fault',
    )
    fault = undefined
  }

  const mend = (): Promise<void> =>
    (mending ??= mendUntilDone().finally(() => {
      mending = undefined
    }))

  const noteFault = ({ data }: QmpEvent): void => {
    const disk = context.disks().find((one) => diskNames(one.attachmentId).node === data['node-name'])
    const what = disk === undefined ? 'the root disk' : `attachment ${disk.attachmentId}`
    if (fault === undefined)
      log.warn({ serverId, what, reason: data.reason }, 'storage fault pauses the guest')
    fault = `${String(data.operation)} on ${what} failed: ${String(data.reason)}`
  }

  qmp.expect(
    null,
    (event) => {
      if (event.event === 'BLOCK_IO_ERROR' && event.data.action === 'stop') noteFault(event)
      if (event.event === 'STOP') stoppedAt = performance.now() - Math.max(0, Date.now() - event.timestampMs)
      if (event.event === 'RESUME') stoppedAt = undefined
      if (event.event === 'STOP' && fault !== undefined) void mend()
      if (event.event === 'MIGRATION') context.onMigration(String(event.data.status))
      if (event.event === 'SHUTDOWN') context.onShutdown(String(event.data.reason))
      return false
    },
    always,
  )

  return {
    get fault() {
      return fault
    },
    get stoppedAt() {
      return stoppedAt
    },
    runState,
    mend,
  }
}

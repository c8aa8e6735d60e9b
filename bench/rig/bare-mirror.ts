import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { QmpClient } from '@volant/qemu/qmp.ts'
import { monotonicMs } from '../measure.ts'

/**
 * The reference: what a plain script gets from QEMU. One storage daemon with the graph of a volume head (export,
 * throttle filter, raw image), started and told by hand; nothing of Volant but its QMP connection.
 */
export interface BareDaemon {
  pid: number
  qmp: QmpClient
  socketPath: string
  exportName: string
  stop(): Promise<void>
}

const image = (node: string, path: string) => ({
  driver: 'raw',
  'node-name': node,
  discard: 'unmap',
  cache: { direct: true },
  file: {
    driver: 'file',
    filename: path,
    aio: 'io_uring',
    locking: 'on',
    discard: 'unmap',
    cache: { direct: true },
  },
})

export async function startBareDaemon(folder: string, name: string, path: string): Promise<BareDaemon> {
  const qmpPath = join(folder, `${name}.q`)
  const socketPath = join(folder, `${name}.n`)
  const json = JSON.stringify
  const daemon = spawn(
    'qemu-storage-daemon',
    [
      '--chardev',
      `socket,id=c,path=${qmpPath},server=on,wait=off`,
      '--monitor',
      'chardev=c',
      '--object',
      json({ 'qom-type': 'throttle-group', id: 'tg0', limits: {} }),
      '--blockdev',
      json(image('n0', path)),
      '--blockdev',
      json({ driver: 'throttle', 'node-name': 't0', 'throttle-group': 'tg0', file: 'n0' }),
      '--nbd-server',
      json({ addr: { type: 'unix', path: socketPath } }),
      '--export',
      json({ type: 'nbd', id: 'x', 'node-name': 't0', name: 'bare', writable: true }),
    ],
    { stdio: ['ignore', 'ignore', 'inherit'] },
  )
  const qmp = await QmpClient.connect({ path: qmpPath, worthTrying: () => daemon.exitCode === null })
  return { pid: daemon.pid ?? 0, qmp, socketPath, exportName: 'bare', stop: () => stop(daemon, qmp) }
}

async function stop(daemon: ChildProcess, qmp: QmpClient): Promise<void> {
  qmp.close()
  if (daemon.exitCode !== null || daemon.signalCode !== null) return
  const gone = once(daemon, 'exit')
  daemon.kill('SIGTERM')
  await gone
}

const status = (wanted: string) => (event: { data: Record<string, unknown> }) =>
  event.data['id'] === 'm' && event.data['status'] === wanted

export interface BareMove {
  /** From `blockdev-mirror` to the event BLOCK_JOB_READY. */
  copyMs: number
  /** From `job-complete` to the event that the job concluded. */
  cutoverMs: number
  /** When `blockdev-mirror` was sent; `monotonicMs`. */
  copiedFrom: number
  /** When `job-complete` was sent, and when the job had concluded and all was tidied up; `monotonicMs`. */
  begunAt: number
  endedAt: number
}

/**
 * blockdev-add, blockdev-mirror, job-complete, job-finalize, and away with the source. `standsOn` is the node
 * below the throttle filter, `target` becomes it. `plain`: with QEMU's own granularity and amount in flight.
 */
export async function bareMove(
  { qmp }: BareDaemon,
  move: { standsOn: string; target: string; path: string; plain?: boolean },
): Promise<BareMove> {
  const { standsOn, target, path, plain = false } = move
  const ready = qmp.expect('BLOCK_JOB_READY', () => true, 120_000)
  await qmp.execute('blockdev-add', image(target, path))
  const copiedFrom = monotonicMs()
  await qmp.execute('blockdev-mirror', {
    'job-id': 'm',
    device: 't0',
    target,
    replaces: standsOn,
    sync: 'full',
    'copy-mode': 'background',
    ...(plain ? {} : { granularity: 4096, 'buf-size': 2 * 1024 * 1024 }),
    'auto-finalize': false,
    'auto-dismiss': false,
  })
  await ready.event
  const copyMs = monotonicMs() - copiedFrom
  await sleep(100) // as a script would that looks now and then
  const pending = qmp.expect('JOB_STATUS_CHANGE', status('pending'), 30_000)
  const concluded = qmp.expect('JOB_STATUS_CHANGE', status('concluded'), 30_000)
  const begunAt = monotonicMs()
  await qmp.execute('job-complete', { id: 'm' })
  await pending.event
  await qmp.execute('job-finalize', { id: 'm' })
  await concluded.event
  const cutoverMs = monotonicMs() - begunAt
  await qmp.execute('job-dismiss', { id: 'm' })
  await qmp.execute('blockdev-del', { 'node-name': standsOn })
  return { copyMs, copiedFrom, cutoverMs, begunAt, endedAt: monotonicMs() }
}

/** Milliseconds from `blockdev-mirror`, with QEMU's own granularity and amount in flight, to BLOCK_JOB_READY; then it is cancelled. */
export async function bareCopy({ qmp }: BareDaemon, path: string): Promise<number> {
  const ready = qmp.expect('BLOCK_JOB_READY', () => true, 120_000)
  await qmp.execute('blockdev-add', image('copy', path))
  const begun = monotonicMs()
  await qmp.execute('blockdev-mirror', {
    ...{ 'job-id': 'm', device: 't0', target: 'copy', sync: 'full' },
    ...{ 'auto-finalize': true, 'auto-dismiss': false },
  })
  await ready.event
  const ms = monotonicMs() - begun
  const concluded = qmp.expect('JOB_STATUS_CHANGE', status('concluded'), 30_000)
  await qmp.execute('block-job-cancel', { device: 'm', force: true })
  await concluded.event
  await qmp.execute('job-dismiss', { id: 'm' })
  await qmp.execute('blockdev-del', { 'node-name': 'copy' })
  return ms
}

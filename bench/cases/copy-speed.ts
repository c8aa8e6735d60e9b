import { setTimeout as sleep } from 'node:timers/promises'
import { row, spreadOf, type BenchCase, type BenchContext, type Measured, type Row } from '../bench-case.ts'
import { median, monotonicMs, quantile } from '../measure.ts'
import { attach, detach, makeVolume, migrate, openDataPlane, type DataPlane } from '../rig/data-plane.ts'
import {
  compete,
  contestCharts,
  faster,
  openContest,
  processorRows,
  speedRow,
  titles,
} from '../rig/copy-contest.ts'
import { fillDense } from '../rig/images.ts'
import { latenciesBetween, startLoad, type LoadSamples } from '../rig/load.ts'
import type { Copied } from '../rig/peers.ts'
import { copyInUse, type SourceVolume } from '../rig/volume-copies.ts'

const mebibyte = 1024 * 1024
/** What a lightly writing client writes: blocks of 4 KiB each second. */
const lightWrites = 100
const bystanderWrites = 500

interface Watched extends Copied {
  /** What the client saw meanwhile. */
  samples?: LoadSamples
  /** Largest latency of another volume's client while the source was removed. */
  bystanderMs?: number
}

/** How fast the holder of a volume copies it, beside what others copy the same image with between the same folders. */
export const copySpeed: BenchCase = {
  name: 'copy-speed',
  title: 'Copy speed, detached and in use',
  run: async (context) => {
    const plane = await openDataPlane(context.folder)
    try {
      return await measure(plane, context)
    } finally {
      await plane.close()
    }
  },
}

async function measure(plane: DataPlane, context: BenchContext): Promise<Measured> {
  const { quick, say } = context
  const sizeBytes = (quick ? 256 : 1024) * mebibyte
  say(`filling images of ${sizeBytes / mebibyte} MiB`)
  const fill = (path: string) => fillDense(path, sizeBytes)
  const volume = await makeVolume(plane, sizeBytes)
  await fill(volume.path)
  // A volume of its own for the whole operation, which takes its source away.
  const moved = await makeVolume(plane, sizeBytes)
  await fill(moved.path)
  const bystander = await makeVolume(plane, 64 * mebibyte)
  await fillDense(bystander.path, 64 * mebibyte)
  const contest = await openContest({ plane, volume, sizeBytes, fill, context })
  try {
    contest.ways['writing'] = () => copyInUse(plane, volume, sizeBytes, lightWrites)
    contest.ways['operation'] = () => copyByOperation(plane, moved, bystander)
    const what = `${sizeBytes / mebibyte} MiB, all allocated`
    const report = (results: Record<string, Watched[]>): Measured => ({
      rows: rowsOf(results, sizeBytes),
      charts: contestCharts(results, what, sizeBytes),
      omissions: contest.omissions,
    })
    return report(await compete(contest, quick ? 3 : 5, context, report))
  } finally {
    await contest.close()
  }
}

/** The whole operation, to and fro between the clusters; then the source goes, beside a client of another volume. */
async function copyByOperation(
  plane: DataPlane,
  volume: SourceVolume,
  bystander: SourceVolume,
): Promise<Watched> {
  const { totalMs, removeSource } = await migrate(plane, volume.id)
  const { attachment, disk } = await attach(plane, bystander)
  try {
    const load = await startLoad({ ...disk, writesPerSecond: bystanderWrites })
    await sleep(500)
    const from = monotonicMs()
    await removeSource()
    const to = monotonicMs()
    await sleep(200)
    const samples = await load.stop()
    return { ms: totalMs, bystanderMs: quantile(latenciesBetween(samples, from, to + 50), 1) }
  } finally {
    await detach(plane, attachment)
  }
}

Object.assign(titles, {
  writing: `Volant, in use, ${lightWrites} writes/s`,
  operation: 'Volant, whole migration, detached',
})

function rowsOf(results: Record<string, Watched[]>, sizeBytes: number): Row[] {
  const gib = `${sizeBytes / mebibyte} MiB, all allocated`
  const line = (name: string, title: string, more: { target?: string; note?: string } = {}): Row[] =>
    speedRow(results, name, { title: `${title} ÷ qemu-img convert`, bytes: sizeBytes, ...more })
  const rates = (results['detached'] ?? []).map(({ ms }) => sizeBytes / mebibyte / (ms / 1000))
  const buffered = faster(results, 'buffered')
  return [
    ...line('detached', 'Copy speed, detached', { target: '>= 0.9', note: gib }),
    ...line('idle', 'Copy speed, in use, client idle', { target: '>= 0.9', note: gib }),
    ...line('writing', 'Copy speed, in use, client writing', {
      target: '>= 0.9',
      note: `${gib}; ${lightWrites} writes/s of 4 KiB`,
    }),
    ...line('operation', 'Whole migration of a detached volume', {
      note: 'request to end: with the start of the daemon, the cutover and the records',
    }),
    ...line('bare', 'Bare QMP mirror', { note: "with QEMU's own granularity and amount in flight" }),
    ...line('blockcopy', 'virsh blockcopy', {
      note: 'of a domain that stands still, from the command to its event',
    }),
    ...line('cp', '`cp --sparse=always`, and sync'),
    ...(buffered.length === 0
      ? []
      : [
          row({
            name: 'qemu-img convert with its default cache modes ÷ with none',
            value: median(buffered),
            unit: '× convert',
            spread: spreadOf(buffered),
            note: 'the reference above is `-T none -t none` (O_DIRECT, as Volant opens images); with the defaults what is reported as copied still lies in memory',
            detail: { ms: (results['buffered'] ?? []).map(({ ms }) => Math.round(ms)) },
          }),
        ]),
    ...(rates.length === 0
      ? []
      : [
          row({
            name: 'Copy rate, detached',
            value: median(rates),
            unit: 'MiB/s',
            spread: spreadOf(rates, 0),
          }),
        ]),
    ...processorRows(results, sizeBytes),
    ...clientRows(results, gib),
  ]
}

function clientRows(results: Record<string, Watched[]>, gib: string): Row[] {
  const bystanders = (results['operation'] ?? []).map(({ bystanderMs }) => bystanderMs ?? 0)
  const latencies = (results['writing'] ?? []).flatMap(({ samples }) => samples?.latencyMs ?? [])
  const rows: Row[] = []
  if (latencies.length > 0) {
    rows.push(
      row({
        name: 'Client latency while the copy runs, p99',
        value: quantile(latencies, 0.99),
        unit: 'ms',
        note: `${lightWrites} writes/s, copy not limited; p50 ${quantile(latencies, 0.5).toFixed(2)} ms`,
        detail: { writes: latencies.length, largest: quantile(latencies, 1) },
      }),
    )
  }
  if (bystanders.length > 0) {
    rows.push(
      row({
        name: 'Largest latency of another client while the moved source is removed',
        value: median(bystanders),
        unit: 'ms',
        spread: spreadOf(bystanders),
        note: `${gib}; the other client writes ${bystanderWrites} blocks/s to a volume on the same file system`,
      }),
    )
  }
  return rows
}

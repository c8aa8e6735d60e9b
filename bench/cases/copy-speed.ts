import { setTimeout as sleep } from 'node:timers/promises'
import { row, spreadOf, type BenchCase, type BenchContext, type Row } from '../bench-case.ts'
import { interleave, median, monotonicMs, quantile, ratios } from '../measure.ts'
import { convertMs } from '../rig/convert.ts'
import {
  attach,
  copyIn,
  detach,
  makeVolume,
  migrate,
  openDataPlane,
  pathOf,
  type DataPlane,
} from '../rig/data-plane.ts'
import { fillDense } from '../rig/images.ts'
import { latenciesBetween, startLoad, type LoadSamples } from '../rig/load.ts'

const mebibyte = 1024 * 1024
/** What a lightly writing client writes: blocks of 4 KiB each second. */
const lightWrites = 100
const bystanderWrites = 500

type SourceVolume = Awaited<ReturnType<typeof makeVolume>>

interface Copied {
  ms: number
  /** What the client saw meanwhile. */
  samples?: LoadSamples
  /** Largest latency of another volume's client while the source was removed. */
  bystanderMs?: number
}

/** How fast the holder of a volume copies it, beside `qemu-img convert` of the same image between the same folders. */
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

async function measure(plane: DataPlane, { quick, say }: BenchContext): Promise<Row[]> {
  const sizeBytes = (quick ? 256 : 1024) * mebibyte
  const repeats = quick ? 3 : 5
  say(`filling an image of ${sizeBytes / mebibyte} MiB`)
  const volume = await makeVolume(plane, sizeBytes)
  await fillDense(volume.path, sizeBytes)
  // A volume of its own for the whole operation, which takes its source away.
  const moved = await makeVolume(plane, sizeBytes)
  await fillDense(moved.path, sizeBytes)
  const bystander = await makeVolume(plane, 64 * mebibyte)
  await fillDense(bystander.path, 64 * mebibyte)
  const target = `${pathOf(plane, copyIn(plane.lmb, volume.id, sizeBytes))}.convert`
  const results = await interleave<string, Copied>(
    {
      convert: async () => ({ ms: await convertMs(volume.path, target, 'none') }),
      detached: () => copyDetached(plane, volume, sizeBytes),
      idle: () => copyInUse(plane, volume, sizeBytes, 0),
      writing: () => copyInUse(plane, volume, sizeBytes, lightWrites),
      operation: () => copyByOperation(plane, moved, bystander),
      buffered: async () => ({ ms: await convertMs(volume.path, target, 'default') }),
    },
    repeats,
  )
  return rowsOf(results, sizeBytes)
}

async function copyDetached(plane: DataPlane, volume: SourceVolume, sizeBytes: number): Promise<Copied> {
  const { holders, caller, backend } = plane
  const holderId = `mover-${crypto.randomUUID()}`
  const source = await plane.records.copies.get(volume.imageId ?? '')
  const image = await backend.openFor(caller, source, 'bench', holderId)
  await holders.ensureHolder(caller, { holderId, volumeId: volume.id, image, serves: false })
  try {
    return { ms: await mirrorMs(plane, volume, holderId, sizeBytes) }
  } finally {
    await holders.ensureNoHolder(caller, holderId)
  }
}

async function copyInUse(
  plane: DataPlane,
  volume: SourceVolume,
  sizeBytes: number,
  writesPerSecond: number,
): Promise<Copied> {
  const { attachment, disk } = await attach(plane, volume)
  try {
    const load = await startLoad({ ...disk, writesPerSecond })
    const ms = await mirrorMs(plane, volume, attachment.id, sizeBytes)
    return { ms, samples: await load.stop() }
  } finally {
    await detach(plane, attachment)
  }
}

/** The whole operation, to and fro between the clusters; then the source goes, beside a client of another volume. */
async function copyByOperation(
  plane: DataPlane,
  volume: SourceVolume,
  bystander: SourceVolume,
): Promise<Copied> {
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

/** From the order to copy until the first pass is over and only what the client writes is left. */
async function mirrorMs(
  { holders, caller, backend, lmb }: DataPlane,
  volume: SourceVolume,
  holderId: string,
  sizeBytes: number,
): Promise<number> {
  const copy = copyIn(lmb, volume.id, sizeBytes)
  const jobId = `bench-${copy.imageId}`
  await backend.ensureImage(caller, copy)
  try {
    const target = await backend.openFor(caller, copy, 'bench', holderId)
    const begun = performance.now()
    await holders.ensureMirror(caller, { holderId, jobId, target, rate: 0 })
    for (;;) {
      const { phase, error } = await holders.mirrorStatus(holderId, jobId)
      if (phase === 'ready') break
      if (phase !== 'copying') throw new Error(`The mirror is ${phase}: ${error ?? 'no reason'}`)
      await sleep(10)
    }
    return performance.now() - begun
  } finally {
    await holders.ensureNoMirror(caller, holderId, jobId)
    await backend.ensureNoImage(caller, copy)
  }
}

function rowsOf(results: Record<string, Copied[]>, sizeBytes: number): Row[] {
  const ms = (name: string) => (results[name] ?? []).map((result) => result.ms)
  const rate = (name: string) => sizeBytes / mebibyte / (median(ms(name)) / 1000)
  // Speed is the inverse of time.
  const faster = (name: string, reference = 'convert') => ratios(ms(reference), ms(name))
  const compare = (name: string, title: string, target?: string, note?: string) =>
    row({
      name: title,
      value: median(faster(name)),
      unit: '× convert',
      ...(target === undefined ? {} : { target }),
      spread: spreadOf(faster(name)),
      ...(note === undefined ? {} : { note }),
      detail: {
        ms: ms(name).map(Math.round),
        convertMs: ms('convert').map(Math.round),
        medianMiBps: Math.round(rate(name)),
      },
    })
  const gib = `${sizeBytes / mebibyte} MiB, all allocated`
  const bystanders = (results['operation'] ?? []).map(({ bystanderMs }) => bystanderMs ?? 0)
  const latencies = (results['writing'] ?? []).flatMap(({ samples }) => samples?.latencyMs ?? [])
  return [
    compare('detached', 'Copy speed, detached ÷ qemu-img convert', '>= 0.9', gib),
    compare('idle', 'Copy speed, in use, client idle ÷ qemu-img convert', '>= 0.9', gib),
    compare(
      'writing',
      'Copy speed, in use, client writing ÷ qemu-img convert',
      '>= 0.9',
      `${gib}; ${lightWrites} writes/s of 4 KiB`,
    ),
    compare(
      'operation',
      'Whole migration of a detached volume ÷ qemu-img convert',
      undefined,
      'request to end: with the start of the daemon, the cutover and the records',
    ),
    row({
      name: 'qemu-img convert with its default cache modes ÷ with none',
      value: median(faster('buffered')),
      unit: '× convert',
      spread: spreadOf(faster('buffered')),
      note: 'the reference above is `-T none -t none` (O_DIRECT, as Volant opens images); with the defaults what is reported as copied still lies in memory',
      detail: { ms: ms('buffered').map(Math.round) },
    }),
    row({
      name: 'Copy rate, detached',
      value: rate('detached'),
      unit: 'MiB/s',
      spread: spreadOf(
        ms('detached').map((time) => sizeBytes / mebibyte / (time / 1000)),
        0,
      ),
    }),
    row({
      name: 'Client latency while the copy runs, p99',
      value: quantile(latencies, 0.99),
      unit: 'ms',
      note: `${lightWrites} writes/s, copy not limited; p50 ${quantile(latencies, 0.5).toFixed(2)} ms`,
      detail: { writes: latencies.length, largest: quantile(latencies, 1) },
    }),
    row({
      name: 'Largest latency of another client while the moved source is removed',
      value: median(bystanders),
      unit: 'ms',
      spread: spreadOf(bystanders),
      note: `${gib}; the other client writes ${bystanderWrites} blocks/s to a volume on the same file system`,
    }),
  ]
}

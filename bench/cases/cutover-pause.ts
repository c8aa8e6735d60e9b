import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { kept, row, spreadOf, type BenchCase, type BenchContext, type Row } from '../bench-case.ts'
import { interleave, median, monotonicMs, quantile, ratios } from '../measure.ts'
import { bareMove, startBareDaemon, type BareDaemon } from '../rig/bare-mirror.ts'
import { createEmpty, fillDense } from '../rig/images.ts'
import { attach, detach, makeVolume, migrate, openDataPlane, type DataPlane } from '../rig/data-plane.ts'
import { latenciesBetween, startLoad, type LoadSamples } from '../rig/load.ts'

const mebibyte = 1024 * 1024
const sizeBytes = 64 * mebibyte
const writesPerSecond = 500
/** Before and after a cutover that a request still counts to it. */
const marginMs = 20
/** From the end of the copy to the cutover, in the script as well: what a copy costs its client is measured elsewhere. */
const afterCopyMs = 100

interface Paused {
  /** Largest latency that the client saw from a little before everything that belongs to the cutover to a little after. */
  clientMs: number
  /** What the operation (or the script) measured itself. */
  ownMs: number
  /** Largest latency in a stretch as long, without a cutover. */
  quietMs: number
}

interface Cutover {
  /** All that belongs to it, with what prepares it and what tidies up; `monotonicMs`. */
  from: number
  to: number
  ownMs: number
  removeSource(): Promise<void>
}

/** The client's pause at the cutover, beside that of the same QMP commands from a plain script. */
export const cutoverPause: BenchCase = {
  name: 'cutover-pause',
  title: 'Client pause at the cutover',
  run: async (context) => {
    const plane = await openDataPlane(context.folder)
    const begins = delayCutovers(plane)
    const bare = await openBare(context.folder)
    try {
      return kept(context, await measure({ plane, begins }, bare, context))
    } finally {
      await bare.daemon.stop()
      await plane.close()
    }
  },
}

/** Cutovers begin when the copy's last writes are on disk, as in the script; tells when the latest one began. */
function delayCutovers({ holders }: DataPlane): () => number {
  const { prepareCutover } = holders
  let begun = Number.NaN
  holders.prepareCutover = async (...args) => {
    await sleep(afterCopyMs)
    begun = monotonicMs()
    return prepareCutover(...args)
  }
  return () => begun
}

interface Measured {
  plane: DataPlane
  /** When the latest cutover began; `monotonicMs`. */
  begins: () => number
}

interface Bare {
  daemon: BareDaemon
  folder: string
  /** Node and file that the export stands on. */
  node: string
  path: string
  moves: number
}

async function openBare(folder: string): Promise<Bare> {
  const path = join(folder, 'bare-0')
  await createEmpty(path, sizeBytes)
  await fillDense(path, sizeBytes)
  return { daemon: await startBareDaemon(folder, 'b', path), folder, node: 'n0', path, moves: 0 }
}

async function measure(measured: Measured, bare: Bare, { quick, say }: BenchContext): Promise<Row[]> {
  const { plane } = measured
  const repeats = quick ? 5 : 15
  const volume = await makeVolume(plane, sizeBytes)
  await fillDense(volume.path, sizeBytes)
  const { attachment, disk } = await attach(plane, volume)
  say(`${repeats} cutovers each, at ${writesPerSecond} writes/s`)
  const results = await interleave(
    {
      bare: () => underLoad(bare.daemon, () => moveBare(bare)),
      volant: () => underLoad(disk, () => moveByOperation(measured, volume.id)),
    },
    repeats,
  )
  await detach(plane, attachment)
  return rowsOf(results.volant, results.bare)
}

async function underLoad(
  where: { socketPath: string; exportName: string },
  move: () => Promise<Cutover>,
): Promise<Paused> {
  const { socketPath, exportName } = where
  const load = await startLoad({ socketPath, exportName, writesPerSecond })
  await sleep(700) // the client's own code is warm by then
  const quietTo = monotonicMs()
  const { from, to, ownMs, removeSource } = await move()
  await sleep(100)
  const samples = await load.stop()
  await removeSource()
  const length = to - from + 2 * marginMs
  return {
    clientMs: largestBetween(samples, from - marginMs, to + marginMs),
    quietMs: largestBetween(samples, quietTo - length, quietTo),
    ownMs,
  }
}

const largestBetween = (samples: LoadSamples, from: number, to: number): number =>
  quantile(latenciesBetween(samples, from, to), 1)

async function moveBare(bare: Bare): Promise<Cutover> {
  const target = `n${bare.moves + 1}`
  const path = join(bare.folder, `bare-${bare.moves + 1}`)
  await createEmpty(path, sizeBytes)
  const { begunAt, endedAt, cutoverMs } = await bareMove(bare.daemon, { standsOn: bare.node, target, path })
  const source = bare.path
  Object.assign(bare, { node: target, path, moves: bare.moves + 1 })
  return { from: begunAt, to: endedAt, ownMs: cutoverMs, removeSource: () => rm(source) }
}

async function moveByOperation({ plane, begins }: Measured, volumeId: string): Promise<Cutover> {
  const { log, pauseMs, removeSource } = await migrate(plane, volumeId)
  // The log has the wall clock's time; the two differ by the same amount throughout a run.
  const differenceMs = monotonicMs() - Date.now()
  const done = log.findLast(({ event, step }) => event === 'done' && step === 'cutover')
  const to = Date.parse(done?.at ?? '') + differenceMs
  return { from: begins(), to, ownMs: pauseMs ?? Number.NaN, removeSource }
}

const round = (values: number[]) => values.map((value) => Math.round(value * 100) / 100)

function rowsOf(volant: Paused[], bare: Paused[]): Row[] {
  const pick = (paused: Paused[], key: keyof Paused) => paused.map((one) => one[key])
  const [client, reference] = [pick(volant, 'clientMs'), pick(bare, 'clientMs')]
  const [own, ownReference] = [pick(volant, 'ownMs'), pick(bare, 'ownMs')]
  const quiet = pick([...volant, ...bare], 'quietMs')
  const line = (name: string, values: number[], more: { note?: string } = {}) =>
    row({ name, value: median(values), unit: 'ms', spread: spreadOf(values), ...more })
  return [
    row({
      name: 'Client pause at cutover ÷ bare QMP sequence, medians',
      value: median(client) / median(reference),
      unit: '×',
      target: '<= 2',
      spread: spreadOf(ratios(client, reference)),
      note: `largest latency that the client saw around the cutover, with what prepares it, what follows, and ${marginMs} ms on either side, ${afterCopyMs} ms after the copy; ${client.length} cutovers each, client at ${writesPerSecond} writes/s`,
      detail: {
        volantMs: round(client),
        bareMs: round(reference),
        ownMs: round(own),
        ownBareMs: round(ownReference),
      },
    }),
    row({
      name: 'Client pause at cutover ÷ bare QMP sequence, largest',
      value: Math.max(...client) / Math.max(...reference),
      unit: '×',
      target: '<= 2',
    }),
    row({
      name: 'Client pause at cutover, largest',
      value: Math.max(...client),
      unit: 'ms',
      target: '<= 50',
    }),
    line('Client pause at cutover, median', client),
    line('The same with the bare QMP sequence', reference),
    line("The operation's own report of the pause", own, {
      note: `by the daemon's events WAITING to CONCLUDED; the script measures ${median(ownReference).toFixed(2)} ms from job-complete to CONCLUDED`,
    }),
    line('Largest latency in as long a stretch without a cutover', quiet),
  ]
}

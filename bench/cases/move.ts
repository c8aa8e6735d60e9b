import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { aggregateNames } from '../../test/move/place.ts'
import { kept, row, spreadOf, type BenchCase, type BenchContext, type Row } from '../bench-case.ts'
import { median, quantile } from '../measure.ts'
import { copyFolder, dropCaches, openFlexVolPlane, type FlexVolPlane } from '../rig/flexvol.ts'
import { fillDense } from '../rig/images.ts'
import { startLoads } from '../rig/load.ts'

const mebibyte = 2 ** 20
const gibibyte = 2 ** 30
const imageBytes = 32 * mebibyte
/** Of each client. Fifty of them write as much as one that has its machine to itself. */
const writesPerSecond = 20

/** The move of a FlexVol full of volumes: how fast, and what its clients feel. */
export const moveFlexVol: BenchCase = {
  name: 'move-flexvol',
  title: 'Move of a FlexVol',
  async run(context) {
    const plane = await openFlexVolPlane(24 * gibibyte)
    try {
      const count = context.quick ? 10 : 50
      const volumes = await fill(plane, count, context)
      const rows = await speed(plane, count, context)
      context.keep({ rows })
      return kept(context, [...rows, ...(await underLoad(plane, volumes, context))])
    } finally {
      await plane.close()
    }
  },
}

/** Volumes of 1 GiB that hold so much each. */
async function fill(
  { users, imageOf }: FlexVolPlane,
  count: number,
  { say }: BenchContext,
): Promise<string[]> {
  say(`${count} volumes of ${imageBytes / mebibyte} MiB`)
  const volumes: string[] = []
  for (let i = 0; i < count; i += 1) {
    const id = await users.create({ name: `bench-${i}`, size: 1 })
    await fillDense(imageOf(id), imageBytes)
    volumes.push(id)
  }
  return volumes
}

async function speed(plane: FlexVolPlane, count: number, { quick, say }: BenchContext): Promise<Row[]> {
  const repeats = quick ? 2 : 5
  const moves: number[] = []
  const copies: number[] = []
  for (let i = 0; i < repeats; i += 1) {
    const from = plane.folder()
    const other = aggregateNames.find((name) => !from.startsWith(`${plane.place.folderOf(name)}/`))
    const copy = join(plane.place.folderOf(String(other)), 'bench-copy')
    await dropCaches()
    copies.push(await copyFolder(from, copy))
    await rm(copy, { recursive: true })
    await dropCaches()
    moves.push((await plane.move()).ms)
    say(`move ${moves.at(-1)?.toFixed(0)} ms, cp ${copies.at(-1)?.toFixed(0)} ms`)
  }
  const ratios = moves.map((ms, i) => (copies[i] ?? Number.NaN) / ms)
  return [
    row({
      name: `Speed of a move of ${count} images of ${imageBytes / mebibyte} MiB ÷ that of \`cp --sparse=always\` and sync`,
      value: median(ratios),
      unit: '×',
      target: '>= 0.8',
      spread: spreadOf(ratios),
      note: 'detached volumes, between two XFS aggregates on one disk; of the move from the request to its end; the page cache is emptied before each',
      detail: { moveMs: moves.map(Math.round), cpMs: copies.map(Math.round) },
    }),
    row({
      name: '… the move',
      value: (count * imageBytes) / mebibyte / (median(moves) / 1000),
      unit: 'MiB/s',
    }),
  ]
}

async function underLoad(
  plane: FlexVolPlane,
  volumes: string[],
  { quick, say }: BenchContext,
): Promise<Row[]> {
  const orders = (await plane.openHeads(volumes)).map((address) => ({ ...address, writesPerSecond }))
  const pauses: number[] = []
  const longest: number[] = []
  const quiet: number[] = []
  for (let i = 0; i < (quick ? 1 : 3); i += 1) {
    const before = await startLoads(orders)
    await sleep(5000)
    const calm = await before.stop()
    quiet.push(...calm.map(({ latencyMs }) => Math.max(...latencyMs)))
    const load = await startLoads(orders)
    await sleep(1000)
    const { moved, ms } = await plane.move()
    const samples = await load.stop()
    pauses.push(...moved.images.flatMap(({ client_pause_ms }) => client_pause_ms ?? []))
    longest.push(...samples.map(({ latencyMs }) => Math.max(...latencyMs)))
    say(`under load ${ms.toFixed(0)} ms, longest pause ${Math.max(...pauses).toFixed(1)} ms`)
  }
  if (pauses.length < volumes.length) throw new Error(`only ${pauses.length} pauses were reported`)
  const load = `${volumes.length} clients with ${writesPerSecond} writes/s each, whose volumes are all in the FlexVol; the move is at full speed`
  return [
    row({
      name: 'Largest client pause of the move, as it is reported',
      value: Math.max(...pauses),
      unit: 'ms',
      target: '<= 50',
      note: `${pauses.length} cutovers; ${load}`,
      detail: { pauses: pauses.map((value) => Math.round(value * 100) / 100) },
    }),
    row({ name: '… 99th percentile', value: quantile(pauses, 0.99), unit: 'ms' }),
    row({ name: '… median', value: median(pauses), unit: 'ms', spread: spreadOf(pauses) }),
    row({
      name: 'Longest write that a client saw while all moved, median of the clients',
      value: median(longest),
      unit: 'ms',
      spread: spreadOf(longest),
      note: 'the whole move long: with what the copies of all others cost it',
    }),
    row({
      name: 'The same in five seconds without a move',
      value: median(quiet),
      unit: 'ms',
      spread: spreadOf(quiet),
    }),
  ]
}

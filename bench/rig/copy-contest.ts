/** One image, and all that can copy it, in turns: Volant's holder of it, and what others copy with. */
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { row, spreadOf, type BenchContext, type Measured, type Row } from '../bench-case.ts'
import type { RangeChart } from '../chart/chart.ts'
import { median, ratios } from '../measure.ts'
import { bareCopy, startBareDaemon } from './bare-mirror.ts'
import { pathOf, copyIn, type DataPlane } from './data-plane.ts'
import { createEmpty } from './images.ts'
import { lacksLibvirt, openBlockcopy, type Blockcopy } from './libvirt.ts'
import { convert, cpSparse, type Copied } from './peers.ts'
import { processorSeconds } from './processor-time.ts'
import { copyDetached, copyInUse, type SourceVolume } from './volume-copies.ts'

export interface Contest {
  ways: Record<string, () => Promise<Copied>>
  /** Why something is not among them. */
  omissions: string[]
  /** Of one copy; default: a minute. */
  longestMs?: number
  close(): Promise<void>
}

export interface ContestOptions {
  plane: DataPlane
  volume: SourceVolume
  sizeBytes: number
  /** Fills another image in the same way. */
  fill: (path: string) => Promise<void>
  context: BenchContext
}

export const titles: Record<string, string> = {
  detached: 'Volant, detached',
  idle: 'Volant, in use, client idle',
  convert: 'qemu-img convert (O_DIRECT)',
  buffered: 'qemu-img convert (its default cache modes)',
  cp: 'cp --sparse=always, and sync',
  bare: 'bare QMP mirror',
  blockcopy: 'virsh blockcopy',
}

export async function openContest({
  plane,
  volume,
  sizeBytes,
  fill,
  context,
}: ContestOptions): Promise<Contest> {
  const { folder, say } = context
  const images = {
    source: volume.path,
    target: `${pathOf(plane, copyIn(plane.lmb, volume.id, sizeBytes))}.peer`,
  }
  const omissions: string[] = []
  const ways: Contest['ways'] = {
    convert: () => convert([images], 'none'),
    detached: () => copyDetached(plane, volume, sizeBytes),
    cp: () => cpSparse([images]),
    idle: () => copyInUse(plane, volume, sizeBytes, 0),
    bare: () => copyBare(folder, images.source, images.target, sizeBytes),
    buffered: () => convert([images], 'default'),
  }
  let virt: Blockcopy | undefined
  const lack = lacksLibvirt()
  if (lack !== undefined) omissions.push(lack)
  else {
    try {
      virt = await openBlockcopy(folder, async (path) => {
        await createEmpty(path, sizeBytes)
        await fill(path)
      })
      ways['blockcopy'] = virt.copy
    } catch (error) {
      omissions.push(`virsh blockcopy, because libvirt could not be started: ${String(error)}`)
    }
  }
  for (const omission of omissions) say(`NOT MEASURED: ${omission}`)
  return { ways, omissions, close: async () => virt?.stop() }
}

async function copyBare(folder: string, source: string, target: string, sizeBytes: number): Promise<Copied> {
  await createEmpty(target, sizeBytes)
  const daemon = await startBareDaemon(folder, 'bare', source)
  try {
    const before = processorSeconds([daemon.pid])
    const ms = await bareCopy(daemon, target)
    return { ms, processor: processorSeconds([daemon.pid]) - before }
  } finally {
    await daemon.stop()
    await rm(target, { force: true })
    for (const end of ['q', 'n']) await rm(join(folder, `bare.${end}`), { force: true })
  }
}

/** No copy here takes longer on a machine that is fit for a measurement. */
const aMinute = 60_000

/** Rounds with all of what can copy; a way that fails, or hangs, is left out from then on, and named. */
export async function compete(
  { ways, omissions, longestMs = aMinute }: Contest,
  repeats: number,
  { deadline, say, keep }: BenchContext,
  report: (results: Record<string, Copied[]>) => Measured,
): Promise<Record<string, Copied[]>> {
  const results: Record<string, Copied[]> = {}
  const names = Object.keys(ways)
  for (const name of names) results[name] = []
  for (let round = 0; round < repeats; round += 1) {
    if (round >= 2 && performance.now() > deadline) {
      say(`the time is over after ${round} rounds`)
      break
    }
    for (let turn = 0; turn < names.length; turn += 1) {
      const name = names[(round + turn) % names.length] as string
      const way = ways[name]
      if (way === undefined || results[name] === undefined) continue
      try {
        results[name].push(await within(longestMs, way()))
      } catch (error) {
        const why = `${titles[name] ?? name}: ${error instanceof Error ? error.message : String(error)}`
        say(`FAILED: ${why}`)
        omissions.push(why)
        delete results[name]
      }
    }
    keep(report(results))
  }
  return results
}

/** Throws when the time is over; what was begun is then left to itself. */
async function within<T>(ms: number, task: Promise<T>): Promise<T> {
  const late = Promise.withResolvers<never>()
  const timer = setTimeout(() => late.reject(new Error(`it took more than ${ms / 1000} s`)), ms)
  try {
    return await Promise.race([task, late.promise])
  } finally {
    clearTimeout(timer)
  }
}

const msOf = (results: Record<string, Copied[]>, name: string): number[] =>
  (results[name] ?? []).map(({ ms }) => ms)

/** How many times as fast as the reference, round by round: speed is the inverse of time. */
export const faster = (results: Record<string, Copied[]>, name: string, reference = 'convert'): number[] =>
  ratios(msOf(results, reference), msOf(results, name))

/** Speed beside `qemu-img convert`; nothing where one of them is not known. */
export function speedRow(
  results: Record<string, Copied[]>,
  name: string,
  more: { title: string; bytes: number; target?: string; note?: string },
): Row[] {
  const found = faster(results, name)
  if (found.length === 0 || !found.every(Number.isFinite)) return []
  const { title, bytes, ...rest } = more
  const rates = msOf(results, name).map((ms) => bytes / 2 ** 20 / (ms / 1000))
  return [
    row({
      name: title,
      value: median(found),
      unit: '× convert',
      spread: spreadOf(found),
      ...rest,
      detail: {
        ms: msOf(results, name).map(Math.round),
        convertMs: msOf(results, 'convert').map(Math.round),
        medianMiBps: Math.round(median(rates)),
      },
    }),
  ]
}

/** Processor seconds for each GiB of `bytes`, of all ways of which it is known. */
export function processorRows(results: Record<string, Copied[]>, bytes: number): Row[] {
  return Object.entries(results).flatMap(([name, copies]) => {
    const seconds = copies.flatMap(({ processor }) =>
      processor === undefined ? [] : [processor / (bytes / 2 ** 30)],
    )
    if (seconds.length === 0) return []
    return [
      row({
        name: `Processor time, ${titles[name] ?? name}`,
        value: median(seconds),
        unit: 's/GiB',
        spread: spreadOf(seconds),
      }),
    ]
  })
}

/** Rates and processor times of all ways in one drawing each. */
export function contestCharts(results: Record<string, Copied[]>, what: string, bytes: number): RangeChart[] {
  const chart = (title: string, unit: string, pick: (copied: Copied) => number | undefined): RangeChart[] => {
    const figures = Object.entries(results).flatMap(([name, copies]) => {
      const values = copies.flatMap((copied) => pick(copied) ?? [])
      if (values.length === 0) return []
      const range: [number, number] = [Math.min(...values), Math.max(...values)]
      return [{ name: titles[name] ?? name, value: median(values), range }]
    })
    if (figures.length === 0) return []
    return [{ kind: 'ranges', title: `${title}: ${what}`, unit, groups: [{ name: '', figures }] }]
  }
  return [
    ...chart('Speed of a copy', 'MiB/s', ({ ms }) => bytes / 2 ** 20 / (ms / 1000)),
    ...chart('Processor time of a copy', 's/GiB', ({ processor }) =>
      processor === undefined ? undefined : processor / (bytes / 2 ** 30),
    ),
  ]
}

import { row, spreadOf, type BenchCase, type BenchContext, type Measured } from '../bench-case.ts'
import { median, ratios } from '../measure.ts'
import { contestCharts, compete, speedRow, titles, type Contest } from '../rig/copy-contest.ts'
import { attach, makeVolume, migrate, openDataPlane, type DataPlane } from '../rig/data-plane.ts'
import { fillDense } from '../rig/images.ts'
import { convert, cpSparse, type Copied } from '../rig/peers.ts'

const mebibyte = 1024 * 1024
const imageBytes = 16 * mebibyte
/** Operations that are under way at once. */
const sideBySide = 8

/** Volumes of one set, and where their images are now. */
type Images = Map<string, string>

/** Many small volumes: what each operation costs besides the copy. */
export const copyMany: BenchCase = {
  name: 'copy-many',
  title: 'Many small volumes',
  async run(context) {
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
  const count = quick ? 10 : 50
  const bytes = count * imageBytes
  say(`filling twice ${count} images of ${imageBytes / mebibyte} MiB`)
  const make = async (): Promise<Images> => {
    const images: Images = new Map()
    for (let i = 0; i < count; i += 1) {
      const { id, path } = await makeVolume(plane, imageBytes)
      await fillDense(path, imageBytes)
      images.set(id, path)
    }
    return images
  }
  const [detached, inUse] = [await make(), await make()]
  for (const id of inUse.keys()) await attach(plane, await plane.records.volumes.get(id))
  const pairs = () => [...detached.values()].map((source) => ({ source, target: `${source}.peer` }))
  const contest: Contest = {
    ways: {
      convert: () => convert(pairs(), 'none'),
      detached: () => moveAll(plane, detached),
      cp: () => cpSparse(pairs()),
      idle: () => moveAll(plane, inUse),
    },
    omissions: [],
    close: async () => {},
  }
  const what = `${count} volumes of ${imageBytes / mebibyte} MiB, all allocated`
  const report = (results: Record<string, Copied[]>): Measured => {
    const line = (name: string, title: string, note?: string) =>
      speedRow(results, name, {
        title: `${title} ÷ qemu-img convert of each`,
        bytes,
        ...(note === undefined ? {} : { note }),
      })
    const perVolume = ['detached', 'idle'].flatMap((name) => {
      const each = (results[name] ?? []).map(({ ms }) => ms / count)
      if (each.length === 0) return []
      const title = `${titles[name]}: time for each of them`
      return [row({ name: title, value: median(each), unit: 'ms', spread: spreadOf(each, 0) })]
    })
    const toCp = ratios(
      (results['cp'] ?? []).map(({ ms }) => ms),
      (results['detached'] ?? []).map(({ ms }) => ms),
    )
    const operations = `whole operations, ${sideBySide} at once, with their records and cutovers`
    return {
      rows: [
        ...line('detached', 'Speed, detached', `${what}; ${operations}`),
        ...line('idle', 'Speed, in use, clients idle', operations),
        ...line('cp', '`cp --sparse=always` of each, and sync'),
        ...(toCp.length === 0 || !toCp.every(Number.isFinite)
          ? []
          : [
              row({
                name: 'Speed, detached ÷ `cp --sparse=always`, and sync',
                value: median(toCp),
                unit: '×',
                spread: spreadOf(toCp),
              }),
            ]),
        ...perVolume,
      ],
      charts: contestCharts(results, what, bytes).filter(({ unit }) => unit === 'MiB/s'),
      omissions: contest.omissions,
    }
  }
  return report(await compete(contest, quick ? 3 : 5, context, report))
}

/** By one operation each; the sources are removed when the time has been taken. */
async function moveAll(plane: DataPlane, images: Images): Promise<Copied> {
  const waiting = [...images.keys()]
  const sources: (() => Promise<void>)[] = []
  const begun = performance.now()
  const worker = async (): Promise<void> => {
    for (let id = waiting.pop(); id !== undefined; id = waiting.pop()) {
      const { path, removeSource } = await migrate(plane, id)
      images.set(id, path)
      sources.push(removeSource)
    }
  }
  await Promise.all(Array.from({ length: sideBySide }, worker))
  const ms = performance.now() - begun
  for (const removeSource of sources) await removeSource()
  return { ms }
}

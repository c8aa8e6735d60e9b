import { row, spreadOf, type BenchCase, type Measured, type Row } from '../bench-case.ts'
import { median } from '../measure.ts'
import { compete, contestCharts, openContest, processorRows, speedRow } from '../rig/copy-contest.ts'
import { makeVolume, openDataPlane } from '../rig/data-plane.ts'
import { allocatedBytes, fillExtents } from '../rig/images.ts'
import type { Copied } from '../rig/peers.ts'

const mebibyte = 1024 * 1024
const gibibyte = 1024 * mebibyte
/** Each is one MiB of data, evenly spread. */
const extents = 256

/** A large volume of which little is allocated: what is not there should cost nothing. */
export const copySparse: BenchCase = {
  name: 'copy-sparse',
  title: 'Copy speed of a sparse volume',
  async run(context) {
    const { quick, folder, say } = context
    const sizeBytes = (quick ? 2 : 10) * gibibyte
    const plane = await openDataPlane(folder)
    try {
      const fill = (path: string) => fillExtents(path, sizeBytes, extents, mebibyte)
      say(`filling images of ${sizeBytes / gibibyte} GiB, ${extents} MiB of it allocated`)
      const volume = await makeVolume(plane, sizeBytes)
      await fill(volume.path)
      const bytes = await allocatedBytes(volume.path)
      const contest = await openContest({ plane, volume, sizeBytes, fill, context })
      delete contest.ways['buffered']
      try {
        const report = (results: Record<string, Copied[]>): Measured =>
          measuredOf(results, sizeBytes, bytes, contest.omissions)
        return report(await compete(contest, quick ? 3 : 5, context, report))
      } finally {
        await contest.close()
      }
    } finally {
      await plane.close()
    }
  },
}

function measuredOf(
  results: Record<string, Copied[]>,
  sizeBytes: number,
  bytes: number,
  omissions: string[],
): Measured {
  const what = `${sizeBytes / gibibyte} GiB, ${Math.round(bytes / mebibyte)} MiB of it allocated`
  const line = (name: string, title: string, target?: string): Row[] =>
    speedRow(results, name, {
      title: `${title} ÷ qemu-img convert`,
      bytes,
      ...(target === undefined ? {} : { target }),
    })
  const ms = (results['detached'] ?? []).map((copied) => copied.ms)
  const rows = [
    ...line('detached', 'Copy speed, sparse, detached', '>= 0.9'),
    ...line('idle', 'Copy speed, sparse, in use, client idle', '>= 0.9'),
    ...line('bare', 'Bare QMP mirror'),
    ...line('blockcopy', 'virsh blockcopy'),
    ...line('cp', '`cp --sparse=always`, and sync'),
    ...(ms.length === 0
      ? []
      : [
          row({
            name: 'Copy of it, detached',
            value: median(ms),
            unit: 'ms',
            spread: spreadOf(ms, 0),
            note: what,
          }),
        ]),
    ...processorRows(results, bytes),
  ]
  return { rows, charts: contestCharts(results, `${what}; for each GiB that is allocated`, bytes), omissions }
}

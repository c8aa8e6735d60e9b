import { row, spreadOf, type BenchCase, type Row } from '../bench-case.ts'
import { interleave, median } from '../measure.ts'
import { attach, detach, makeVolume, migrate, openDataPlane, type DataPlane } from '../rig/data-plane.ts'
import { allocatedBytes, fillScattered } from '../rig/images.ts'
import { startLoad } from '../rig/load.ts'

const mebibyte = 1024 * 1024
const sizeBytes = 1024 * mebibyte
/** Scattered over the whole volume, so that any granule larger than a block drags zeroes with it. */
const blocks = 4096

interface Moved {
  ratio: number
  sourceBytes: number
}

/** Whether what is thin at the source is thin at the target. */
export const thinCopy: BenchCase = {
  name: 'thin-copy',
  title: 'Bytes moved for a thin volume',
  run: async ({ folder, quick }) => {
    const plane = await openDataPlane(folder)
    try {
      const detached = await makeVolume(plane, sizeBytes)
      const inUse = await makeVolume(plane, sizeBytes)
      await fillScattered(detached.path, sizeBytes, blocks)
      await fillScattered(inUse.path, sizeBytes, blocks)
      const { attachment, disk } = await attach(plane, inUse)
      const paths = new Map([detached, inUse].map(({ id, path }) => [id, path]))
      const results = await interleave(
        {
          detached: () => move(plane, detached.id, paths),
          inUse: async () => {
            const load = await startLoad({ ...disk, writesPerSecond: 0 })
            const moved = await move(plane, inUse.id, paths)
            await load.stop()
            return moved
          },
        },
        quick ? 2 : 5,
      )
      await detach(plane, attachment)
      return [thinRow('detached', results.detached), thinRow('in use', results.inUse)]
    } finally {
      await plane.close()
    }
  },
}

async function move(plane: DataPlane, volumeId: string, paths: Map<string, string>): Promise<Moved> {
  const sourceBytes = await allocatedBytes(paths.get(volumeId) ?? '')
  const { path, removeSource } = await migrate(plane, volumeId)
  await removeSource()
  paths.set(volumeId, path)
  return { ratio: (await allocatedBytes(path)) / sourceBytes, sourceBytes }
}

const thinRow = (how: string, moved: Moved[]): Row =>
  row({
    name: `Bytes moved ÷ allocated, thin volume, ${how}`,
    value: median(moved.map(({ ratio }) => ratio)),
    unit: '×',
    target: '<= 1.05',
    spread: spreadOf(
      moved.map(({ ratio }) => ratio),
      3,
    ),
    note: `${blocks} single blocks of 4 KiB scattered over ${sizeBytes / mebibyte} MiB; bytes on the file system of the target and of the source`,
    detail: { sourceBytes: moved.map(({ sourceBytes }) => sourceBytes) },
  })

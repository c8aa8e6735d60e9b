import { open } from 'node:fs/promises'
import { randomFillSync } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { kept, row, spreadOf, type BenchCase, type BenchContext, type Row } from '../bench-case.ts'
import { median, timed } from '../measure.ts'
import { openFlexVolPlane, type FlexVolPlane } from '../rig/flexvol.ts'
import { fillDense } from '../rig/images.ts'
import { startLoads } from '../rig/load.ts'

const mebibyte = 2 ** 20
const gibibyte = 2 ** 30

/** Snapshots share blocks: what a move of them costs, and how soon one is there. */
export const snapshots: BenchCase = {
  name: 'snapshots',
  title: 'Snapshots',
  async run(context) {
    const plane = await openFlexVolPlane(24 * gibibyte)
    try {
      const rows = await shared(plane, context)
      context.keep({ rows })
      return kept(context, [...rows, ...(await instant(plane, context))])
    } finally {
      await plane.close()
    }
  },
}

/** A volume of 1 GiB with five snapshots, between two of which 10 MiB were written. */
async function shared(plane: FlexVolPlane, { quick, say }: BenchContext): Promise<Row[]> {
  const { users } = plane
  const size = quick ? gibibyte / 4 : gibibyte
  const differing = quick ? 2.5 * mebibyte : 10 * mebibyte
  const empty = plane.used()
  const id = await users.create({ name: 'shared', size: 1 })
  await fillDense(plane.imageOf(id), size)
  const made: string[] = []
  for (let i = 0; i < 5; i += 1) {
    made.push(await users.snapshot(id, `s${i}`))
    await overwrite(plane.imageOf(id), (i * size) / 5, differing)
  }
  await sleep(2000)
  const before = plane.used() - empty
  const { moved } = await plane.move()
  await sleep(2000)
  const after = plane.used() - empty
  const bytes = moved.images.reduce((sum, image) => sum + image.done_bytes, 0)
  say(`moved ${(bytes / gibibyte).toFixed(3)} GiB, occupied ${(before / gibibyte).toFixed(3)} before`)
  const expected = size + 5 * differing
  for (const snapshotId of made) await users.removeSnapshot(snapshotId)
  await users.remove(id)
  const what = `a volume of ${size / mebibyte} MiB and five snapshots, ${differing / mebibyte} MiB written after each`
  return [
    row({
      name: 'Bytes moved ÷ what a volume and its snapshots hold, shared blocks once',
      value: bytes / expected,
      unit: '×',
      target: '<= 1.05',
      note: `${what}: ${(expected / gibibyte).toFixed(3)} GiB in all, and ${((6 * size) / gibibyte).toFixed(1)} where nothing is shared`,
    }),
    row({ name: '… bytes moved', value: bytes / gibibyte, unit: 'GiB' }),
    row({
      name: 'Occupied at the destination ÷ at the source',
      value: after / before,
      unit: '×',
      target: '<= 1.05',
      note: `what the file systems have in use: ${(before / gibibyte).toFixed(3)} GiB before, ${(after / gibibyte).toFixed(3)} GiB after`,
    }),
  ]
}

async function overwrite(path: string, at: number, bytes: number): Promise<void> {
  const file = await open(path, 'r+')
  try {
    await file.write(randomFillSync(Buffer.alloc(bytes)), 0, bytes, Math.floor(at / mebibyte) * mebibyte)
    await file.sync()
  } finally {
    await file.close()
  }
}

/** From the request until it is `available`, of a volume all of which is allocated. */
async function instant(plane: FlexVolPlane, { quick, say }: BenchContext): Promise<Row[]> {
  const { users } = plane
  const sizeGib = quick ? 1 : 10
  const id = await users.create({ name: 'large', size: sizeGib })
  await fillDense(plane.imageOf(id), sizeGib * gibibyte, 'zero')
  say(`snapshots of ${sizeGib} GiB`)
  const atRest = await snapshotTimes(users, id, quick ? 3 : 7)
  say(`at rest ${median(atRest).toFixed(0)} ms`)
  const orders = (await plane.openHeads([id])).map((address) => ({ ...address, writesPerSecond: 500 }))
  const load = await startLoads(orders)
  await sleep(1000)
  say('its client writes')
  const inUse = await snapshotTimes(users, id, quick ? 3 : 7)
  const [samples] = await load.stop()
  return [
    row({
      name: `Snapshot of a volume of ${sizeGib} GiB, from the request until it is available`,
      value: median(atRest),
      unit: 'ms',
      target: '<= 100',
      spread: spreadOf(atRest, 0),
      note: 'all of it is allocated; nobody uses it; asked for its status every 30 ms',
    }),
    row({
      name: '… while a client writes to it',
      value: median(inUse),
      unit: 'ms',
      target: '<= 100',
      spread: spreadOf(inUse, 0),
      note: '500 writes/s at random places',
    }),
    row({
      name: "… that client's longest write meanwhile",
      value: Math.max(...(samples?.latencyMs ?? [Number.NaN])),
      unit: 'ms',
    }),
  ]
}

async function snapshotTimes(
  users: FlexVolPlane['users'],
  volumeId: string,
  repeats: number,
): Promise<number[]> {
  const times: number[] = []
  for (let i = 0; i < repeats; i += 1) {
    const { ms, result } = await timed(() => users.snapshot(volumeId, `t${i}`))
    times.push(ms)
    await users.removeSnapshot(result)
    await sleep(500)
  }
  return times
}

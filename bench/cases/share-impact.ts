import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { OperationProgress } from '@volant/contract/ndo/operation.ts'
import { ended, until } from '../../test/migration/plane.ts'
import type { NfsGuest } from '../../test/share/nfs-guest.ts'
import { openSharePlane, type SharePlane } from '../../test/share/plane.ts'
import { aggregateFolder, shareImages } from '../../test/share/remains.ts'
import { row, spreadOf, type BenchCase, type Row } from '../bench-case.ts'
import { median, monotonicMs, quantile, ratios } from '../measure.ts'
import { watchGrowth } from '../rig/image-growth.ts'
import { allocatedBytes } from '../rig/images.ts'
import { endShares } from '../rig/share.ts'

/** Each of so many files gets so many records a second, each written and synced before the next. */
const [writers, rate] = [3, 100]
/** What is measured before a copy begins, and after it. */
const beforeMs = 2000
/** Of what is in the image so much counts as all: the clients write meanwhile. */
const nearlyAll = 0.97
const at = '/mnt/share'
const ways = ['governed', 'full'] as const
type Way = (typeof ways)[number]
const names: Record<Way, string> = { governed: 'governed (2 × baseline)', full: 'full speed' }
type Pace = NonNullable<OperationProgress['pace']>

/** One copy of the share's image, and what the client felt. Milliseconds of each record. */
interface Felt {
  before: number[]
  during: number[]
  copyMs: number
  mib: number
  /** As the operation's record told it, at each look. */
  paces: Pace[]
}

/** What a kernel's NFS client feels when its share goes to another aggregate, governed by the share's device and not. */
export const shareImpact: BenchCase = {
  name: 'share-impact',
  title: 'What an NFS client feels of a copy of its share',
  async run({ quick, deadline, say, keep }) {
    const place = await openSharePlane({ say, config: 'copy: { pace: 2x }\n' })
    try {
      const { manila } = place
      const share = await manila.create({ name: 'bench', size: 1 })
      await manila.allow(share, '10.97.0.101')
      const guest = await place.addGuest('client-1')
      await guest.must('mount', { source: await manila.exportPath(share), at, client: guest.address })
      const size = quick ? 512 : 768
      const fill = { file: `${at}/fill`, mode: 'write', block: 1 << 20, size, depth: 4, seconds: 0 }
      await guest.must('bench', fill, 120_000)
      for (let i = 0; i < writers; i += 1)
        await guest.start(`writer-${i}`, 'writer', at, { rate, count: 2048 })
      await guest.goesOn('writer-0', rate * 2)
      const results: Record<Way, Felt[]> = { governed: [], full: [] }
      let rows: Row[] = []
      for (let round = 0; round < (quick ? 2 : 5); round += 1) {
        if (round > 1 && performance.now() > deadline) break
        for (let turn = 0; turn < ways.length; turn += 1) {
          const way = ways[(round + turn) % ways.length] as Way
          const felt = await copyOnce(place, share, guest, way === 'full' ? 'full' : '2x')
          results[way].push(felt)
          say(`${way}: ${textOf(felt)}`)
        }
        rows = rowsOf(results)
        keep({ rows })
      }
      if (guest.findings.length > 0) throw new Error(`the client saw ${guest.findings[0]?.text}`)
      for (let i = 0; i < writers; i += 1) await guest.must('stop', { work: `writer-${i}` })
      await guest.must('umount', { at })
      return rows
    } finally {
      await endShares(place)
    }
  },
}

async function copyOnce(place: SharePlane, share: string, guest: NfsGuest, pace: string): Promise<Felt> {
  const { plane } = place
  const { stateDir, client } = plane
  const { share: found } = await client.ndo.share(share)
  const [truth] = imagesOf(stateDir, 'live')
  const bytes = (await allocatedBytes(truth ?? '')) * nearlyAll
  const calm = Date.now()
  await sleep(beforeMs)
  const before = recordsOf(guest, calm, Date.now())
  const aggregate = found.host?.endsWith('#aggr1') === true ? 'aggr2' : 'aggr1'
  // It is on record before it is there.
  const growth = watchGrowth(async () => imagesOf(stateDir, 'target').find((path) => existsSync(path)), bytes)
  const paces: Pace[] = []
  try {
    const move = await client.ndo.move({ flexvol: found.flexvol?.id ?? '', aggregate, pace })
    const look = async (): Promise<void> => {
      const { operations } = await client.ndo.operations({ parent: move.id, parts: 'true' })
      for (const { progress, phase } of operations)
        if (progress.pace !== null && phase === 'copying') paces.push(progress.pace)
    }
    const over = new AbortController()
    const looking = (async () => {
      for (; !over.signal.aborted; await sleep(200)) await look()
    })()
    // Thrown below.
    looking.catch(() => {})
    const operation = await ended(plane, move.id).finally(() => over.abort())
    await looking
    if (operation.state !== 'succeeded')
      throw new Error(`the move ${operation.state}: ${operation.error?.reason}`)
    // What the client said last.
    await sleep(200)
    const { from, to } = growth.range()
    const offset = Date.now() - monotonicMs()
    await until('the source is removed', 30_000, async () => imagesOf(stateDir, 'retained').length === 0)
    const during = recordsOf(guest, from + offset, to + offset)
    return { before, during, copyMs: to - from, mib: bytes / 2 ** 20, paces }
  } finally {
    growth.stop()
  }
}

/** Paths of the images of shares in this state. */
const imagesOf = (stateDir: string, state: 'live' | 'target' | 'retained'): string[] =>
  shareImages(stateDir, `join flexvols f on f.id = c.flexvol_id where c.state = '${state}'`).map(
    ({ aggregate, path }) => join(aggregateFolder(stateDir, aggregate), path),
  )

/** How long the records took of which the client was told between two instants, `Date.now()`. */
const recordsOf = (guest: NfsGuest, from: number, to: number): number[] =>
  [...guest.acks.values()].flatMap((acks) =>
    acks.filter((ack) => ack.at > from && ack.at <= to).map(({ ms }) => ms),
  )

const speedOf = ({ mib, copyMs }: Felt): number => mib / (copyMs / 1000)
const p99 = (records: readonly number[]): number => quantile(records, 0.99)
const isTold = (value: number | null): value is number => value !== null

function textOf(felt: Felt): string {
  const { before, during, paces } = felt
  const limits = paces.map(({ limit_bytes_per_second: limit }) =>
    limit === null ? '-' : (limit / 2 ** 20).toFixed(0),
  )
  const told = paces.at(-1)
  return (
    `p99 ${p99(before).toFixed(1)} ms of ${before.length}, then ${p99(during).toFixed(1)} ms of ${during.length}; ` +
    `${speedOf(felt).toFixed(0)} MiB/s; limits ${limits.join(' ')}; ${told?.limited_by}, p99 ${told?.p99_ms}, ` +
    `bound ${told?.bound_ms}, baseline ${told?.baseline_ms}`
  )
}

function rowsOf(results: Record<Way, Felt[]>): Row[] {
  const rows: Row[] = []
  for (const way of ways) {
    const felt = results[way]
    const factors = felt.map(({ before, during }) => p99(during) / p99(before))
    const all = (pick: (one: Felt) => number[]): string =>
      [0.5, 0.99].map((fraction) => quantile(felt.flatMap(pick), fraction).toFixed(1)).join(' / ')
    const perSecond = (pick: (one: Felt) => number): string => median(felt.map(pick)).toFixed(0)
    rows.push(
      row({
        name: `${names[way]}: the client's p99 while its share is copied ÷ before`,
        value: median(factors),
        unit: '×',
        spread: spreadOf(factors),
        ...(way === 'governed' ? { target: '<= 2' } : {}),
        note: `p50 / p99 of a record, written and synced: before ${all((one) => one.before)} ms, while ${all((one) => one.during)} ms; ${perSecond((one) => one.before.length / (beforeMs / 1000))} records/s before, ${perSecond((one) => one.during.length / (one.copyMs / 1000))} while copying`,
        detail: {
          p99BeforeMs: felt.map(({ before }) => p99(before)),
          p99WhileMs: felt.map(({ during }) => p99(during)),
        },
      }),
      row({
        name: `${names[way]}: copy speed`,
        value: median(felt.map(speedOf)),
        unit: 'MiB/s',
        spread: spreadOf(felt.map(speedOf), 0),
      }),
    )
  }
  const speeds = ratios(results.governed.map(speedOf), results.full.map(speedOf))
  return [
    ...rows,
    row({
      name: 'Copy speed, governed ÷ full speed',
      value: median(speeds),
      unit: '×',
      spread: spreadOf(speeds),
    }),
    ...recordRows(results.governed),
  ]
}

/** What the governed copies' records say: whether the share's device was felt at all. */
function recordRows(felt: readonly Felt[]): Row[] {
  const paces = felt.flatMap((one) => one.paces)
  const shares = felt.map(
    (one) => one.paces.filter(({ p99_ms: ms }) => ms !== null).length / one.paces.length,
  )
  const baselines = paces.map(({ baseline_ms: ms }) => ms).filter(isTold)
  const bounds = paces.map(({ bound_ms: ms }) => ms).filter(isTold)
  const told = paces.map(({ p99_ms: ms }) => ms).filter(isTold)
  const unknown = paces.filter(({ limited_by: by }) => by === 'unknown').length
  return [
    row({
      name: "Looks at a governed copy with a p99 of the share's device",
      value: median(shares),
      unit: 'of all',
      spread: spreadOf(shares),
      note: `${paces.length} looks; of ${unknown} the device's latency was not known`,
    }),
    row({
      name: "… the device's p99 by the operation's record, median of all looks",
      value: median(told),
      unit: 'ms',
      spread: spreadOf(told),
      note: `baseline ${median(baselines).toFixed(2)} ms (${spreadOf(baselines)}), bound ${median(bounds).toFixed(2)} ms (${spreadOf(bounds)}); the device is below the NFS server, and sees less than the client`,
    }),
  ]
}

import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { row, spreadOf, type BenchCase, type BenchContext, type Measured, type Row } from '../bench-case.ts'
import { median, quantile, ratios } from '../measure.ts'
import {
  longestCopyMs,
  migrateInCinder,
  poolName,
  startCinder,
  type Cinder,
  type CinderWay,
} from '../rig/cinder/cinder.ts'
import { insertCinderVolumes } from '../rig/cinder/volume-rows.ts'
import { serve } from '../rig/control-plane.ts'
import { compete, contestCharts, faster, titles } from '../rig/copy-contest.ts'
import { copyIn, makeVolume, migrate, openDataPlane, pathOf, type DataPlane } from '../rig/data-plane.ts'
import { crowd, type Crowd } from '../rig/http-clients.ts'
import { fillDense } from '../rig/images.ts'
import { convert, type Copied } from '../rig/peers.ts'
import { openRequests } from '../rig/requests.ts'
import { insertVolumes } from '../rig/volume-rows.ts'

const volumeCount = 1000
const pageSize = 100
const clients = 8
const askEveryMs = 2
const sizeBytes = 2 ** 30
const favours = 'it checks no tokens'

/** A Cinder of Debian's packages with a Ceph of one node, asked and told the same as Volant, in turns. */
export const cinder: BenchCase = {
  name: 'cinder',
  title: 'Beside a real Cinder: API and migration',
  async run(context) {
    const folder = join(context.folder, 'c')
    await mkdir(folder)
    const peer = await startCinder(folder, context.say)
    try {
      const rows = await measureApi(peer, context)
      context.keep({ rows })
      return await measureCopies(peer, rows, context)
    } finally {
      await peer.stop()
    }
  },
}

const roundsOf = ({ quick }: BenchContext): number => (quick ? 3 : 5)

/** One that is asked: both understand the same requests. */
interface Asked {
  url: string
  headers: Record<string, string>
  volumes: string
  ids: string[]
  /** Requests of one round that take some seconds. */
  counts: { show: number; list: number; create: number }
  send(method: string, path: string, body?: unknown): Promise<unknown>
}

interface ApiRound {
  show: Crowd
  list: Crowd
  createMs: number[]
}

async function measureApi(peer: Cinder, context: BenchContext): Promise<Row[]> {
  const { folder, say } = context
  const stateDir = join(folder, 's')
  const first = await serve(stateDir)
  const owner = await openRequests(first.credentials)
  owner.close()
  await first.stop()
  const ids = await insertVolumes(stateDir, owner, volumeCount, 2 ** 20)
  const served = await serve(stateDir)
  const requests = await openRequests(served.credentials)
  const root = `/volume/v3/${requests.projectId}`
  const send: Asked['send'] = async (...what) => {
    const { text } = await requests.send(...what)
    return text === '' ? undefined : (JSON.parse(text) as unknown)
  }
  try {
    await send('PUT', `${root}/os-quota-sets/${requests.projectId}`, {
      quota_set: { volumes: -1, gigabytes: -1 },
    })
    const volant: Asked = {
      url: served.url,
      headers: { ...peer.headers, 'x-auth-token': requests.token },
      ...{ volumes: `${root}/volumes`, ids, send },
      counts: { show: 4000, list: 1200, create: 10 },
    }
    const { id } = await createOne(peer, 'first')
    const cinder: Asked = {
      ...{ url: peer.url, headers: peer.headers, volumes: peer.volumes, send: peer.send },
      ids: await insertCinderVolumes(peer, id, volumeCount - 1),
      counts: { show: 120, list: 40, create: 5 },
    }
    say('warming up')
    for (const one of [volant, cinder]) await ask(one)
    const results: { volant: ApiRound[]; cinder: ApiRound[] } = { volant: [], cinder: [] }
    for (let round = 0; round < roundsOf(context); round += 1) {
      say(`API, round ${round + 1}`)
      const turns = [() => ask(volant).then(to(results.volant)), () => ask(cinder).then(to(results.cinder))]
      for (const turn of round % 2 === 0 ? turns : turns.toReversed()) await turn()
      context.keep({ rows: apiRows(results) })
    }
    return apiRows(results)
  } finally {
    requests.close()
    await served.stop()
  }
}

const to =
  <T>(all: T[]) =>
  (one: T): void =>
    void all.push(one)

async function ask(one: Asked): Promise<ApiRound> {
  const { url, headers, volumes, ids, counts } = one
  const target = { url, headers }
  const some = Array.from({ length: counts.show }, (_, i) => ids[(i * 7919) % ids.length] ?? '')
  const show = await crowd(target, {
    ...{ clients, count: counts.show },
    paths: some.map((id) => `${volumes}/${id}`),
  })
  const paths = [`${volumes}/detail?limit=${pageSize}`]
  const list = await crowd(target, { clients, count: counts.list, paths })
  const createMs: number[] = []
  for (let i = 0; i < counts.create; i += 1) createMs.push((await createOne(one, `made-${i}`)).ms)
  return { show, list, createMs }
}

async function createOne(
  { send, volumes }: Pick<Asked, 'send' | 'volumes'>,
  name: string,
): Promise<{ id: string; ms: number }> {
  interface One {
    volume: { id: string; status: string }
  }
  const begun = performance.now()
  const { volume } = (await send('POST', volumes, { volume: { name, size: 1 } })) as One
  for (;;) {
    const { status } = ((await send('GET', `${volumes}/${volume.id}`)) as One).volume
    const ms = performance.now() - begun
    if (status === 'available') return { id: volume.id, ms }
    if (status !== 'creating' || ms > 30_000) {
      throw new Error(`A new volume is ${status} after ${ms.toFixed(0)} ms.`)
    }
    await sleep(askEveryMs)
  }
}

function apiRows({ volant, cinder }: { volant: ApiRound[]; cinder: ApiRound[] }): Row[] {
  const reads = (['show', 'list'] as const).flatMap((kind) => {
    const perSecond = (rounds: ApiRound[]) => rounds.map((round) => round[kind].perSecond)
    const p50 = (rounds: ApiRound[]) =>
      quantile(
        rounds.flatMap((round) => round[kind].latencies),
        0.5,
      )
    const [own, others] = [perSecond(volant), perSecond(cinder)]
    const what = kind === 'show' ? 'Show one' : `List ${pageSize} in detail`
    const note =
      kind === 'show'
        ? `any of ${volumeCount} volumes, ${clients} clients`
        : `the newest of ${volumeCount} volumes again and again, ${clients} clients`
    return [
      ratioRow(`${what}, requests/s: Volant ÷ Cinder`, ratios(own, others), `${note}; Cinder: ${favours}`),
      absoluteRow(`${what}, Volant`, own, 'requests/s', `p50 ${p50(volant).toFixed(1)} ms`),
      absoluteRow(`${what}, Cinder`, others, 'requests/s', `p50 ${p50(cinder).toFixed(0)} ms`),
    ]
  })
  const times = (rounds: ApiRound[]) => rounds.map(({ createMs }) => median(createMs))
  const [own, others] = [times(volant), times(cinder)]
  return [
    ...reads,
    ratioRow(
      'Create to available, time: Volant ÷ Cinder',
      ratios(own, others),
      `medians of ${volant[0]?.createMs.length} and ${cinder[0]?.createMs.length} in each round, one after the other; the status is asked for every ${askEveryMs} ms`,
    ),
    absoluteRow('Create to available, Volant', own, 'ms'),
    absoluteRow('Create to available, Cinder', others, 'ms'),
  ]
}

const ratioRow = (name: string, samples: number[], note: string): Row =>
  row({ name, value: median(samples), unit: '× Cinder', spread: spreadOf(samples, 3), note })

const absoluteRow = (name: string, samples: number[], unit: string, note?: string): Row =>
  row({
    ...{ name, value: median(samples), unit, spread: spreadOf(samples, 0) },
    ...(note === undefined ? {} : { note }),
  })

Object.assign(titles, {
  'volant migration': 'Volant, whole migration, and the source removed',
  assisted: 'Cinder, migration within the Ceph',
  'by host': 'Cinder, migration by the host',
})

/** 1 GiB of random bytes between two pools: of Volant's two folders, of Cinder's one Ceph. All on the same disk. */
async function measureCopies(peer: Cinder, apiFound: Row[], context: BenchContext): Promise<Measured> {
  const { folder, say } = context
  const dataFolder = join(folder, 'd')
  await mkdir(dataFolder)
  const plane = await openDataPlane(dataFolder)
  try {
    say('filling a volume of 1 GiB in each')
    const volume = await makeVolume(plane, sizeBytes)
    await fillDense(volume.path, sizeBytes)
    const still = await makeVolume(plane, sizeBytes)
    await fillDense(still.path, sizeBytes)
    const { id } = await createOne(peer, 'copied')
    const pool = (await peer.show(id))['os-vol-host-attr:host'] === poolName('one') ? 'one' : 'two'
    await peer.ceph.fill(`${pool}/volume-${id}`, sizeBytes)
    const inCinder = async (way: CinderWay): Promise<Copied> => ({ ms: await migrateInCinder(peer, id, way) })
    const target = `${pathOf(plane, copyIn(plane.lmb, still.id, sizeBytes))}.peer`
    const ways = {
      convert: () => convert([{ source: still.path, target }], 'none'),
      'volant migration': () => migrateInVolant(plane, volume.id),
      assisted: () => inCinder('assisted'),
      'by host': () => inCinder('by host'),
    }
    const omissions: string[] = []
    const report = (results: Record<string, Copied[]>): Measured => ({
      rows: [...apiFound, ...copyRows(results)],
      // The other one is of processor time, of which only the reference's is known.
      charts: contestCharts(results, '1 GiB, all allocated', sizeBytes).slice(0, 1),
      omissions,
    })
    return report(
      await compete(
        { ways, omissions, longestMs: longestCopyMs + 5000, close: async () => {} },
        roundsOf(context),
        context,
        report,
      ),
    )
  } finally {
    await plane.close()
  }
}

async function migrateInVolant(plane: DataPlane, id: string): Promise<Copied> {
  const begun = performance.now()
  const { removeSource } = await migrate(plane, id)
  await removeSource()
  return { ms: performance.now() - begun }
}

function copyRows(results: Record<string, Copied[]>): Row[] {
  const versus = (name: string, way: string, note: string): Row[] => {
    const found = faster(results, 'volant migration', way)
    return found.length === 0 ? [] : [ratioRow(name, found, note)]
  }
  const rates = Object.entries(results).flatMap(([way, copies]) => {
    if (copies.length === 0) return []
    const samples = copies.map(({ ms }) => sizeBytes / 2 ** 20 / (ms / 1000))
    const beside = faster(results, way)
    const note =
      way === 'convert' || beside.length === 0 ? undefined : `${median(beside).toFixed(2)} × convert`
    return [absoluteRow(`1 GiB, all allocated: ${titles[way]}`, samples, 'MiB/s', note)]
  })
  return [
    ...versus(
      'Migration of a detached volume, speed: Volant ÷ Cinder by the host',
      'by host',
      '1 GiB, all allocated; `force_host_copy`: what Cinder does between any two drivers',
    ),
    ...versus(
      'Migration of a detached volume, speed: Volant ÷ Cinder within the Ceph',
      'assisted',
      'both pools are of one Ceph, whose library copies; not what Cinder does between two clusters',
    ),
    ...rates,
  ]
}

import { join } from 'node:path'
import { row, spreadOf, type BenchCase, type BenchContext, type Row } from '../bench-case.ts'
import { interleave, median, quantile } from '../measure.ts'
import { serve, type Served } from '../rig/control-plane.ts'
import { drive, openRequests, type Requests } from '../rig/requests.ts'
import { insertVolumes } from '../rig/volume-rows.ts'

const manyClients = 16
const pageSize = 100

interface Cloud {
  served: Served
  requests: Requests
  volumes: number
  ids: string[]
}

interface Round {
  /** Of one client that asks again as soon as it is answered. */
  alone: { latencies: number[]; perSecond: number }
  /** Of 16 such clients at once. */
  crowd: { latencies: number[]; perSecond: number }
}

/** Reading volumes over HTTP, with few and with many of them in the database. */
export const api: BenchCase = {
  name: 'api',
  title: 'API: show one volume, list 100 in detail',
  async run(context) {
    const clouds: Cloud[] = []
    try {
      for (const volumes of [1000, 100_000]) clouds.push(await openCloud(context, volumes))
      return await measure(clouds, context)
    } finally {
      for (const { served, requests } of clouds) {
        requests.close()
        await served.stop()
      }
    }
  },
}

/** The first start makes the tables and the administrator, the second one serves what was put in between. */
async function openCloud({ folder, say }: BenchContext, volumes: number): Promise<Cloud> {
  const stateDir = join(folder, `s${volumes}`)
  const first = await serve(stateDir)
  const { projectId, userId, close } = await openRequests(first.credentials)
  close()
  await first.stop()
  say(`inserting ${volumes} volumes`)
  const ids = await insertVolumes(stateDir, { projectId, userId }, volumes)
  const served = await serve(stateDir)
  return { served, requests: await openRequests(served.credentials), volumes, ids }
}

async function measure(clouds: Cloud[], { quick, say }: BenchContext): Promise<Row[]> {
  const variants: Record<string, () => Promise<Round>> = {}
  for (const cloud of clouds) {
    const { show, list } = pathsOf(cloud)
    variants[`show ${cloud.volumes}`] = () => oneRound(cloud.requests, show, 200)
    variants[`list ${cloud.volumes}`] = () => oneRound(cloud.requests, list, 60)
  }
  say('warming up')
  await interleave(variants, 1)
  const results = await interleave(variants, quick ? 3 : 8)
  const rows: Row[] = []
  for (const { volumes } of clouds) {
    const of = volumes.toLocaleString('en')
    rows.push(...rowsOf(`Show one of ${of} volumes`, results[`show ${volumes}`] ?? []))
    const target = volumes === 100_000 ? '<= 20' : undefined
    rows.push(
      ...rowsOf(`List ${pageSize} of ${of} volumes in detail`, results[`list ${volumes}`] ?? [], target),
    )
  }
  const p50 = (name: string) => median((results[name] ?? []).flatMap(({ alone }) => alone.latencies))
  const growth = p50('list 100000') / p50('list 1000')
  rows.push(row({ name: 'List 100 of 100,000 ÷ of 1,000 volumes, p50', value: growth, unit: '×' }))
  return rows
}

/** Volumes and pages from everywhere: every second list is the first page, the others begin at some volume. */
function pathsOf({ ids, requests }: Cloud) {
  const root = `/volume/v3/${requests.projectId}/volumes`
  const someId = (i: number): string => ids[(i * 7919) % ids.length] ?? ''
  const marker = (i: number): string => (i % 2 === 0 ? '' : `&marker=${someId(i)}`)
  return {
    show: (i: number) => `${root}/${someId(i)}`,
    list: (i: number) => `${root}/detail?limit=${pageSize}${marker(i)}`,
  }
}

async function oneRound(requests: Requests, path: (i: number) => string, count: number): Promise<Round> {
  const alone = await drive(requests, { clients: 1, count, path })
  return { alone, crowd: await drive(requests, { clients: manyClients, count: 2 * count, path }) }
}

function rowsOf(name: string, rounds: Round[], target?: string): Row[] {
  const alone = rounds.flatMap((round) => round.alone.latencies)
  const crowd = rounds.flatMap((round) => round.crowd.latencies)
  const rates = rounds.map((round) => round.crowd.perSecond)
  const p99s = rounds.map((round) => quantile(round.alone.latencies, 0.99))
  return [
    row({
      name: `${name}, p50`,
      value: quantile(alone, 0.5),
      unit: 'ms',
      spread: spreadOf(rounds.map((round) => quantile(round.alone.latencies, 0.5))),
    }),
    row({
      name: `${name}, p99`,
      value: quantile(alone, 0.99),
      unit: 'ms',
      ...(target === undefined ? {} : { target }),
      spread: spreadOf(p99s),
      note: `${alone.length} requests, one client; with ${manyClients} clients at once p50 ${quantile(crowd, 0.5).toFixed(1)} ms, p99 ${quantile(crowd, 0.99).toFixed(1)} ms`,
      detail: { requestsPerSecondAlone: Math.round(median(rounds.map((round) => round.alone.perSecond))) },
    }),
    row({
      name: `${name}, ${manyClients} clients`,
      value: median(rates),
      unit: 'requests/s',
      spread: spreadOf(rates, 0),
    }),
  ]
}

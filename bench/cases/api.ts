import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { kept, row, spreadOf, type BenchCase, type BenchContext, type Row } from '../bench-case.ts'
import { median, quantile } from '../measure.ts'
import { serve, type Served } from '../rig/control-plane.ts'
import { crowd, type Crowd } from '../rig/http-clients.ts'
import { openRequests, type Requests } from '../rig/requests.ts'
import { insertVolumes } from '../rig/volume-rows.ts'

const pageSize = 100
/** As many as keep the server busy all the time; more of them only wait longer. */
const fewClients = 8
const manyClients = 200
/** Of the one that the targets are for. */
const targetVolumes = 100_000
/** Small, so that the pools have room for what is created. */
const imageBytes = 2 ** 20

interface Cloud {
  served: Served
  requests: Requests
  volumes: number
  ids: string[]
  startMs: number
  idleMib: number
}

/** What is asked, and how often in one round by one client, by a few, and by many at once. */
interface Question {
  name: (of: string) => string
  paths: (cloud: Cloud, round: number) => string[]
  counts: { alone: number; few: number; many: number }
  target: string
}

interface Round {
  alone: Crowd
  few: Crowd
  many: Crowd
}

const root = ({ requests }: Cloud): string => `/volume/v3/${requests.projectId}/volumes`

/** Ids from everywhere, but for the oldest, after which there is no whole page. */
const idsFor = ({ ids }: Cloud, round: number, count: number): string[] => {
  const some = ids.slice(2 * pageSize)
  return Array.from({ length: count }, (_, i) => some[((round * count + i) * 7919) % some.length] ?? '')
}

const questions: Question[] = [
  {
    name: (of) => `Show one of ${of} volumes`,
    paths: (cloud, round) => idsFor(cloud, round, 2000).map((id) => `${root(cloud)}/${id}`),
    counts: { alone: 400, few: 4000, many: 4000 },
    target: '>= 5000',
  },
  {
    name: (of) => `List the newest 100 of ${of} volumes in detail`,
    paths: (cloud) => [`${root(cloud)}/detail?limit=${pageSize}`],
    counts: { alone: 150, few: 1200, many: 1200 },
    target: '>= 1000',
  },
  {
    name: (of) => `List 100 from anywhere among ${of} volumes in detail`,
    paths: (cloud, round) =>
      // The offset makes them other pages where there are few volumes: none is asked for again.
      idsFor(cloud, round, 1500).map(
        (id, i) => `${root(cloud)}/detail?limit=${pageSize}&marker=${id}&offset=${(i + round) % 37}`,
      ),
    counts: { alone: 100, few: 700, many: 700 },
    target: '>= 1000',
  },
]

/** Reading and creating volumes over HTTP, with few and with very many of them in the database. */
export const api: BenchCase = {
  name: 'api',
  title: 'API: show one volume, list 100 in detail, create one',
  async run(context) {
    const clouds: Cloud[] = []
    try {
      const sizes = context.quick ? [1000, targetVolumes] : [1000, targetVolumes, 1_000_000]
      for (const volumes of sizes) clouds.push(await openCloud(context, volumes))
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
  const ids = await insertVolumes(stateDir, { projectId, userId }, volumes, imageBytes)
  const served = await serve(stateDir)
  await sleep(1000)
  const idleMib = await residentMib(served)
  const requests = await openRequests(served.credentials)
  await requests.send('PUT', `/volume/v3/${projectId}/os-quota-sets/${projectId}`, {
    quota_set: { volumes: -1, gigabytes: -1 },
  })
  return { served, requests, volumes, ids, startMs: served.firstRequestMs, idleMib }
}

async function measure(clouds: Cloud[], context: BenchContext): Promise<Row[]> {
  const variants: Record<string, (round: number) => Promise<Round>> = {}
  for (const cloud of clouds) {
    for (const [index, question] of questions.entries()) {
      variants[`${index} ${cloud.volumes}`] = (round) => ask(cloud, question, round + 1)
    }
  }
  context.say('warming up')
  for (const cloud of clouds) {
    for (const question of questions) {
      const { few } = question.counts
      await crowdOf(cloud, question.paths(cloud, 0), fewClients, few)
    }
  }
  const results: Results = {}
  const rounds = context.quick ? 3 : 6
  // What follows the rounds takes some seconds itself.
  const end = context.deadline - 10_000
  for (let round = 0, tookMs = 0; round < rounds; round += 1) {
    // One is made on any machine, however busy.
    if (round > 0 && performance.now() + tookMs > end) break
    const begun = performance.now()
    // In turns, each round beginning with the next one: what the machine does meanwhile falls on all alike.
    const names = Object.keys(variants)
    for (let turn = 0; turn < names.length; turn += 1) {
      const name = names[(round + turn) % names.length] ?? ''
      const one = await variants[name]?.(round)
      if (one !== undefined) (results[name] ??= []).push(one)
    }
    tookMs = performance.now() - begun
    context.keep({ rows: readRows(clouds, results) })
  }
  const rows = readRows(clouds, results)
  kept(context, rows)
  for (const cloud of clouds) rows.push(...(await createRows(cloud, context.quick ? 15 : 40)))
  for (const cloud of clouds) rows.push(...(await processRows(cloud)))
  return kept(context, rows)
}

type Results = Record<string, Round[]>

function readRows(clouds: Cloud[], results: Results): Row[] {
  const of = (index: number, volumes: number): Round[] => results[`${index} ${volumes}`] ?? []
  const rows: Row[] = []
  for (const [index, question] of questions.entries()) {
    for (const { volumes } of clouds) rows.push(...rowsOf(question, volumes, of(index, volumes)))
  }
  for (const [index, { name }] of questions.entries()) {
    for (const { volumes } of clouds.slice(1)) {
      rows.push(growthRow(name('N'), volumes, of(index, volumes), of(index, clouds[0]?.volumes ?? 0)))
    }
  }
  return rows
}

const crowdOf = ({ served, requests }: Cloud, paths: string[], clients: number, count: number) =>
  crowd(
    {
      url: served.url,
      headers: {
        accept: 'application/json',
        'openstack-api-version': 'volume 3.70',
        'x-auth-token': requests.token,
      },
    },
    { clients, count, paths },
  )

/** Each crowd asks for other things than the one before it. */
async function ask(cloud: Cloud, { paths, counts }: Question, round: number): Promise<Round> {
  const all = paths(cloud, round)
  const part = (from: number): string[] => [
    ...all.slice(from % all.length),
    ...all.slice(0, from % all.length),
  ]
  return {
    alone: await crowdOf(cloud, part(0), 1, counts.alone),
    few: await crowdOf(cloud, part(counts.alone), fewClients, counts.few),
    many: await crowdOf(cloud, part(counts.alone + counts.few), manyClients, counts.many),
  }
}

function rowsOf({ name, target }: Question, volumes: number, rounds: Round[]): Row[] {
  const what = name(volumes.toLocaleString('en'))
  const isTarget = volumes === targetVolumes
  const perSecond = rounds.map(({ few }) => few.perSecond)
  const p99s = rounds.map(({ few }) => quantile(few.latencies, 0.99))
  const manyPerSecond = rounds.map(({ many }) => many.perSecond)
  const manyLatencies = rounds.flatMap(({ many }) => many.latencies)
  const alone = rounds.flatMap((round) => round.alone.latencies)
  const generator = median(rounds.map(({ few }) => few.generatorCores))
  const mib = median(rounds.map(({ few }) => few.mibPerSecond))
  return [
    row({
      name: what,
      value: median(perSecond),
      unit: 'requests/s',
      ...(isTarget && { target }),
      spread: spreadOf(perSecond, 0),
      note: `${fewClients} clients, ${mib.toFixed(0)} MiB/s; the load generator takes ${generator.toFixed(2)} of a core`,
    }),
    row({
      name: `… p99`,
      value: median(p99s),
      unit: 'ms',
      ...(isTarget && { target: '<= 20' }),
      spread: spreadOf(p99s),
    }),
    row({
      name: `… with ${manyClients} clients at once`,
      value: median(manyPerSecond),
      unit: 'requests/s',
      spread: spreadOf(manyPerSecond, 0),
      note: `p50 ${quantile(manyLatencies, 0.5).toFixed(0)} ms, p99 ${quantile(manyLatencies, 0.99).toFixed(0)} ms: each waits for all the others`,
    }),
    row({
      name: `… one client alone, p50`,
      value: quantile(alone, 0.5),
      unit: 'ms',
      spread: spreadOf(rounds.map((round) => quantile(round.alone.latencies, 0.5))),
      note: `p99 ${quantile(alone, 0.99).toFixed(1)} ms`,
    }),
  ]
}

function growthRow(name: string, volumes: number, many: Round[], few: Round[]): Row {
  const p50 = ({ alone }: Round): number => quantile(alone.latencies, 0.5)
  const ratios = many.map((round, index) => p50(round) / p50(few[index] ?? round))
  return row({
    name: `${name}: of ${volumes.toLocaleString('en')} ÷ of 1,000, p50`,
    value: median(ratios),
    unit: '×',
    spread: spreadOf(ratios),
  })
}

async function createRows(cloud: Cloud, count: number): Promise<Row[]> {
  const times: number[] = []
  for (let i = 0; i < count + 3; i += 1) times.push(await createOne(cloud, i))
  // The first ones find the pools' space unasked for.
  const counted = times.slice(3)
  return [
    row({
      name: `Create to available, ${cloud.volumes.toLocaleString('en')} volumes there, p50`,
      value: quantile(counted, 0.5),
      unit: 'ms',
      spread: spreadOf(counted, 1),
      note: `${count} volumes, one after the other; p99 ${quantile(counted, 0.99).toFixed(0)} ms`,
    }),
  ]
}

async function createOne(cloud: Cloud, i: number): Promise<number> {
  const { requests } = cloud
  const begun = performance.now()
  const created = await requests.send('POST', root(cloud), { volume: { name: `made-${i}`, size: 1 } })
  const { volume } = JSON.parse(created.text) as { volume: { id: string } }
  for (;;) {
    const shown = await requests.send('GET', `${root(cloud)}/${volume.id}`)
    const { status } = (JSON.parse(shown.text) as { volume: { status: string } }).volume
    const ms = performance.now() - begun
    if (status === 'available') return ms
    if (status !== 'creating' || ms > 10_000) {
      throw new Error(`A new volume is ${status} after ${ms.toFixed(0)} ms.`)
    }
    await sleep(2)
  }
}

async function processRows(cloud: Cloud): Promise<Row[]> {
  const of = cloud.volumes.toLocaleString('en')
  await sleep(1000)
  return [
    row({ name: `Start with ${of} volumes`, value: cloud.startMs / 1000, unit: 's' }),
    row({ name: `Resident with ${of} volumes, idle`, value: cloud.idleMib, unit: 'MiB' }),
    row({
      name: `Resident with ${of} volumes, after all that`,
      value: await residentMib(cloud.served),
      unit: 'MiB',
    }),
  ]
}

async function residentMib({ pid }: Served): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) / 1024
}

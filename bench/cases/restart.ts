import { open, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { createClient, type VolantClient } from '@volant/client'
import { isSettled, type Operation } from '@volant/contract/ndo/operation.ts'
import { stopDataPlane } from '@volant/control/stop-all.ts'
import { row, spreadOf, type BenchCase, type BenchContext } from '../bench-case.ts'
import { median } from '../measure.ts'
import { serve, type Served } from '../rig/control-plane.ts'
import { openRequests } from '../rig/requests.ts'
import { killHolders, leaveBegun } from '../rig/unfinished.ts'
import { insertVolumes } from '../rig/volume-rows.ts'

const volumes = 10_000
const mebibyte = 1024 * 1024
const dataBytes = 16 * mebibyte
/** Slow enough that no copy ends while it is measured. */
const bytesPerSecond = 96 * 1024
const allWithinMs = 60_000

interface Restarted {
  /** From the process's start to the first answer to a request of the administrator. Milliseconds. */
  readyMs: number
  /** From there until each operation had been carried on, in order. Milliseconds. */
  carriedOnMs: number[]
}

/** How soon a control plane that was killed is there again, and has everything in hand that was under way. */
export const restart: BenchCase = {
  name: 'restart',
  title: 'Start with 10,000 volumes and 100 unfinished operations',
  async run(context) {
    const all: Restarted[] = []
    for (let round = 0; round < (context.quick ? 1 : 2); round += 1) {
      const stateDir = join(context.folder, `s${round}`)
      try {
        all.push(await once(stateDir, context))
      } finally {
        await stopDataPlane(stateDir)
        await rm(stateDir, { recursive: true, force: true })
      }
    }
    return rowsOf(all)
  },
}

function rowsOf(all: Restarted[]) {
  const line = (name: string, values: number[], more: { target?: string; note?: string } = {}) => {
    const seconds = values.map((ms) => ms / 1000)
    return row({ name, value: median(seconds), unit: 's', spread: spreadOf(seconds), ...more })
  }
  return [
    line(
      'Start to ready',
      all.map(({ readyMs }) => readyMs),
      {
        target: '<= 3',
        note: 'from the start of the process until a list of operations is answered; the one before was killed in the midst of all of them',
      },
    ),
    line(
      'From ready until all operations are carried on',
      all.map(({ carriedOnMs }) => Math.max(...carriedOnMs)),
      {
        target: '<= 5',
        note: '50 migrations whose copies ran on, 20 whose storage daemons were killed meanwhile, 10 volumes being made, 10 deleted, 10 extended; a migration is carried on when its copy, begun anew where its daemon had died, has obeyed the wish to pause, the others when they have ended',
      },
    ),
    line(
      '… half of them',
      all.map(({ carriedOnMs }) => median(carriedOnMs)),
    ),
  ]
}

/** With the rows of a cloud, while nobody else has the database open. */
async function fill(stateDir: string): Promise<void> {
  const empty = await serve(stateDir)
  const owner = await openRequests(empty.credentials).finally(() => empty.kill())
  owner.close()
  await insertVolumes(stateDir, owner, volumes, 4096)
}

async function once(stateDir: string, { say, quick }: BenchContext): Promise<Restarted> {
  const share = quick ? 0.2 : 1
  const [copying, orphaned, changed, made] = [50 * share, 20 * share, 20 * share, 10 * share]
  await fill(stateDir)
  const first = await serve(stateDir)
  let ids: string[]
  let moving: string[]
  try {
    const client = createClient(first.credentials)
    say('makes volumes and starts migrations')
    ids = await makeVolumes(client, copying + orphaned + changed)
    moving = await startMigrations(client, ids.slice(0, copying + orphaned))
  } finally {
    await first.kill()
  }
  if (killHolders(stateDir, orphaned) !== orphaned) throw new Error('There are too few movers.')
  const begun = await leaveBegun(stateDir, ids.slice(copying + orphaned), made)
  const second = await serve(stateDir)
  try {
    return await carriedOn(second, moving, begun)
  } finally {
    await second.kill()
  }
}

/** Volumes of 1 GiB, of which 16 MiB are written. */
async function makeVolumes(client: VolantClient, count: number): Promise<string[]> {
  const data = Buffer.alloc(dataBytes, 0x5a)
  const project = await client.session.projectId()
  const quota = { quota_set: { volumes: -1, gigabytes: -1 } }
  await client.session.json('PUT', `/volume/v3/${project}/os-quota-sets/${project}`, { body: quota })
  const ids: string[] = []
  for (let i = 0; i < count; i += 1) {
    const { id } = await client.volume.create({ name: `moving-${i}`, size: 1 })
    await until(`volume ${i} is available`, async () => (await client.volume.show(id)).status === 'available')
    const { path } = await client.ndo.placement(id)
    const file = await open(path ?? '', 'r+')
    await file.write(data, 0, data.length, 0)
    await file.close()
    ids.push(id)
  }
  return ids
}

async function poolOf(client: VolantClient, backend: string): Promise<string> {
  const pool = (await client.volume.pools()).find(({ name }) => name.includes(`@${backend}#`))
  if (pool === undefined) throw new Error(`There is no pool of ${backend}.`)
  return pool.name
}

async function startMigrations(client: VolantClient, volumeIds: string[]): Promise<string[]> {
  const [lma, lmb] = [await poolOf(client, 'cinder-lma'), await poolOf(client, 'cinder-lmb')]
  const ids: string[] = []
  for (const volume of volumeIds) {
    const at = (await client.volume.show(volume))['os-vol-host-attr:host'] ?? ''
    const host = at.includes('@cinder-lma#') ? lmb : lma
    ids.push((await client.ndo.migrate({ volume, host, rate: bytesPerSecond })).id)
  }
  for (const id of ids)
    await until('the copies run', async () => (await client.ndo.operation(id)).step === 'inSync')
  return ids
}

/** Whether the control plane has it in hand: it has ended, or its copy obeys. */
const isInHand = (operation: Operation, moving: ReadonlySet<string>): boolean =>
  moving.has(operation.id) ? operation.phase === 'paused' : isSettled(operation.state)

async function carriedOn(
  served: Served,
  moving: readonly string[],
  begun: readonly string[],
): Promise<Restarted> {
  const client = createClient(served.credentials)
  await client.ndo.operations({ limit: 1 })
  const readyAt = performance.now()
  const pausing = Promise.all(moving.map((id) => client.ndo.pause(id)))
  const open = new Set([...moving, ...begun])
  const movingSet = new Set(moving)
  const carriedOnMs: number[] = []
  while (open.size > 0) {
    const { operations } = await client.ndo.operations({ limit: 200 })
    const now = performance.now() - readyAt
    for (const operation of operations) {
      if (!open.has(operation.id)) continue
      if (operation.state === 'failed' || operation.state === 'needs-attention') {
        throw new Error(`${operation.kind} ${operation.state}: ${operation.error?.reason ?? 'no reason'}`)
      }
      if (!isInHand(operation, movingSet)) continue
      open.delete(operation.id)
      carriedOnMs.push(now)
    }
    if (now > allWithinMs)
      throw new Error(`${open.size} operations were not carried on in ${allWithinMs} ms.`)
    await sleep(100)
  }
  await pausing
  return { readyMs: readyAt - served.startedAt, carriedOnMs }
}

async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  for (const end = performance.now() + allWithinMs; !(await holds()); await sleep(20)) {
    if (performance.now() > end) throw new Error(`Not in ${allWithinMs} ms: ${what}.`)
  }
}

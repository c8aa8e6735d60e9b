import assert from 'node:assert/strict'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { createClient, type VolantClient } from '@volant/client'
import { findCredentials } from '@volant/cli/instance/credentials.ts'
import { runningInstance } from '@volant/cli/instance/record.ts'
import { startInBackground } from '@volant/cli/instance/start.ts'
import { stopControlPlane } from '@volant/cli/instance/stop.ts'
import { verifyVolume } from '@volant/cli/commands/probe.ts'
import { configDocument, defaultConfig, type VolantConfig } from '@volant/control/config/index.ts'
import { stopDataPlane } from '@volant/control/stop-all.ts'
import { messageOf } from '@volant/contract/errors.ts'
import { paceText } from '@volant/contract/ndo/pace.ts'
import { isSettled, type Operation } from '@volant/contract/ndo/operation.ts'
import { nextLook } from '../look.ts'

const cliMain = join(import.meta.dirname, '../../packages/cli/src/main.ts')

/** A whole Volant in a state folder of its own: `volant serve` as a process, real guests and storage daemons. */
export interface Plane {
  stateDir: string
  client: VolantClient
  /** Starts `volant serve` again, on another port; `client` then speaks to that. */
  start(): Promise<void>
  /** SIGKILL to the control plane. */
  kill(): Promise<void>
  /** SIGKILL to the storage daemon of the only holder, and waits until another one runs. */
  killHolder(): Promise<void>
  /** `leaves`: the folder stays, for somebody else looks at it and removes it. */
  close(how?: { leaves?: boolean }): Promise<void>
}

/** On a machine that tests keep busy a copy that cares for its guest takes long: what says nothing of copies has them at full speed. */
const pace = { kind: 'full' } as const
const withPace = (config: string): string =>
  /^copy:/m.test(config) ? config : `${config.trimEnd()}\ncopy: { pace: ${paceText(pace)} }\n`

/** The embedded default otherwise. */
export function embeddedConfig(stateDir: string): VolantConfig {
  const { topology, settings } = defaultConfig({ stateDir, hostname: hostname() })
  return { topology, settings: { ...settings, copy: { ...settings.copy, pace } } }
}

export async function openPlane(
  config: (stateDir: string) => string | Promise<string> = (folder) => configDocument(embeddedConfig(folder)),
  /** The file that is run as `serve`. */
  program: string = cliMain,
): Promise<Plane> {
  // Short, and not on tmpfs: images are opened with O_DIRECT.
  const stateDir = await mkdtemp('/var/tmp/vt-')
  await writeFile(join(stateDir, 'volant.yaml'), withPace(await config(stateDir)))
  const plane: Plane = {
    stateDir,
    client: undefined as unknown as VolantClient,
    async start() {
      await startInBackground({ stateDir, port: 0, program })
      plane.client = createClient(await findCredentials(stateDir, true))
    },
    async kill() {
      const instance = await runningInstance(stateDir)
      assert.ok(instance, 'the control plane runs')
      process.kill(instance.pid, 'SIGKILL')
      await until('the killed control plane is gone', 30_000, async () => {
        return (await runningInstance(stateDir)) === undefined
      })
    },
    async killHolder() {
      const before = await holderPids(stateDir)
      assert.equal(before.length, 1, 'there is one holder')
      process.kill(before[0] as number, 'SIGKILL')
      await until('another storage daemon runs', 60_000, async () => {
        const [pid] = await holderPids(stateDir)
        return pid !== undefined && pid !== before[0]
      })
    },
    async close({ leaves = false } = {}) {
      await stopControlPlane(stateDir)
      await stopDataPlane(stateDir)
      await tellFaults(stateDir)
      assert.deepEqual(await leftovers(stateDir), [], 'nothing is left running')
      if (leaves) return
      // `VOLANT_TEST_KEEP=1 npm test -- main-job` leaves logs, database and images to look at.
      if (process.env['VOLANT_TEST_KEEP'] === undefined) await rm(stateDir, { recursive: true, force: true })
      else console.log(`kept: ${stateDir}`)
    },
  }
  try {
    await plane.start()
  } catch (error) {
    await plane.close()
    throw error
  }
  return plane
}

/** Prints what the control plane did not expect: its log goes with its folder, and an answer says only that there was such a fault. */
async function tellFaults(stateDir: string): Promise<void> {
  const log = await readFile(join(stateDir, 'log', 'volant.log'), 'utf8').catch(() => '')
  for (const line of log.split('\n')) if (line.includes(' request failed"')) console.log(line)
}

/** Pids of the storage daemons that hold images, by the holders' records. */
async function holderPids(stateDir: string): Promise<number[]> {
  const pids: number[] = []
  for (const machine of await readdir(join(stateDir, 'machines'))) {
    const folder = join(stateDir, 'machines', machine, 'holders')
    for (const name of await readdir(folder)) {
      if (!name.endsWith('.json')) continue
      const record = JSON.parse(await readFile(join(folder, name), 'utf8')) as {
        daemon: { process?: { pid: number } }
      }
      if (record.daemon.process !== undefined) pids.push(record.daemon.process.pid)
    }
  }
  return pids
}

/** Command lines of processes that name the state folder. */
export async function leftovers(stateDir: string): Promise<string[]> {
  const found: string[] = []
  for (const pid of await readdir('/proc')) {
    if (!/^\d+$/.test(pid)) continue
    const line = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')
    if (line.includes(stateDir)) found.push(line.replaceAll('\0', ' '))
  }
  return found
}

/** Waits until `check` holds, and fails saying what did not come true. It looks once more when the time is over. */
export async function until(what: string, timeoutMs: number, check: () => Promise<boolean>): Promise<void> {
  const began = performance.now()
  for (const end = began + timeoutMs; ; await nextLook(began)) {
    const late = performance.now() >= end
    if (await check()) return
    if (late) assert.fail(`not in ${timeoutMs} ms: ${what}`)
  }
}

export interface Job {
  serverId: string
  volumeId: string
}

/** A probe guest with a volume of 1 GiB in `cinder-lma`, its probe writing. */
export async function bootProbe(
  plane: Plane,
  image = 'volant-probe',
  options: {
    /** Words for the image's command line, such as `probe.iops=200`. */
    commandLine?: string
    beforeAttach?: (volumeId: string) => Promise<void>
  } = {},
): Promise<Job> {
  const { client } = plane
  if (options.commandLine !== undefined) await addToCommandLine(plane, image, options.commandLine)
  const server = await client.compute.create({
    name: 'ubuntu-instance',
    flavor: 'm1.tiny',
    image,
  })
  const volume = await client.volume.create({ name: 'data', size: 1 })
  await until(
    'the volume is available',
    60_000,
    async () => (await client.volume.show(volume.id)).status === 'available',
  )
  await until(
    'the server is active',
    60_000,
    async () => (await client.compute.show(server.id)).status === 'ACTIVE',
  )
  await options.beforeAttach?.(volume.id)
  await client.compute.attach(server.id, volume.id)
  await until(
    'the volume is in use',
    60_000,
    async () => (await client.volume.show(volume.id)).status === 'in-use',
  )
  const job = { serverId: server.id, volumeId: volume.id }
  await until('the probe writes', 60_000, async () => (await acknowledged(plane, job)) > 100)
  return job
}

/** For guests that boot from now on. */
async function addToCommandLine({ client }: Plane, name: string, words: string): Promise<void> {
  const { session } = client
  const found = (await session.json('GET', `/image/v2/images?name=${name}`)) as {
    images: { id: string; os_command_line: string }[]
  }
  const [image] = found.images
  assert.ok(image, `there is an image ${name}`)
  await session.json('PATCH', `/image/v2/images/${image.id}`, {
    headers: { 'content-type': 'application/openstack-images-v2.1-json-patch' },
    body: [{ op: 'replace', path: '/os_command_line', value: `${image.os_command_line} ${words}` }],
  })
}

/** Writes acknowledged to the guest's probe, by its newest console line. */
export async function acknowledged(plane: Plane, job: Job): Promise<number> {
  const console = await plane.client.compute.consoleOutput(job.serverId, 50)
  const serial = job.volumeId.slice(0, 20)
  // A session that has just begun counts from zero again.
  const session = console.slice(Math.max(0, console.lastIndexOf(` found serial=${serial}`)))
  const acks = [...session.matchAll(new RegExp(`serial=${serial} acked=(\\d+)`, 'g'))].map((m) =>
    Number(m[1]),
  )
  return acks.at(-1) ?? 0
}

export const poolOf = async (plane: Plane, backend: string): Promise<string> => {
  const pool = (await plane.client.volume.pools()).find(({ name }) => name.includes(`@${backend}#`))
  assert.ok(pool, `there is a pool of ${backend}`)
  return pool.name
}

/** Starts a migration to the other cluster; `rate` in bytes per second, `pace` such as `2x` or `full`. */
export async function startMigration(
  plane: Plane,
  job: Job,
  options: { rate?: number; pace?: string } = {},
): Promise<Operation> {
  const volume = await plane.client.volume.show(job.volumeId)
  const isAtLma = volume['os-vol-host-attr:host']?.includes('@cinder-lma#') ?? false
  const host = await poolOf(plane, isAtLma ? 'cinder-lmb' : 'cinder-lma')
  return plane.client.ndo.migrate({ volume: job.volumeId, host, ...options })
}

/**
 * The operation when it has ended or needs attention. Fails where it does neither in time, with what it was at and
 * what its guests' consoles say.
 */
export async function ended(plane: Plane, operationId: string, timeoutMs = 120_000): Promise<Operation> {
  const over = AbortSignal.timeout(timeoutMs)
  let last: Operation | undefined
  let reason: unknown
  try {
    for await (const operation of plane.client.ndo.watch(operationId, { signal: over })) last = operation
  } catch (error) {
    reason = error
  }
  if (last !== undefined && isSettled(last.state)) return last
  throw new Error(
    `the operation ${operationId} has not ended in ${timeoutMs} ms:\n${JSON.stringify(last, undefined, 2)}\n${await consoles(plane)}`,
    { cause: reason },
  )
}

/** The end of each guest's console, for a failure's message. */
async function consoles({ client }: Plane): Promise<string> {
  try {
    const tails: string[] = []
    for (const server of await client.compute.list()) {
      tails.push(
        `console of ${server.name}, ${server.status}:\n${await client.compute.consoleOutput(server.id, 12)}`,
      )
    }
    return tails.join('\n')
  } catch (error) {
    return `no console can be read: ${messageOf(error)}`
  }
}

/** Every acknowledged write is there; the guest saw no error; the probe writes on. */
export async function assertNothingLost(plane: Plane, job: Job): Promise<void> {
  const before = await acknowledged(plane, job)
  try {
    await until('the probe writes on', 60_000, async () => (await acknowledged(plane, job)) > before + 100)
  } catch (error) {
    throw new Error(`after ${before} writes:\n${await consoles(plane)}`, { cause: error })
  }
  const report = await verifyVolume(plane.client, job.volumeId)
  assert.equal(report.ok, true, JSON.stringify(report))
  assert.equal(report.lost + report.torn + report.corrupt + report.misplaced, 0)
  assert.equal(report.errorsSeenByGuest, 0)
  assert.ok(report.acknowledgedWrites >= before)
}

/** A token of the administrator, for requests that no client would send. */
export async function adminToken({ stateDir, client }: Plane): Promise<string> {
  const password = (await readFile(join(stateDir, 'admin-password'), 'utf8')).trim()
  const domain = { id: 'default' }
  const identity = { methods: ['password'], password: { user: { name: 'admin', domain, password } } }
  const response = await fetch(`${client.session.url}/identity/v3/auth/tokens`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ auth: { identity, scope: { project: { name: 'admin', domain } } } }),
  })
  return response.headers.get('x-subject-token') ?? ''
}

/**
 * A Cinder as Debian packages it, with two backends that are two pools of one Ceph; everything in one folder, on loopback.
 * It checks no tokens (`auth_strategy = noauth`), for which a real one asks Keystone or a cache.
 */
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, writeFile } from 'node:fs/promises'
import { createServer, type AddressInfo } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { startMariaDb, startRabbit, type Database } from './backing.ts'
import { pools, startCeph, type Ceph } from './ceph.ts'
import { answers, startService, type Service } from './service.ts'

const run = promisify(execFile)

export const projectId = '00000000000000000000000000000b3c'
const headers = {
  accept: 'application/json',
  'openstack-api-version': 'volume 3.70',
  'x-auth-token': `admin:${projectId}`,
}

export interface Shown {
  id: string
  status: string
  migration_status: string | null
  'os-vol-host-attr:host': string
}

export interface Cinder {
  url: string
  headers: Record<string, string>
  /** Path of the volumes, below the URL. */
  volumes: string
  ceph: Ceph
  database: Database
  /** Throws unless the answer is 2xx. */
  send(method: string, path: string, body?: unknown): Promise<unknown>
  show(id: string): Promise<Shown>
  stop(): Promise<void>
}

export async function startCinder(folder: string, say: (text: string) => void): Promise<Cinder> {
  const ends: (() => Promise<void>)[] = []
  const stop = async (): Promise<void> => {
    for (const end of ends.toReversed()) await end()
  }
  try {
    await mkdir(join(folder, 'tmp'), { recursive: true })
    const [monitor, names, amqp, distribution, port] = await freePorts(5)
    say('starting Ceph')
    const ceph = await startCeph(folder, monitor)
    ends.push(ceph.stop)
    say('starting MariaDB and RabbitMQ')
    const database = await startMariaDb(folder)
    ends.push(database.service.stop)
    const rabbit = await startRabbit(folder, { names, amqp, distribution })
    ends.push(...rabbit.map((service) => service.stop))
    say('making the tables of Cinder, and starting it')
    const config = join(folder, 'cinder.conf')
    await writeFile(config, configurationOf({ folder, database, amqp, port, ceph }))
    await run('cinder-manage', ['--config-file', config, 'db', 'sync'], { timeout: 180_000 })
    const services = startServices(folder, config, ceph)
    ends.push(...services.map((service) => service.stop))
    const cinder = clientOf(`http://127.0.0.1:${port}`)
    for (const service of services) await answers('Cinder', service, () => isReady(cinder), 1000)
    return { ...cinder, ceph, database, stop }
  } catch (error) {
    await stop()
    throw error
  }
}

/**
 * The volume service copies between backends with a connector that reads its keyring from /etc/ceph alone: it gets a
 * mount namespace in which that is the folder of this Ceph.
 */
function startServices(folder: string, config: string, ceph: Ceph): Service[] {
  const env = { TMPDIR: join(folder, 'tmp'), HOME: folder }
  const inOwnEtc = 'mount --bind "$0" /etc/ceph && exec cinder-volume --config-file "$1"'
  return [
    startService(folder, 'api', ['cinder-api', '--config-file', config], env),
    startService(folder, 'scheduler', ['cinder-scheduler', '--config-file', config], env),
    startService(
      folder,
      'volume',
      ['unshare', '--mount', '--propagation', 'private', 'sh', '-c', inOwnEtc, ceph.clientFolder, config],
      env,
    ),
  ]
}

interface Facts {
  folder: string
  database: Database
  amqp: number
  port: number
  ceph: Ceph
}

const configurationOf = ({ folder, database, amqp, port, ceph }: Facts): string => `[DEFAULT]
auth_strategy = noauth
host = bench
enabled_backends = ${pools.join(',')}
state_path = ${folder}/state
log_dir = ${folder}
use_stderr = false
transport_url = rabbit://guest:guest@127.0.0.1:${amqp}//
api_paste_config = /etc/cinder/api-paste.ini
osapi_volume_listen = 127.0.0.1
osapi_volume_listen_port = ${port}
# As many as the machine has processors that the bench is made for.
osapi_volume_workers = 2
quota_volumes = -1
quota_gigabytes = -1
[database]
connection = ${database.url}
[oslo_concurrency]
lock_path = ${folder}/locks
${pools
  .map(
    (pool) => `[${pool}]
volume_driver = cinder.volume.drivers.rbd.RBDDriver
volume_backend_name = ${pool}
rbd_pool = ${pool}
rbd_user = admin
rbd_cluster_name = ceph
rbd_ceph_conf = ${ceph.configPath}
`,
  )
  .join('')}`

/** The API's name of a pool. */
export const poolName = (pool: (typeof pools)[number]): string => `bench@${pool}#${pool}`

type Client = Omit<Cinder, 'ceph' | 'database' | 'stop'>

function clientOf(url: string): Client {
  const send: Cinder['send'] = async (method, path, body) => {
    const type = body === undefined ? {} : { 'content-type': 'application/json' }
    const answer = await fetch(`${url}${path}`, {
      method,
      headers: { ...headers, ...type },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
    const text = await answer.text()
    if (!answer.ok)
      throw new Error(`Cinder: ${method} ${path} gave HTTP ${answer.status}: ${text.slice(0, 300)}`)
    return text === '' ? undefined : (JSON.parse(text) as unknown)
  }
  const volumes = `/v3/${projectId}/volumes`
  const show = async (id: string): Promise<Shown> =>
    ((await send('GET', `${volumes}/${id}`)) as { volume: Shown }).volume
  return { url, headers, volumes, send, show }
}

/** Once the scheduler has heard of both pools. */
async function isReady({ send }: Client): Promise<boolean> {
  const found = (await send('GET', `/v3/${projectId}/scheduler-stats/get_pools`)) as {
    pools: { name: string }[]
  }
  return pools.every((pool) => found.pools.some(({ name }) => name === poolName(pool)))
}

const askEveryMs = 100
/** By the host it takes more than a minute on a machine that others keep busy. */
export const longestCopyMs = 180_000

export type CinderWay = 'assisted' | 'by host'

/**
 * `cinder migrate` of a detached volume to the other pool, until it is over: `assisted` by librbd, which copies within the
 * Ceph, or `by host`, as between any two drivers. Milliseconds. The source is removed by then, or, by host, just then.
 */
export async function migrateInCinder(
  { send, show, volumes }: Client,
  id: string,
  way: CinderWay,
): Promise<number> {
  const before = (await show(id))['os-vol-host-attr:host']
  const host = poolName(before === poolName('one') ? 'two' : 'one')
  const begun = performance.now()
  await send('POST', `${volumes}/${id}/action`, {
    'os-migrate_volume': { host, force_host_copy: way === 'by host' },
  })
  for (;;) {
    const volume = await show(id)
    const ms = performance.now() - begun
    if (volume.migration_status === 'success' && volume['os-vol-host-attr:host'] === host) return ms
    if (volume.migration_status === 'error' || ms > longestCopyMs) {
      throw new Error(`A migration in Cinder is ${volume.migration_status} after ${ms.toFixed(0)} ms.`)
    }
    await sleep(askEveryMs)
  }
}

/** So many of them, all held until all are known: no two are the same. */
async function freePorts(count: number): Promise<[number, number, number, number, number]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'))
  const ports: number[] = []
  for (const server of servers) {
    if (!server.listening) await once(server, 'listening')
    ports.push((server.address() as AddressInfo).port)
  }
  for (const server of servers) {
    server.close()
    await once(server, 'close')
  }
  return ports as [number, number, number, number, number]
}

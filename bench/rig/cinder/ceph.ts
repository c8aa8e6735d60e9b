/** A Ceph of one node, on loopback: one monitor, one manager, one OSD, and two pools without replicas. */
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { copyFile, mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { answers, startService, type Service } from './service.ts'

const run = promisify(execFile)

/** Of the OSD's device, a sparse file: room for two images of 1 GiB, and for the one that is filled beside them. */
const deviceBytes = 12 * 2 ** 30

export const pools = ['one', 'two'] as const

export interface Ceph {
  configPath: string
  /** Configuration and keyring, named as programs look for them in /etc/ceph. */
  clientFolder: string
  /** Puts random bytes in the place of the whole image. */
  fill(image: string, bytes: number): Promise<void>
  stop(): Promise<void>
}

export async function startCeph(folder: string, monitorPort: number): Promise<Ceph> {
  const services: Service[] = []
  const stop = async (): Promise<void> => {
    for (const service of services.toReversed()) await service.stop()
  }
  try {
    const place = await initialize(folder, monitorPort)
    const { configPath, ceph } = place
    const start = (name: string, daemon: string, id: string): Service => {
      const service = startService(folder, name, [daemon, '-c', configPath, '-f', '-i', id])
      services.push(service)
      return service
    }
    const monitor = start('mon', 'ceph-mon', 'a')
    await answers('ceph-mon', monitor, async () => (await ceph('mon', 'stat')).includes('quorum 0 a'))
    start('mgr', 'ceph-mgr', 'x')
    const osdId = crypto.randomUUID()
    await ceph('osd', 'new', osdId)
    await run('ceph-osd', ['-c', configPath, '-i', '0', '--mkfs', '--osd-uuid', osdId])
    const osd = start('osd', 'ceph-osd', '0')
    await answers('ceph-osd', osd, async () => (await ceph('osd', 'stat')).includes('1 up'))
    for (const pool of pools) {
      await ceph('osd', 'pool', 'create', pool, '16', '16')
      await run('rbd', ['-c', configPath, 'pool', 'init', pool])
    }
    const isClean = async (): Promise<boolean> =>
      /^\d+ pgs: \d+ active\+clean;/.test(await ceph('pg', 'stat'))
    await answers("Ceph's placement groups", osd, isClean)
    return { ...place, fill: (image, bytes) => fill(configPath, image, bytes), stop }
  } catch (error) {
    await stop()
    throw error
  }
}

async function initialize(folder: string, monitorPort: number) {
  const clientFolder = join(folder, 'etc')
  const configPath = join(clientFolder, 'ceph.conf')
  const keyring = join(clientFolder, 'ceph.client.admin.keyring')
  const fsid = crypto.randomUUID()
  for (const name of ['etc', 'mon.d', 'mgr.d', 'osd.d']) await mkdir(join(folder, name), { recursive: true })
  await writeFile(configPath, configurationOf(folder, fsid, monitorPort, keyring))
  await run('ceph-authtool', ['--create-keyring', keyring, '--gen-key', '-n', 'client.admin'])
  const monitorKeys = join(folder, 'mon.keyring')
  await copyFile(keyring, monitorKeys)
  await run('ceph-authtool', [monitorKeys, '--gen-key', '-n', 'mon.', '--cap', 'mon', 'allow *'])
  const map = join(folder, 'monmap')
  const address = `[v2:127.0.0.1:${monitorPort}]`
  await run('monmaptool', ['--create', '--fsid', fsid, '--addv', 'a', address, map])
  await run('ceph-mon', [
    ...['-c', configPath, '--mkfs', '-i', 'a'],
    ...['--monmap', map, '--keyring', monitorKeys],
  ])
  const ceph = async (...words: string[]): Promise<string> =>
    (await run('ceph', ['-c', configPath, '--connect-timeout', '20', ...words], { timeout: 60_000 })).stdout
  return { configPath, clientFolder, ceph }
}

const configurationOf = (
  folder: string,
  fsid: string,
  monitorPort: number,
  keyring: string,
): string => `[global]
fsid = ${fsid}
mon_initial_members = a
mon_host = [v2:127.0.0.1:${monitorPort}]
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
ms_bind_msgr1 = false
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
keyring = ${keyring}
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
# However full the disk is that the folder lies on.
mon_data_avail_warn = 1
mon_data_avail_crit = 1
run_dir = ${folder}
admin_socket = ${folder}/$name.asok
log_file = ${folder}/$name.log
mon_cluster_log_file = ${folder}/cluster.log
log_to_stderr = false
mon_data = ${folder}/mon.d
mgr_data = ${folder}/mgr.d
osd_data = ${folder}/osd.d
osd_objectstore = bluestore
bluestore_block_size = ${deviceBytes}
`

/** By an image of its own that then takes the other's name: an import makes what it fills. */
async function fill(configPath: string, image: string, bytes: number): Promise<void> {
  const rbd = (...words: string[]) => run('rbd', ['-c', configPath, ...words], { timeout: 60_000 })
  const filled = `${image}.filled`
  const importing = spawn(
    'sh',
    ['-c', `head -c ${bytes} /dev/urandom | rbd -c "$0" import --no-progress - "$1"`, configPath, filled],
    { stdio: ['ignore', 'ignore', 'inherit'] },
  )
  const [code] = (await once(importing, 'exit')) as [number | null]
  if (code !== 0) throw new Error(`rbd import of ${filled} ended with ${String(code)}.`)
  await rbd('rm', '--no-progress', image)
  await rbd('mv', filled, image)
}

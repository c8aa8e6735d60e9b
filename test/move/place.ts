/** Where the proof of the move happens: one FlexVol, two aggregates that it goes to and fro between, and guests. */
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { registerQuietProbe } from '../crash/world.ts'
import { openNetwork, type Network } from '../migration/network.ts'
import { openPlane, until, type Plane } from '../migration/plane.ts'

export const flexvolName = 'cinder_flexvol_OSTK02'
export const aggregateNames = ['aggr1', 'aggr2'] as const
export type AggregateName = (typeof aggregateNames)[number]

export interface PlaceOptions {
  guests: number
  /** The aggregates and the guests are on three machines. */
  apart?: boolean
  /** Bytes of each aggregate; the files are thin. */
  aggregateBytes?: number
  /** Further lines of the configuration. */
  config?: string
  /** The file that is run as `serve`; absent: the product's. */
  program?: string
  say(text: string): void
}

export interface Guest {
  serverId: string
  /** Its whole console; empty until a disk is attached for the first time. */
  consoleLog: string
}

export interface Place {
  plane: Plane
  guests: Guest[]
  /** The FlexVol's id in `/ndo/v1`. */
  flexvolId: string
  /** Folder of the aggregate's FlexVols. */
  folderOf(aggregate: string): string
  /** Ends everything, then looks at what is left; says what is not right. */
  close(): Promise<string[]>
}

/**
 * Sources of what moved are kept for a second only, so that little more than the truth is left after a round. Both
 * aggregates are on one node; or each has a node of its own, and these and the compute host are three machines.
 */
function configOf(stateDir: string, bytes: number, network: Network | undefined): string {
  const aggregates = aggregateNames.map(
    (name) => `{ name: ${name}, path: ${folderIn(stateDir, name)}, filesystem: xfs, size: ${bytes} }`,
  )
  const nodes =
    network === undefined
      ? [`{ name: lma-01, data_address: 127.0.0.1, aggregates: [${aggregates.join()}] }`]
      : aggregates.map(
          (aggregate, i) =>
            `{ name: lma-0${i + 1}, machine: store-${i + 1}, data_address: 10.98.0.${i + 1}, ` +
            `netns: ${network.names[i]}, aggregates: [${aggregate}] }`,
        )
  const host = network === undefined ? '' : `, machine: host-1, netns: ${network.names[2]}`
  return `
clusters:
  - name: cinder-lma
    nodes: [${nodes.join()}]
    flexvols: [{ name: ${flexvolName}, lif: 127.0.0.1, node: lma-01, aggregate: ${aggregateNames[0]} }]
compute_hosts: [{ name: compute-1${host} }]
migration: { retention: 1s }
`
}

/** Each in a folder of its own, as on disks of machines of their own. */
const folderIn = (stateDir: string, aggregate: string): string => join(stateDir, 'lma', aggregate, 'disk')

export async function openPlace(options: PlaceOptions): Promise<Place> {
  process.env['NODE_COMPILE_CACHE'] ??= join(import.meta.dirname, '../../.cache/node')
  const bytes = options.aggregateBytes ?? 8 * 2 ** 30
  const network = options.apart === true ? openNetwork() : undefined
  const config = (stateDir: string): string => configOf(stateDir, bytes, network) + (options.config ?? '')
  const plane = await openPlane(config, options.program).catch((error: unknown) => {
    network?.close()
    throw error
  })
  const folderOf = (aggregate: string): string => folderIn(plane.stateDir, aggregate)
  const close = async (): Promise<string[]> => {
    try {
      // What lies in the folder is looked at before it goes.
      await plane.close({ leaves: true })
    } catch (error) {
      console.log(`kept: ${plane.stateDir}`)
      throw error
    } finally {
      network?.close()
    }
    const problems = aggregateNames.flatMap((name) => aggregateProblems(folderOf(name)))
    if (process.env['VOLANT_TEST_KEEP'] === undefined && problems.length === 0) {
      execFileSync('rm', ['-rf', '--one-file-system', plane.stateDir])
    } else console.log(`kept: ${plane.stateDir}`)
    return problems
  }
  try {
    await liftQuotas(plane)
    const image = await registerQuietProbe(plane)
    const guests: Guest[] = []
    for (let i = 0; i < options.guests; i++) {
      const { id } = await plane.client.compute.create({ name: `guest-${i + 1}`, flavor: 'm1.tiny', image })
      guests.push({ serverId: id, consoleLog: '' })
    }
    for (const { serverId } of guests) {
      await until(`server ${serverId} is active`, 120_000, async () => {
        return (await plane.client.compute.show(serverId)).status === 'ACTIVE'
      })
    }
    options.say(`${guests.length} guests run`)
    return { plane, guests, flexvolId: flexVolId(plane.stateDir), folderOf, close }
  } catch (error) {
    await close().catch(() => [])
    throw error
  }
}

/** The usual ones are of ten volumes and snapshots. */
async function liftQuotas({ client: { session } }: Plane): Promise<void> {
  const project = await session.projectId()
  const quota_set = { volumes: -1, snapshots: -1, gigabytes: -1 }
  await session.json('PUT', `/volume/v3/${project}/os-quota-sets/${project}`, { body: { quota_set } })
  const compute = { instances: -1, cores: -1, ram: -1 }
  await session.json('PUT', `/compute/v2.1/os-quota-sets/${project}`, { body: { quota_set: compute } })
}

const flexVolId = (stateDir: string): string =>
  String(rowsOf(stateDir, 'select id from flexvols where name = ?', flexvolName)[0]?.['id'])

/** What the database says, beside the control plane. */
export function rowsOf(
  stateDir: string,
  sql: string,
  ...values: string[]
): Record<string, string | number | null>[] {
  const db = new DatabaseSync(join(stateDir, 'volant.db'), { readOnly: true })
  try {
    return db.prepare(sql).all(...values) as Record<string, string | number | null>[]
  } finally {
    db.close()
  }
}

/** All is stopped: nothing may be mounted any more, no loop device be left, and the file system be whole. */
function aggregateProblems(folder: string): string[] {
  const device = `${folder}.xfs`
  const problems: string[] = []
  if (readFileSync('/proc/mounts', 'utf8').includes(` ${folder} `))
    problems.push(`${folder} is still mounted`)
  const loops = execFileSync('losetup', ['-l', '-n', '-O', 'NAME,BACK-FILE'], { encoding: 'utf8' })
  if (loops.includes(device)) problems.push(`there is still a loop device of ${device}`)
  if (!existsSync(device)) return [...problems, `there is no ${device}`]
  if (problems.length > 0) return problems
  try {
    execFileSync('xfs_repair', ['-n', device], { stdio: 'pipe' })
  } catch (error) {
    problems.push(`xfs_repair -n of ${device}: ${String((error as { stderr?: Buffer }).stderr).slice(-400)}`)
  }
  return problems
}

/** Bytes on the disk that the images in a folder take, shared blocks once: what the file system has in use. */
export const usedBytes = (folder: string): number => {
  const text = execFileSync('df', ['-B1', '--output=used', folder], { encoding: 'utf8' })
  return Number(text.trim().split('\n').at(-1))
}

export async function consoleOf(guests: readonly Guest[]): Promise<string> {
  const texts = await Promise.all(
    guests
      .filter(({ consoleLog }) => consoleLog !== '')
      .map(({ consoleLog }) => readFile(consoleLog, 'utf8')),
  )
  return texts.join('\n')
}

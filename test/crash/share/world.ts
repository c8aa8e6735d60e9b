/** The place of the shares' crash tests: a share that is served, written to all the time, and asked for by clients. */
import { execFileSync } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { join } from 'node:path'
import { openPlane, until, type Plane } from '../../migration/plane.ts'
import { rowsOf } from '../../move/place.ts'
import {
  aggregateFolder,
  aggregateNames,
  mountsBelow,
  remainsOf,
  shareImages,
  type ShareImage,
} from '../../share/remains.ts'
import { openGate, type Gate } from '../gate.ts'
import { api, shareRow } from './api.ts'
import { rootHandle, type Served } from './clients.ts'
import { startWriter, type Writer } from './writer.ts'

export const otherAggregate = (aggregate: string): string =>
  String(aggregateNames.find((name) => name !== aggregate))

export interface ShareWorld {
  plane: Plane
  gate: Gate
  shareId: string
  served: Served
  /** An address that may read and write, and one that may not. */
  admitted: string
  stranger: string
  /** An address that comes and goes. */
  guest: string
  /** Of the root of the share, as a client got it at the beginning. */
  handle: Buffer
  writer: Writer
  folderOf(aggregate: string): string
  /** Ends everything, then looks at what is left; throws what is not right. */
  close(): Promise<void>
}

/** Bytes of each aggregate; the files are thin. */
const aggregateBytes = 64 * 2 ** 30

const configOf = (stateDir: string, lif: string): string => `
agents: processes
clusters:
  - name: cinder-lma
    nodes:
      - name: lma-01
        data_address: 127.0.0.1
        aggregates:
${aggregateNames.map((name) => `          - { name: ${name}, path: ${aggregateFolder(stateDir, name)}, filesystem: xfs, size: ${aggregateBytes} }`).join('\n')}
    flexvols: []
    shares: { lif: ${lif} }
compute_hosts: []
migration: { retention: 1s }
`

/** Where the share with that id is mounted on the node. */
export const mountPathOf = (stateDir: string, shareId: string): string => {
  const [found] = mountsBelow(stateDir).filter((path) => path.includes(shareId) && path.endsWith('/mount'))
  if (found === undefined) throw new Error(`share ${shareId} is not mounted`)
  return found
}

export async function openShareWorld(): Promise<ShareWorld> {
  process.env['NODE_COMPILE_CACHE'] ??= join(import.meta.dirname, '../../../.cache/node')
  const net = `127.${randomInt(16, 255)}.${randomInt(256)}`
  const lif = `${net}.1`
  const program = join(import.meta.dirname, '../serve.ts')
  const plane = await openPlane((stateDir) => configOf(stateDir, lif), program)
  const { stateDir } = plane
  let writer: Writer | undefined
  const close = async (): Promise<void> => {
    await writer?.end()
    await closeAll(plane)
  }
  try {
    const shareId = await createdShare(plane, 'main')
    const admitted = `${net}.2`
    await allowed(plane, shareId, admitted)
    const junctionPath = `/share_${shareId.replaceAll('-', '_')}`
    const mountPath = mountPathOf(stateDir, shareId)
    const served = { lif, junctionPath, mountPath }
    writer = await startWriter(mountPath)
    return {
      plane,
      gate: openGate(stateDir),
      shareId,
      served,
      admitted,
      stranger: `${net}.3`,
      guest: `${net}.4`,
      handle: await rootHandle(served, admitted),
      writer,
      folderOf: (aggregate) => aggregateFolder(stateDir, aggregate),
      close,
    }
  } catch (error) {
    await close().catch(() => {})
    throw error
  }
}

export async function createdShare(plane: Plane, name: string): Promise<string> {
  const id = await api.create(plane, name)
  await until(`share ${name} is available`, 120_000, async () => {
    const status = shareRow(plane.stateDir, id)?.['status']
    if (status === 'error') throw new Error(`share ${name} is in error`)
    return status === 'available'
  })
  return id
}

/** Returns when the rule is in effect; its id. */
export async function allowed(plane: Plane, shareId: string, to: string): Promise<string> {
  const ruleId = await api.allow(plane, shareId, to)
  await until(`${to} is allowed`, 60_000, async () => ruleState(plane, ruleId) === 'active')
  return ruleId
}

/** Null where it is gone. */
export const ruleState = ({ stateDir }: Plane, ruleId: string): string | null =>
  (rowsOf(stateDir, 'select state from share_access_rules where id = ?', ruleId)[0]?.['state'] as
    | string
    | undefined) ?? null

async function closeAll(plane: Plane): Promise<void> {
  const { stateDir } = plane
  const images = imagesOf(stateDir)
  const keep = process.env['VOLANT_TEST_KEEP']
  // What lies in the folder is looked at before it goes.
  process.env['VOLANT_TEST_KEEP'] = '1'
  try {
    await plane.close()
  } finally {
    if (keep === undefined) delete process.env['VOLANT_TEST_KEEP']
  }
  const problems = remainsOf(stateDir, images)
  if (problems.length > 0) throw new Error(`${problems.join('; ')}; kept: ${stateDir}`)
  if (keep === undefined) execFileSync('rm', ['-rf', '--one-file-system', stateDir])
}

/** Of shares, and of their snapshots. */
const imagesOf = (stateDir: string): ShareImage[] =>
  shareImages(
    stateDir,
    'join flexvols f on f.id = c.flexvol_id where f.share_id is not null and c.snapshot_id is null',
  )

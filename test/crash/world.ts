/** The place of the crash tests: a Volant that can be held, a guest whose probe writes, and a volume nobody uses. */
import { DatabaseSync } from 'node:sqlite'
import { join } from 'node:path'
import { adminToken, bootProbe, openPlane, until, type Job, type Plane } from '../migration/plane.ts'
import { configOf, openNetwork } from '../migration/network.ts'
import { openGate, type Gate } from './gate.ts'

/**
 * One machine, whose agents are inside the control plane; or three in network namespaces of their own, with an export
 * between the head and each image, and agents in processes of their own.
 */
export type Where = 'local' | 'remote'

/** Seconds for which a source is kept: short, so that a cell can wait until only the truth is left. */
const retention = 'migration: { retention: 1s }\n'

/** Both clusters and the compute host on one machine, with an aggregate each. */
export const oneMachine = (lma: string, lmb: string): string => `
clusters:
  - name: cinder-lma
    nodes: [{ name: lma-01, data_address: 127.0.0.1, aggregates: [{ name: aggr1, path: ${lma} }] }]
    flexvols: [{ name: cinder_flexvol_OSTK02, lif: 127.0.0.1, node: lma-01, aggregate: aggr1 }]
  - name: cinder-lmb
    nodes: [{ name: lmb-01, data_address: 127.0.0.1, aggregates: [{ name: aggr1, path: ${lmb} }] }]
    flexvols: [{ name: cinder_flexvol_OSTK09, lif: 127.0.0.1, node: lmb-01, aggregate: aggr1 }]
compute_hosts: [{ name: compute-1 }]
`

export interface World {
  where: Where
  plane: Plane
  gate: Gate
  /** The guest, and the volume that it writes to. */
  attached: Job
  /** A volume that the guest wrote to and gave back; made at the first call. */
  detached(): Promise<Job>
  /** The same, once it was made. */
  spare: Job | undefined
  /** The console logs of the guest, which tell what was acknowledged. */
  consoleLog: string
  close(): Promise<void>
}

export async function openWorld(where: Where): Promise<World> {
  // As bin/volant does; the control plane starts again in every other cell.
  process.env['NODE_COMPILE_CACHE'] ??= join(import.meta.dirname, '../../.cache/node')
  const network = where === 'remote' ? openNetwork() : undefined
  const config =
    network === undefined
      ? (stateDir: string) => oneMachine(`${stateDir}/lma/aggr1`, `${stateDir}/lmb/aggr1`)
      : (stateDir: string) => `agents: processes\n${configOf(network)(stateDir)}`
  let plane: Plane | undefined
  const close = async (): Promise<void> => {
    try {
      await plane?.close()
    } finally {
      network?.close()
    }
  }
  try {
    const program = join(import.meta.dirname, 'serve.ts')
    plane = await openPlane((stateDir) => config(stateDir) + retention, program)
    const attached = await bootProbe(plane, await registerQuietProbe(plane))
    const placement = await plane.client.ndo.placement(attached.volumeId)
    const world: World = {
      where,
      plane,
      spare: undefined,
      gate: openGate(plane.stateDir),
      attached,
      consoleLog: placement.console_log_path as string,
      detached: async () => (world.spare ??= await makeDetached(world.plane, attached)),
      close,
    }
    return world
  } catch (error) {
    await close()
    throw error
  }
}

/** The probe guest with a small load: hundreds of migrations of a volume that has grown to its full size take long. */
export async function registerQuietProbe(
  plane: Plane,
  name = 'quiet-probe',
  load = 'probe.iops=100 probe.span=24M probe.fill=4M',
  /** Without any, as `volant-probe`, a server that is made of it has no root disk. */
  data = Buffer.alloc(0),
): Promise<string> {
  const { session, image } = plane.client
  const { kernel_id, ramdisk_id, os_command_line } = await image.named('volant-probe')
  const body = {
    name,
    disk_format: 'raw',
    container_format: 'bare',
    kernel_id,
    ramdisk_id,
    os_command_line: `${String(os_command_line)} ${load}`,
  }
  const { id } = (await session.json('POST', '/image/v2/images', { body })) as { id: string }
  const answer = await fetch(`${session.url}/image/v2/images/${id}/file`, {
    method: 'PUT',
    headers: { 'content-type': 'application/octet-stream', 'x-auth-token': await adminToken(plane) },
    body: data,
  })
  if (!answer.ok) throw new Error(`the image of the probe is refused: ${await answer.text()}`)
  return body.name
}

/** A volume that holds acknowledged writes, and that nobody has open. */
async function makeDetached(plane: Plane, { serverId }: Job): Promise<Job> {
  const { client } = plane
  const { id: volumeId } = await client.volume.create({ name: 'spare', size: 1 })
  const hasStatus = (status: string): Promise<void> =>
    until(`the spare volume is ${status}`, 60_000, async () => {
      return (await client.volume.show(volumeId)).status === status
    })
  await hasStatus('available')
  await client.compute.attach(serverId, volumeId)
  await hasStatus('in-use')
  const serial = volumeId.slice(0, 20)
  await until('the probe has written to the spare volume', 60_000, async () => {
    const text = await client.compute.consoleOutput(serverId, 20)
    return Number(new RegExp(`serial=${serial} acked=(\\d+)`).exec(text)?.[1] ?? 0) > 200
  })
  await detach(plane, serverId, volumeId)
  await hasStatus('available')
  return { serverId, volumeId }
}

export async function detach(plane: Plane, serverId: string, volumeId: string): Promise<void> {
  const { session } = plane.client
  await session.json('DELETE', `/compute/v2.1/servers/${serverId}/os-volume_attachments/${volumeId}`)
}

export interface Truth {
  imageId: string
  /** Rows of the volume's copies. */
  copies: { imageId: string; state: string }[]
}

/** What the database says, read beside the control plane: the record itself, and no view of it. */
export function truthOf(stateDir: string, volumeId: string): Truth {
  const db = new DatabaseSync(join(stateDir, 'volant.db'), { readOnly: true })
  try {
    const volume = db.prepare('select image_id from volumes where id = ?').get(volumeId)
    const copies = db.prepare('select image_id, state from copies where volume_id = ?').all(volumeId)
    return {
      imageId: String(volume?.['image_id']),
      copies: copies.map((row) => ({ imageId: String(row['image_id']), state: String(row['state']) })),
    }
  } finally {
    db.close()
  }
}

export function unfinishedOperations(stateDir: string): string[] {
  const db = new DatabaseSync(join(stateDir, 'volant.db'), { readOnly: true })
  try {
    const rows = db.prepare('select id, kind, state from operations where ended_at is null').all()
    return rows.map((row) => `${String(row['kind'])} ${String(row['id'])}: ${String(row['state'])}`)
  } finally {
    db.close()
  }
}

/** Every image that a volume's record or a copy's row owns. */
export function ownedImages(stateDir: string): string[] {
  const db = new DatabaseSync(join(stateDir, 'volant.db'), { readOnly: true })
  try {
    return db
      .prepare('select image_id from copies')
      .all()
      .map((row) => String(row['image_id']))
  } finally {
    db.close()
  }
}

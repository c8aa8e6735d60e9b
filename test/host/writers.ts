/** Servers whose guest writes all along, to volumes that every compute host reaches; and what is known of their writes. */
import assert from 'node:assert/strict'
import type { Operation } from '@volant/contract/ndo/operation.ts'
import { parseConsole, type ProgressLine } from '../../probe/console.ts'
import { verifyImage, type VerifyReport } from '../../probe/verify.ts'
import { ended, until, type Plane } from '../migration/plane.ts'
import { rowsOf } from '../move/place.ts'
import type { HostRig } from './rig.ts'

const headers = { 'openstack-api-version': 'compute 2.90' }

export interface Writer {
  serverId: string
  /** The first is what it boots from; it writes to all of them. */
  volumeIds: string[]
  /** MAC addresses of its ports. */
  macs: string[]
  /** How often its guest was booted, as far as anybody asked for it. */
  boots: number
}

export interface WriterOptions {
  name: string
  host: string
  /** Default 1: what it boots from. */
  volumes?: number
  /** Default 128. */
  memoryMiB?: number
  /** A port on the hosts' bridge. */
  hasPort?: boolean
  metadata?: Record<string, string>
  /** The image that it boots from; absent: `quiet-probe`. */
  image?: string
  /** It boots from a root disk that is made of the image's data, a hidden volume, and not from a volume. */
  rootDisk?: boolean
}

export const call = (plane: Plane, method: string, path: string, body?: unknown): Promise<unknown> =>
  plane.client.session.json(method, `/compute/v2.1${path}`, {
    headers,
    ...(body === undefined ? {} : { body }),
  })

export const act = (plane: Plane, { serverId }: Pick<Writer, 'serverId'>, body: unknown): Promise<unknown> =>
  call(plane, 'POST', `/servers/${serverId}/action`, body)

/** A server on that host that boots from a volume, or from its root disk. Returns when its guest's writes to each volume are acknowledged. */
export async function bootWriter(rig: HostRig, options: WriterOptions): Promise<Writer> {
  const { plane, network } = rig
  const { name, host, volumes = 1, memoryMiB = 128, hasPort = false, metadata = {} } = options
  const image = await plane.client.image.named(options.image ?? 'quiet-probe')
  const { rootDisk = false } = options
  const disks = Array.from({ length: rootDisk ? volumes - 1 : volumes }, (_, i) => ({
    boot_index: i === 0 && !rootDisk ? 0 : -1,
    ...(i === 0 && !rootDisk ? { source_type: 'image', uuid: image['id'] } : { source_type: 'blank' }),
    destination_type: 'volume',
    volume_size: 1,
    delete_on_termination: true,
  }))
  const server = {
    name,
    host,
    flavorRef: await flavorOf(plane, memoryMiB),
    networks: hasPort ? [{ uuid: network.bridge }] : 'none',
    ...(rootDisk && { imageRef: image['id'] }),
    ...(disks.length > 0 && { block_device_mapping_v2: disks }),
    metadata,
  }
  const made = (await call(plane, 'POST', '/servers', { server })) as { server: { id: string } }
  const serverId = made.server.id
  await untilStatus(plane, serverId, 'ACTIVE')
  const shown = await plane.client.compute.show(serverId)
  const writer: Writer = {
    serverId,
    volumeIds: [
      ...rootDisksOf(plane, serverId),
      ...(shown['os-extended-volumes:volumes_attached'] ?? []).map(({ id }) => id),
    ],
    macs: macsOf(plane, serverId),
    boots: 1,
  }
  assert.equal(writer.volumeIds.length, volumes)
  await writesOn(rig, writer)
  return writer
}

async function flavorOf(plane: Plane, memoryMiB: number): Promise<string> {
  const name = `writer-${memoryMiB}`
  const find = async (): Promise<string | undefined> => {
    const { flavors } = (await call(plane, 'GET', '/flavors')) as { flavors: { id: string; name: string }[] }
    return flavors.find((flavor) => flavor.name === name)?.id
  }
  const flavor = { name, ram: memoryMiB, vcpus: 1, disk: 0 }
  const make = async (): Promise<string> =>
    ((await call(plane, 'POST', '/flavors', { flavor })) as { flavor: { id: string } }).flavor.id
  // Of two that make it at once, one finds it there.
  return (await find()) ?? make().catch(async (error: unknown) => (await find()) ?? Promise.reject(error))
}

/** No API tells of it. */
const rootDisksOf = ({ stateDir }: Plane, serverId: string): string[] =>
  rowsOf(stateDir, 'select id from volumes where root_of = ?', serverId).map(({ id }) => String(id))

function macsOf({ stateDir }: Plane, serverId: string): string[] {
  const [row] = rowsOf(stateDir, 'select nics from servers where id = ?', serverId)
  return (JSON.parse(String(row?.['nics'])) as { mac: string }[]).map(({ mac }) => mac)
}

export async function untilStatus(plane: Plane, serverId: string, status: string): Promise<void> {
  await until(`server ${serverId} is ${status}`, 120_000, async () => {
    const server = await plane.client.compute.show(serverId)
    if (server.status === 'ERROR' && status !== 'ERROR') {
      assert.fail(`server ${serverId} is in error: ${JSON.stringify(server['fault'])}`)
    }
    return server.status === status && server['OS-EXT-STS:task_state'] === null
  })
}

export const hostOf = async (plane: Plane, { serverId }: Writer): Promise<string> =>
  String((await plane.client.compute.show(serverId))['OS-EXT-SRV-ATTR:host'])

export const serialOf = (volumeId: string): string => volumeId.slice(0, 20)

/** The newest word of the guest about a volume; undefined before the first. */
export function progressOf(
  { consoles }: HostRig,
  { serverId }: Writer,
  volumeId: string,
): ProgressLine | undefined {
  const lines = parseConsole(consoles.of(serverId), serialOf(volumeId))
  const newest = lines.at(-1)
  return newest?.kind === 'progress' ? newest : undefined
}

/**
 * Waits until more is acknowledged of every volume. The console is a second behind: so many can have been acknowledged
 * before, and not been told of.
 */
export async function writesOn(rig: HostRig, writer: Writer): Promise<void> {
  const before = new Map(writer.volumeIds.map((id) => [id, progressOf(rig, writer, id)]))
  for (const volumeId of writer.volumeIds) {
    const from = before.get(volumeId)
    await until(`server ${writer.serverId} writes to volume ${volumeId}`, 90_000, async () => {
      const now = progressOf(rig, writer, volumeId)
      if (now === undefined) return false
      return now.acked > (now.id === from?.id ? from.acked : 0) + 150
    }).catch((error: unknown) => {
      const tail = rig.consoles.of(writer.serverId).split('\n').slice(-12).join('\n')
      throw new Error(`${String(error)}; its console:\n${tail}`, { cause: error })
    })
  }
}

/**
 * Every acknowledged write is on the image that the record names, and the guest has not been booted but where it was asked
 * for: one whose kernel panics starts again by itself, and writes on. Proves nothing where none was acknowledged: throws.
 */
export async function assertNothingLost(
  rig: HostRig,
  writer: Writer,
  options: { live?: boolean } = {},
): Promise<VerifyReport[]> {
  const { plane, consoles } = rig
  const reports: VerifyReport[] = []
  for (const volumeId of writer.volumeIds) {
    const { path } = await plane.client.ndo.placement(volumeId)
    assert.ok(path !== null, `volume ${volumeId} has an image`)
    const report = await verifyImage({
      imagePath: path,
      consoleLog: consoles.of(writer.serverId),
      serial: serialOf(volumeId),
      live: options.live ?? true,
    })
    assert.equal(report.ok, true, `volume ${volumeId}: ${JSON.stringify(report)}`)
    assert.ok(report.acknowledgedWrites > 0, `volume ${volumeId} was written to`)
    assert.equal(report.sessions, writer.boots, `the guest has booted by itself:\n${panicsOf(rig, writer)}`)
    reports.push(report)
  }
  return reports
}

const panicsOf = ({ consoles }: HostRig, { serverId }: Writer): string =>
  consoles
    .of(serverId)
    .split('\n')
    .filter((line) => /BUG|panic/i.test(line))
    .slice(-10)
    .join('\n')

export interface Asked {
  id: string
  end(): Promise<Operation>
}

/** The operation that is at work on the server, once it has begun. */
export async function operationOn(plane: Plane, serverId: string, kind: string): Promise<Asked> {
  let id: string | undefined
  await until(`there is a ${kind} of server ${serverId}`, 30_000, async () => {
    const rows = rowsOf(
      plane.stateDir,
      "select id from operations where kind = ? and json_extract(input, '$.serverId') = ? order by created_at desc, rowid desc limit 1",
      kind,
      serverId,
    )
    id = rows[0]?.['id'] as string | undefined
    return id !== undefined
  })
  const found = id as string
  return { id: found, end: () => ended(plane, found, 240_000) }
}

/** Asks for a live migration; `host` null: the scheduler chooses. */
export async function migrateLive(plane: Plane, writer: Writer, host: string | null = null): Promise<Asked> {
  await act(plane, writer, { 'os-migrateLive': { host, block_migration: 'auto' } })
  return operationOn(plane, writer.serverId, 'server.live-migrate')
}

/** The same, to its end, which must be success; the pause that the guest had, milliseconds. */
export async function migrated(rig: HostRig, writer: Writer, host: string): Promise<number | null> {
  const { plane } = rig
  const operation = await (await migrateLive(plane, writer, host)).end()
  assert.equal(operation.state, 'succeeded', JSON.stringify([operation.error, operation.attempts]))
  assert.equal(await hostOf(plane, writer), host)
  return operation.client_pause_ms
}

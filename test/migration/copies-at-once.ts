/** Several volumes that nobody has open, to be copied at the same time; and where what was copied of each is seen. */
import assert from 'node:assert/strict'
import { open, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Operation } from '@volant/contract/ndo/operation.ts'
import { truthOf } from '../crash/world.ts'
import { statusIs } from './moves.ts'
import { poolOf, until, type Plane } from './plane.ts'

const mib = 1024 * 1024

/** A volume of which a part is allocated: `dataMiB` from its beginning. Its id. */
export async function filledVolume(plane: Plane, size: number, dataMiB: number): Promise<string> {
  const { client } = plane
  const { id } = await client.volume.create({ name: 'data', size })
  await statusIs(plane, id, 'available')
  const { path } = await client.ndo.placement(id)
  assert.ok(path)
  const file = await open(path, 'r+')
  try {
    const data = Buffer.alloc(mib, 0xa5)
    for (let at = 0; at < dataMiB; at += 1) await file.write(data, 0, mib, at * mib)
    await file.sync()
  } finally {
    await file.close()
  }
  return id
}

/** To the other cluster of `oneMachine`; the operation's id. */
export async function startToOther(plane: Plane, volumeId: string, priority: string): Promise<string> {
  const { volume, ndo } = plane.client
  const host = (await volume.show(volumeId))['os-vol-host-attr:host'] ?? ''
  const there = await poolOf(plane, host.includes('@cinder-lma#') ? 'cinder-lmb' : 'cinder-lma')
  return (await ndo.migrate({ volume: volumeId, host: there, priority })).id
}

/** The image that a copy of the volume fills; undefined as long as there is none. */
export async function targetOf({ stateDir }: Plane, volumeId: string): Promise<string | undefined> {
  const target = truthOf(stateDir, volumeId).copies.find(({ state }) => state === 'target')
  if (target === undefined) return undefined
  for (const cluster of ['lma', 'lmb']) {
    const folder = join(stateDir, cluster)
    const found = (await readdir(folder, { recursive: true })).find((name) => name.endsWith(target.imageId))
    if (found !== undefined) return join(folder, found)
  }
  return undefined
}

/** As `targetOf`, once it is there. */
export async function targetSeen(plane: Plane, volumeId: string): Promise<string> {
  let path: string | undefined
  await until('there is a target', 60_000, async () => {
    path = await targetOf(plane, volumeId)
    return path !== undefined
  })
  return path ?? ''
}

/** Its limit as its record has it, MiB/s; NaN: none. */
export const limitOf = ({ progress: { pace } }: Operation): number =>
  (pace?.limit_bytes_per_second ?? Number.NaN) / mib

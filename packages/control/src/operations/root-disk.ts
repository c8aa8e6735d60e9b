import { DomainError } from '@volant/contract'
import { virtualFreeBytes } from '../domain/placement.ts'
import { gib, type Copy, type Volume } from '../domain/volume.ts'
import type { Backend } from '../ports/backend.ts'
import type { Pools } from '../ports/block-storage.ts'
import type { AttachmentRecords, CopyRecords, VolumeRecords } from '../ports/records.ts'
import { callerOf } from './caller.ts'

/** The root disk of a server that booted from an image: a hidden volume, which grows with its flavor. */
export interface RootDiskPorts {
  attachments: Pick<AttachmentRecords, 'ofServer'>
  volumes: Pick<VolumeRecords, 'get' | 'update'>
  copies: Pick<CopyRecords, 'get' | 'update'>
  backend: Pick<Backend, 'ensureImageSize' | 'imageInfo'>
  pools: Pick<Pools, 'candidates'>
}

interface RootDisk {
  volume: Volume
  copy: Copy
}

async function rootDiskOf(ports: RootDiskPorts, serverId: string): Promise<RootDisk | undefined> {
  const root = (await ports.attachments.ofServer(serverId)).find(({ rootOf }) => rootOf === serverId)
  if (root === undefined) return undefined
  const volume = await ports.volumes.get(root.volumeId)
  return volume.imageId === null ? undefined : { volume, copy: await ports.copies.get(volume.imageId) }
}

/** Throws `noCapacity` where its pool cannot promise what it is to grow. Changes nothing. */
export async function requireRootDiskRoom(
  ports: RootDiskPorts,
  serverId: string,
  diskGib: number,
): Promise<void> {
  const found = await rootDiskOf(ports, serverId)
  if (found === undefined || found.volume.sizeGib >= diskGib) return
  const pool = (await ports.pools.candidates()).find(({ flexvolId }) => flexvolId === found.copy.flexvolId)
  const moreGib = diskGib - found.volume.sizeGib
  if (pool === undefined || moreGib * gib <= virtualFreeBytes(pool)) return
  throw new DomainError(
    'noCapacity',
    `Pool ${pool.pool} cannot promise the root disk ${moreGib} GiB more. Choose a flavor with a smaller disk.`,
  )
}

/** Grows it while nobody has it open. It never shrinks again: a server that goes back keeps the larger one. */
export async function growRootDisk(
  ports: RootDiskPorts,
  op: { id: string; fence: number },
  serverId: string,
  diskGib: number,
): Promise<void> {
  const found = await rootDiskOf(ports, serverId)
  if (found === undefined || found.volume.sizeGib >= diskGib) return
  await ports.backend.ensureImageSize(callerOf(op), found.copy, diskGib * gib)
  await recordSize(ports, found, diskGib)
}

/** Undoes as much of a growth as can be undone: what has grown is on record. */
export async function settleRootDisk(ports: RootDiskPorts, serverId: string): Promise<void> {
  const found = await rootDiskOf(ports, serverId)
  if (found === undefined) return
  const info = await ports.backend.imageInfo(found.copy)
  const sizeGib = Math.floor((info?.sizeBytes ?? 0) / gib)
  if (sizeGib > found.volume.sizeGib) await recordSize(ports, found, sizeGib)
}

async function recordSize(ports: RootDiskPorts, { volume, copy }: RootDisk, sizeGib: number): Promise<void> {
  await ports.copies.update(copy.imageId, { sizeBytes: sizeGib * gib })
  await ports.volumes.update(volume.id, { sizeGib })
}

import { DomainError } from '@volant/contract'
import type { VolumeMapping } from '../domain/block-device-mapping.ts'
import type { Principal } from '../domain/principal.ts'
import { freeDeviceName, type Server } from '../domain/server.ts'
import type { Attachment } from '../domain/volume.ts'
import type { AttachmentRecords, VolumeRecords } from '../ports/records.ts'
import type { VolumeClaims } from '../ports/servers.ts'
import type { VolumeCreator, VolumeRemover } from '../ports/volumes.ts'
import type { DiskPlan } from './server-disks.ts'

export interface ServerVolumeSources {
  volumes: Pick<VolumeRecords, 'updateIf'>
  attachments: Pick<AttachmentRecords, 'create' | 'remove'>
  claims: VolumeClaims
  creator: VolumeCreator
  remover: VolumeRemover
}

/** Claims the volumes of a new server that are there, and makes the others. `undo` gets what takes each step back. */
export async function takeVolumes(
  sources: ServerVolumeSources,
  { principal, plan }: { principal: Principal; plan: DiskPlan },
  server: Server,
  undo: (() => Promise<unknown>)[],
): Promise<void> {
  const { mappings } = plan
  await makeRootDisk(sources, principal, plan, server, undo)
  const taken = new Set(mappings.some(({ bootIndex }) => bootIndex === 0) ? [] : ['/dev/vda'])
  const ordered = mappings.toSorted((a, b) => (a.bootIndex ?? Infinity) - (b.bootIndex ?? Infinity))
  for (const mapping of ordered) {
    const volumeId =
      'volumeId' in mapping.source
        ? mapping.source.volumeId
        : await makeVolume(sources, principal, mapping, mapping.source, undo)
    const row = attachmentOf(server, volumeId, mapping, freeDeviceName(taken) as string)
    taken.add(row.mountpoint ?? '')
    undo.push(() => sources.attachments.remove(row.id))
    if ('volumeId' in mapping.source) await claim(sources, row, undo)
    else await sources.attachments.create(row)
  }
}

async function makeRootDisk(
  sources: ServerVolumeSources,
  principal: Principal,
  { rootVolume }: DiskPlan,
  server: Server,
  undo: (() => Promise<unknown>)[],
): Promise<void> {
  if (rootVolume === null) return
  const { id } = await sources.creator.createRootDisk(principal, { serverId: server.id, ...rootVolume })
  undo.push(() => sources.remover.removeVolume(id))
  const root = { bootIndex: 0, deleteOnTermination: true }
  const row = { ...attachmentOf(server, id, root, server.rootDeviceName), rootOf: server.id }
  undo.push(() => sources.attachments.remove(row.id))
  await sources.attachments.create(row)
}

async function claim(
  sources: ServerVolumeSources,
  row: Attachment,
  undo: (() => Promise<unknown>)[],
): Promise<void> {
  const { volumeId } = row
  if (!(await sources.claims.attach(row))) {
    throw new DomainError('invalid', `Invalid volume: volume '${volumeId}' is in use or migrating.`)
  }
  undo.push(() => sources.volumes.updateIf(volumeId, { status: ['attaching'] }, { status: 'available' }))
}

async function makeVolume(
  sources: ServerVolumeSources,
  principal: Principal,
  mapping: VolumeMapping,
  source: { sizeGib: number | null; imageId?: string; snapshotId?: string },
  undo: (() => Promise<unknown>)[],
): Promise<string> {
  const { id } = await sources.creator.createVolume(principal, {
    name: '',
    description: '',
    sizeGib: source.sizeGib,
    ...(source.imageId === undefined ? {} : { imageId: source.imageId }),
    ...(source.snapshotId === undefined ? {} : { snapshotId: source.snapshotId }),
    ...(mapping.volumeType === undefined ? {} : { volumeType: mapping.volumeType }),
  })
  undo.push(() => sources.remover.removeVolume(id))
  return id
}

/** The disk's name is ours to choose, as it is the libvirt driver's: names that clients give are not kept. */
const attachmentOf = (
  server: Server,
  volumeId: string,
  mapping: Pick<VolumeMapping, 'bootIndex' | 'deleteOnTermination'>,
  device: string,
  id: string = crypto.randomUUID(),
): Attachment => ({
  id,
  headId: id,
  volumeId,
  serverId: server.id,
  projectId: server.projectId,
  host: null,
  status: 'attaching',
  shareId: null,
  rootOf: null,
  attachMode: 'rw',
  mountpoint: device,
  bootIndex: mapping.bootIndex,
  deleteOnTermination: mapping.deleteOnTermination,
  connector: null,
  attachedAt: null,
  createdAt: server.createdAt,
})

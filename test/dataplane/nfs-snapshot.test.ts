/** A snapshot that can be mounted, beside its share: a clone with a head, a block device and an export of its own. */
import assert from 'node:assert/strict'
import { randomInt, randomUUID } from 'node:crypto'
import { join } from 'node:path'
import { test } from 'node:test'
import { createShareAgent } from '@volant/agent/shares/agent.ts'
import type { FileSystemSpec, ShareExportSpec } from '@volant/contract'
import { backwards } from '../share/backwards.ts'
import { Nfs4Client, NfsError } from './nfs4-client.ts'
import { skipNfs } from './nfs-rig.ts'
import { caller, openRig } from './rig.ts'
import type { TestContext } from 'node:test'
import { GiB, skipShares } from './share-rig.ts'
import { mountXfs, skipXfs } from './xfs.ts'

const skip = skipNfs || skipXfs || (await skipShares())

test(
  'the export of a snapshot serves what the share held then, while the share is written',
  { skip },
  async (t) => {
    const place = backwards(t)
    const aggregate = { name: 'aggr1', path: mountXfs(place, 4 * GiB) }
    const rig = await openRig(place as TestContext)
    const storage = rig.storageAgent({
      node: 'node2',
      stateDir: join(rig.folder, 's2'),
      aggregates: [aggregate],
    })
    await storage.ensureFlexVol(caller, { aggregate: 'aggr1', name: 'fv' })
    const refOf = () => ({ imageId: randomUUID(), aggregate: 'aggr1', flexvol: 'fv' })
    const image = refOf()
    await storage.ensureImage(caller, image, 8 * GiB)
    const net = `127.${randomInt(16, 255)}.${randomInt(256)}`
    const server = { svm: 'svm1', lif: `${net}.1` }
    const places = { node: 'node2', stateDir: join(rig.folder, 'n'), runDir: join(rig.folder, 'r') }
    let agent = createShareAgent(places)
    await agent.adopt()
    place.after(async () => {
      await agent.ensureAllStopped(caller)
      agent.detach()
    })
    const serve = async (
      shareId: string,
      ref: typeof image,
      fileSystem: Pick<FileSystemSpec, 'content' | 'readOnly'>,
      exported: Pick<ShareExportSpec, 'exportId' | 'junctionPath' | 'readOnly'>,
    ) => {
      const head = await rig.holders.ensureHolder(caller, {
        holderId: `head-${shareId}`,
        volumeId: `vol-${shareId}`,
        image: await storage.fileAccess(ref),
        serves: true,
      })
      const { socketPath = '', exportName = '' } = head
      const spec = { shareId, head: { socketPath, exportName }, sizeBytes: GiB, ...fileSystem }
      await agent.ensureFileSystem(caller, spec)
      // Even a rule that says otherwise lets nobody write to what is read-only.
      const clients = [{ to: `${net}.2`, level: 'rw' as const }]
      await agent.ensureShareExport(caller, { shareId, server, rootSquash: false, clients, ...exported })
      return spec
    }
    const [shareId, snapshotId] = [randomUUID(), randomUUID()]
    await serve(shareId, image, { content: 'format' }, { exportId: 1, junctionPath: '/share' })
    const client = await Nfs4Client.open(server.lif, `${net}.2`)
    place.after(async () => client.close())
    const file = await client.openFile('share', 'log', true)
    await client.write(file, 'before')

    await agent.flushFileSystem(caller, shareId)
    const [snapshot, clone] = [refOf(), refOf()]
    await storage.ensureClone(caller, snapshot, image)
    await storage.ensureImageReadOnly(caller, snapshot, true)
    await client.write(file, 'after!')
    await storage.ensureClone(caller, clone, snapshot)
    const shown = { exportId: 2, junctionPath: '/snapshot', readOnly: true }
    const spec = await serve(snapshotId, clone, { content: 'clone', readOnly: true }, shown)

    const there = async () => client.read({ handle: await client.handleOf('snapshot/log') })
    assert.equal(await there(), 'before')
    assert.equal(await client.read(file), 'after!')
    const isReadOnly = (error: unknown): boolean =>
      error instanceof NfsError && ['ROFS', '30'].includes(error.nfs)
    await assert.rejects(client.openFile('snapshot', 'log'), isReadOnly)
    await assert.rejects(client.openFile('snapshot', 'new', true), isReadOnly)
    assert.notDeepEqual(await client.handleOf('snapshot/log'), file.handle)
    await client.write(file, 'later!')
    assert.equal(await there(), 'before')

    // Volant's restart, and what restores a snapshot: all is there, and stays as it is.
    agent.detach()
    agent = createShareAgent(places)
    await agent.adopt()
    await agent.ensureFileSystem(caller, spec)
    assert.equal((await agent.shareStatus(snapshotId)).export?.isServed, true)
    assert.equal(await there(), 'before')

    // Nothing is left of it but the snapshot, and the share goes on.
    await agent.ensureNoShareExport(caller, snapshotId)
    await agent.ensureNoFileSystem(caller, snapshotId)
    await assert.rejects(client.handleOf('snapshot/log'))
    // Mounted again, as after a restart of the machine that knows nothing of it any more.
    await serve(snapshotId, clone, { content: 'clone', readOnly: true }, shown)
    assert.equal(await there(), 'before')
    assert.equal(await client.read(file), 'later!')
  },
)

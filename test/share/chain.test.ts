import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { createShareAgent } from '@volant/agent/shares/agent.ts'
import type { FileSystemSpec, ShareExportSpec } from '@volant/contract'
import { caller, openRig, until } from '../dataplane/rig.ts'
import { mountXfs, skipXfs } from '../dataplane/xfs.ts'
import { backwards } from './backwards.ts'
import { chainOf, type ChainRole } from './chain.ts'
import { openShareNetwork, pathOfNetns } from './network.ts'
import { openNfsGuest } from './nfs-guest.ts'
import { killNow, openShareUser } from './users.ts'

const lif = '10.97.0.11'
const shareId = '5f0c6a52-9d0e-4c6b-8d3a-111111111111'
const holderId = 'share-head'
const gibibyte = 2 ** 30

test(
  'the agents by themselves: each process below an NFS client is killed, and the image changes its aggregate',
  { skip: skipXfs },
  async (t) => {
    const place = backwards(t)
    const network = openShareNetwork(1)
    place.after(() => network.close())
    network.addLif(0, lif)
    const aggregates = ['aggr1', 'aggr2'].map((name) => ({ name, path: mountXfs(place, 4 * gibibyte) }))
    const rig = await openRig(place as TestContext)
    const storage = rig.storageAgent({ node: 'node2', stateDir: join(rig.folder, 's2'), aggregates })
    const images = []
    for (const { name } of aggregates) {
      const ref = { imageId: randomUUID(), aggregate: name, flexvol: 'share_1' }
      await storage.ensureFlexVol(caller, { aggregate: name, name: 'share_1' })
      await storage.ensureImage(caller, ref, 8 * gibibyte)
      images.push(await storage.fileAccess(ref))
    }
    const [source, target] = images
    assert.ok(source !== undefined && target !== undefined)
    const head = await rig.holders.ensureHolder(caller, {
      holderId,
      volumeId: 'vol-1',
      image: source,
      serves: true,
    })

    const newAgent = () =>
      createShareAgent({
        node: 'node2',
        stateDir: join(rig.folder, 'n'),
        runDir: join(rig.folder, 'nr'),
        netns: pathOfNetns(network.nodes[0]?.netns ?? ''),
      })
    let agent = newAgent()
    place.after(async () => {
      await agent.ensureAllStopped(caller)
      agent.detach()
    })
    const fileSystem: FileSystemSpec = {
      shareId,
      head: { socketPath: head.socketPath ?? '', exportName: head.exportName ?? '' },
      sizeBytes: gibibyte,
      content: 'format',
    }
    const exported: ShareExportSpec = {
      shareId,
      server: { svm: 'svm1', lif },
      exportId: 1,
      junctionPath: '/share_1',
      clients: [
        { to: '10.97.0.101', level: 'rw' },
        { to: '10.97.0.102', level: 'rw' },
      ],
      rootSquash: false,
    }
    await agent.ensureFileSystem(caller, fileSystem)
    await agent.ensureShareExport(caller, exported)

    const folder = mkdtempSync(join(tmpdir(), 'vg-'))
    place.after(() => rmSync(folder, { recursive: true, force: true }))
    const [guest, other] = [
      await openNfsGuest({ network, folder, name: 'client-1' }),
      await openNfsGuest({ network, folder, name: 'client-2' }),
    ]
    place.after(() => guest.kill())
    place.after(() => other.kill())
    const user = await openShareUser(guest, other, `${lif}:/share_1`)

    const event = async (what: string, deed: () => Promise<void>): Promise<void> => {
      const from = Date.now()
      await deed()
      const { pauseMs, slowest } = await user.goesOn(from)
      t.diagnostic(`${what}: longest record ${pauseMs} ms, slowest ${slowest}`)
      assert.deepEqual(await user.look(), [], what)
    }
    const roles: ChainRole[] = [
      'block device worker',
      'block device supervisor',
      'volume head',
      'NFS server',
      'message bus',
    ]
    const pidsOf = (role: ChainRole): number[] =>
      chainOf(rig.folder).flatMap((one) => (one.role === role ? [one.pid] : []))
    for (const role of roles) {
      await event(`kill: ${role}`, async () => {
        const before = pidsOf(role)
        assert.notDeepEqual(before, [], `there is a ${role}`)
        for (const pid of before) killNow(pid)
        await until(`another ${role} runs`, async () => {
          const now = pidsOf(role)
          return now.length >= before.length && !now.some((pid) => before.includes(pid))
        })
      })
    }
    await event('another agent', async () => {
      agent.detach()
      agent = newAgent()
      await agent.adopt()
    })
    await event('cutover', async () => {
      const jobId = 'op-1'
      await rig.holders.ensureMirror(caller, { holderId, jobId, target, rate: 0 })
      await until('both are equal', async () => {
        return (await rig.holders.mirrorStatus(holderId, jobId)).phase === 'ready'
      })
      await rig.holders.prepareCutover(caller, holderId, jobId, 10_000)
      await rig.holders.commitCutover(caller, holderId, jobId)
      await rig.holders.finalizeCutover(caller, holderId, jobId, target)
    })
    await event('grow', async () => {
      await agent.ensureFileSystemSize(caller, shareId, 2 * gibibyte)
    })
    const { problems, acknowledged } = await user.verify()
    assert.deepEqual(problems, [])
    t.diagnostic(`${acknowledged} records`)
    assert.deepEqual(await user.leave(), [])
    await agent.ensureNoShareExport(caller, shareId)
    await agent.ensureNoFileSystem(caller, shareId)
  },
)

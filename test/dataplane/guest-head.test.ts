import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { test } from 'node:test'
import { verifyImage } from '../../probe/verify.ts'
import { openGuestRig, until } from './guest-rig.ts'
import { caller, MiB, openRig } from './rig.ts'

test('a guest writes on through its head: killed, grown, relocated twice, and nothing is lost', async (t) => {
  const rig = await openRig(t)
  const guests = openGuestRig(t)
  const volumeId = randomUUID()
  const serial = volumeId.slice(0, 20)
  let image = await rig.newImage()
  const spec = { holderId: 'att-1', volumeId, image: image.access, serves: true }
  const head = await rig.holders.ensureHolder(caller, spec)
  const disk = {
    attachmentId: 'att-1',
    volumeId,
    socketPath: head.socketPath ?? '',
    exportName: head.exportName ?? '',
    boot: false,
  }
  const agent = guests.agent()
  await agent.ensureGuest(caller, await guests.spec('s1', { disks: [disk] }, 'probe.fill=16M'))
  const seconds = () => guests.lines('s1', serial).filter((line) => line.kind === 'progress')
  const secondsPass = async (count: number) => {
    const before = seconds().length
    await until('the guest reports', () => seconds().length >= before + count)
    return Math.max(
      ...seconds()
        .slice(before)
        .map((line) => Math.max(line.maxms, line.inflightms)),
    )
  }
  await until('the guest has filled its disk', () => (seconds().at(-1)?.acked ?? 0) > 16 * 256 + 150)

  process.kill(head.pid, 'SIGKILL')
  t.diagnostic(`head killed: longest request ${await secondsPass(2)} ms`)

  for (let move = 0; move < 2; move += 1) {
    const target = await rig.newImage()
    const jobId = `op-${move}`
    await rig.holders.ensureMirror(caller, { holderId: 'att-1', jobId, target: target.access, rate: 0 })
    const phase = async () => (await rig.holders.mirrorStatus('att-1', jobId)).phase
    await until('the copy is ready', async () => (await phase()) === 'ready')
    await rig.holders.prepareCutover(caller, 'att-1', jobId, 5000)
    await rig.holders.commitCutover(caller, 'att-1', jobId)
    const { pauseMs } = await rig.holders.finalizeCutover(caller, 'att-1', jobId, target.access)
    await rig.storage.ensureNoImage(caller, image.ref)
    image = target
    t.diagnostic(
      `relocated: reported pause ${pauseMs.toFixed(1)} ms, longest request ${await secondsPass(2)} ms`,
    )
  }

  await rig.holders.ensureSize(caller, 'att-1', 96 * MiB)
  await agent.ensureDiskSize(caller, 's1', 'att-1', 96 * MiB)
  await until('the guest uses the new size', () =>
    guests.lines('s1', serial).some((line) => line.kind === 'found' && line.size === 96 * MiB),
  )
  t.diagnostic(`grown: longest request ${await secondsPass(2)} ms`)
  assert.equal((await agent.guestStatus('s1')).state, 'running')
  await sleep(500)
  await agent.ensureNoDisk(caller, 's1', 'att-1', 60_000)
  await rig.holders.ensureNoHolder(caller, 'att-1')
  const report = await verifyImage({ imagePath: image.access.path, consoleLog: guests.console('s1'), serial })
  t.diagnostic(`${report.acknowledgedWrites} writes, ${report.blocksChecked} blocks checked`)
  assert.deepEqual(report.problems, [])
  assert.equal(report.ok, true)
  assert.ok(report.acknowledgedWrites > 16 * 256 + 150)
})

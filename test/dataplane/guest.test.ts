import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { existsSync, statSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { setTimeout as sleep } from 'node:timers/promises'
import { test } from 'node:test'
import { isDomainError } from '@volant/contract'
import type { DiskLatency, GuestSpec, LatencyHistogram } from '@volant/contract'
import { verifyImage } from '../../probe/verify.ts'
import { caller, openGuestRig, until } from './guest-rig.ts'
import type { GuestRig } from './guest-rig.ts'

const run = promisify(execFile)
const volumeId = '7d4c0e1e-0000-4000-8000-000000000001'
const serial = volumeId.slice(0, 20)
const size = 64 << 20

const sum = (counts: number[]): number => counts.reduce((total, count) => total + count, 0)

/** Requests that took at least so many nanoseconds, as far as the bins tell. */
const slowerThan = ({ boundsNs, counts }: LatencyHistogram, ns: number): number =>
  sum(counts.slice(1).filter((_count, index) => (boundsNs[index] ?? 0) >= ns))

/** Of the only disk of server `s1`. */
const latencyOf = async (rig: GuestRig): Promise<DiskLatency> => {
  const [one, ...others] = await rig.agent().guestLatency('s1')
  assert.ok(one && others.length === 0)
  return one
}

const refused = (code: string) => (error: unknown) => isDomainError(error) && error.code === code

test('a guest writes to a hot-plugged disk through growth, a restart of the agent, and detachment', async (t) => {
  const rig = openGuestRig(t)
  const daemon = rig.daemon('att-1', volumeId, size)
  await daemon.start()
  const spec = await rig.spec('s1')

  const began = performance.now()
  const started = await rig.agent().ensureGuest(caller, spec)
  assert.equal(started.state, 'running')
  await until('the guest is up', () => rig.console('s1').includes('PROBE ready'))
  t.diagnostic(`boot ${Math.round(performance.now() - began)} ms`)
  assert.equal((await rig.agent().ensureGuest(caller, spec)).pid, started.pid)

  const plugged = performance.now()
  await rig.agent().ensureDisk(caller, 's1', daemon.disk)
  await until('the guest finds the disk', () => rig.lines('s1', serial).length > 0)
  t.diagnostic(`plugged in and found after ${Math.round(performance.now() - plugged)} ms`)
  await rig.agent().ensureDisk(caller, 's1', daemon.disk)
  assert.deepEqual((await rig.agent().guestStatus('s1')).diskAttachmentIds, ['att-1'])

  await until('the guest writes', () => ackedBy(rig, 's1') > 150)
  const first = await latencyOf(rig)
  assert.equal(first.volumeId, volumeId)
  const asked = ackedBy(rig, 's1')
  await until('the guest writes on', () => ackedBy(rig, 's1') > asked + 200)
  await daemon.stallFor(400)
  // The request that waited is counted when it has ended, and the console lags behind the disk.
  let counted = await latencyOf(rig)
  const isCounted = (): boolean =>
    sum(counted.writes.counts) >= 200 && slowerThan(counted.writes, 300e6) > slowerThan(first.writes, 300e6)
  await until('the writes are counted, the one that waited for the stalled daemon as slow', async () => {
    counted = await latencyOf(rig)
    return isCounted()
  })
  assert.equal(counted.since, first.since)
  await daemon.grow(size * 2)
  await rig.agent().ensureDiskSize(caller, 's1', 'att-1', size * 2)
  await rig.agent().ensureDiskSize(caller, 's1', 'att-1', size * 2)
  await until('the guest uses the new size', () =>
    rig.lines('s1', serial).some((line) => line.kind === 'found' && line.size === size * 2),
  )

  const adopted = await rig.restartAgent()
  assert.equal((await adopted.ensureGuest(caller, spec)).pid, started.pid)
  assert.deepEqual((await adopted.guestStatus('s1')).diskAttachmentIds, ['att-1'])
  const [again, atOnce] = await Promise.all([latencyOf(rig), latencyOf(rig)])
  assert.ok(sum(again.writes.counts) >= sum(counted.writes.counts), 'the count is not begun anew')
  assert.equal(again.since, atOnce.since)
  const grown = ackedBy(rig, 's1')
  await until('the guest writes on', () => ackedBy(rig, 's1') > grown + 200)
  const consoleLog = rig.console('s1')
  const live = await verifyImage({ imagePath: daemon.imagePath, consoleLog, serial, live: true })
  assert.deepEqual(live.problems, [])

  const unplugged = performance.now()
  await adopted.ensureNoDisk(caller, 's1', 'att-1', 60_000)
  t.diagnostic(`detached after ${Math.round(performance.now() - unplugged)} ms`)
  await adopted.ensureNoDisk(caller, 's1', 'att-1', 60_000)
  assert.deepEqual(await adopted.guestLatency('s1'), [], 'a disk that is not there counts nothing')
  await until('the guest notices', () => /PROBE vd\w+ gone/.test(rig.console('s1')))
  const report = await verifyImage({ imagePath: daemon.imagePath, consoleLog: rig.console('s1'), serial })
  assert.deepEqual(report.problems, [])
  assert.equal(report.ok, true)
  assert.equal(report.sessions, 2)
  assert.ok(report.acknowledgedWrites > 400, `${report.acknowledgedWrites} writes`)

  await assert.rejects(adopted.ensureDisk({ fence: 0 }, 's1', daemon.disk), refused('staleFence'))
  const off = performance.now()
  await adopted.ensureGuestStopped(caller, 's1', 60_000)
  t.diagnostic(`powered off after ${Math.round(performance.now() - off)} ms`)
  assert.match(await adopted.consoleOutput('s1', 3), /PROBE poweroff/)
  const stopped = await adopted.guestStatus('s1')
  assert.deepEqual([stopped.state, stopped.reason], ['stopped', undefined])
  await until('the process is gone', () => !existsSync(`/proc/${started.pid}`))
  await assert.rejects(adopted.ensureDisk(caller, 's1', daemon.disk), refused('conflict'))
  await assert.rejects(adopted.guestLatency('s1'), refused('conflict'))
  await adopted.ensureNoGuest(caller, 's1')
  assert.equal((await adopted.guestStatus('s1')).state, 'absent')
})

test('a storage daemon that is killed and comes back is a pause for the guest, and nothing is lost', async (t) => {
  const rig = openGuestRig(t)
  const daemon = rig.daemon('att-2', volumeId, size)
  await daemon.start()
  const spec = await rig.spec('s2', { disks: [daemon.disk] })
  await rig.agent().ensureGuest(caller, spec)
  await until('the guest writes', () => rig.lines('s2', serial).some((line) => line.kind === 'progress'))
  await daemon.kill()
  await sleep(1500)
  await daemon.start()
  const acked = (): number => {
    const last = rig.lines('s2', serial).at(-1)
    return last?.kind === 'progress' ? last.acked : 0
  }
  const before = acked()
  await until('the guest goes on', () => acked() > before + 200)
  await rig.agent().ensureGuestStopped(caller, 's2', 5000)
  const report = await verifyImage({ imagePath: daemon.imagePath, consoleLog: rig.console('s2'), serial })
  t.diagnostic(`${report.acknowledgedWrites} writes, longest ${report.maxLatencyMs} ms`)
  assert.deepEqual(report.problems, [])
  assert.equal(report.ok, true)
  assert.ok(report.maxLatencyMs > 1000, 'the fault must have been felt')
})

const ackedBy = (rig: GuestRig, serverId: string): number =>
  rig
    .lines(serverId, serial)
    .filter((line) => line.kind === 'progress')
    .reduce((highest, line) => Math.max(highest, line.acked), 0)

test('a storage fault beyond the reconnect delay pauses the guest, until the storage is back', async (t) => {
  const rig = openGuestRig(t, { reconnectDelaySeconds: 1 })
  const daemon = rig.daemon('att-3', volumeId, size)
  await daemon.start()
  await rig.agent().ensureGuest(caller, await rig.spec('s3', { disks: [daemon.disk] }))
  const stateIs = (state: string) => async () => (await rig.agent().guestStatus('s3')).state === state
  await until('the guest writes', () => ackedBy(rig, 's3') > 0)

  for (const restart of [false, true]) {
    await daemon.kill()
    await until('the guest is paused', stateIs('paused-io-error'))
    assert.match((await rig.agent().guestStatus('s3')).reason ?? '', /on attachment att-3 failed/)
    if (restart) await rig.restartAgent()
    const acked = ackedBy(rig, 's3')
    const back = performance.now()
    await daemon.start()
    await until('the guest runs', stateIs('running'))
    t.diagnostic(`runs ${Math.round(performance.now() - back)} ms after its storage is back`)
    await until('the guest writes on', () => ackedBy(rig, 's3') > acked + 100)
    assert.equal((await rig.agent().guestStatus('s3')).reason, undefined)
  }

  await daemon.kill()
  await until('the guest is paused', stateIs('paused-io-error'))
  await rig.agent().ensureGuestPaused(caller, 's3', true)
  await daemon.start()
  for (let passedMs = 0; passedMs < 4500; passedMs += 500) {
    assert.equal((await rig.agent().guestStatus('s3')).state, 'paused', 'what the user paused stays paused')
    await sleep(500)
  }
  await rig.agent().ensureGuestPaused(caller, 's3', false)
  const acked = ackedBy(rig, 's3')
  await until('the guest writes on', () => ackedBy(rig, 's3') > acked + 100)
  await rig.agent().ensureGuestStopped(caller, 's3', 5000)
  const report = await verifyImage({ imagePath: daemon.imagePath, consoleLog: rig.console('s3'), serial })
  assert.deepEqual([report.ok, report.problems, report.errorsSeenByGuest], [true, [], 0])
})

test('reboots keep the disks; a QEMU that is killed is a stopped server with a reason', async (t) => {
  const rig = openGuestRig(t)
  const daemon = rig.daemon('att-4', volumeId, size)
  await daemon.start()
  const spec = await rig.spec('s4', { disks: [daemon.disk] }, 'probe.iops=500')
  const { pid } = await rig.agent().ensureGuest(caller, spec)
  const sessions = (): number => rig.lines('s4', serial).filter((line) => line.kind === 'found').length
  await until('the guest writes', () => ackedBy(rig, 's4') > 0)
  await rig.agent().rebootGuest(caller, 's4', 'soft')
  await until('the guest is up again', () => sessions() === 2)
  assert.match(rig.console('s4'), /PROBE poweroff/)
  await until('the guest writes again', () => rig.lines('s4', serial).at(-1)?.kind === 'progress')
  await rig.agent().rebootGuest(caller, 's4', 'hard')
  const status = await rig.agent().guestStatus('s4')
  assert.deepEqual([status.pid, status.state, status.diskAttachmentIds], [pid, 'running', ['att-4']])

  process.kill(pid ?? 0, 'SIGKILL')
  await until('the death is seen', async () => (await rig.agent().guestStatus('s4')).state === 'stopped')
  assert.match((await rig.agent().guestStatus('s4')).reason ?? '', /ended unexpectedly/)
  const killed = await verifyImage({ imagePath: daemon.imagePath, consoleLog: rig.console('s4'), serial })
  assert.deepEqual(killed.problems, [])

  const [one, two] = await Promise.all([
    rig.agent().ensureGuest(caller, spec),
    rig.agent().ensureGuest(caller, spec),
  ])
  assert.equal(one.pid, two.pid)
  assert.notEqual(one.pid, pid)
  await until('the guest is up again', () => sessions() === 3)
  await rig.agent().ensureGuestStopped(caller, 's4', 0)
  const report = await verifyImage({ imagePath: daemon.imagePath, consoleLog: rig.console('s4'), serial })
  assert.deepEqual([report.ok, report.problems, report.sessions], [true, [], 3])
})

test('whether KVM works is found out by running a guest, once', async (t) => {
  const rig = openGuestRig(t, {
    probeKernel: async () => {
      const { kernel } = await rig.spec('any')
      assert.ok(kernel)
      return kernel
    },
  })
  const tried = async () => !/being tried/.test((await rig.agent().facts()).acceleratorReason ?? '')
  await until('KVM was tried', tried)
  const facts = await rig.agent().facts()
  t.diagnostic(`${facts.accelerator} ${facts.acceleratorReason ?? ''}`)
  assert.equal(facts.acceleratorReason === undefined, facts.accelerator === 'kvm')
  assert.match(facts.qemuVersion, /^\d+\.\d+/)
  assert.ok(facts.memoryMiB >= facts.freeMemoryMiB && facts.freeMemoryMiB > 0)
  assert.ok(facts.localDiskGiB >= facts.freeDiskGiB)
  const agent = await rig.restartAgent()
  const again = await agent.facts()
  assert.deepEqual([again.accelerator, again.acceleratorReason], [facts.accelerator, facts.acceleratorReason])
})

test('a server has its own root disk and ports; what is not there is refused before anything starts', async (t) => {
  const namespace = `vg-${process.pid}`
  const ip = (...words: string[]) => run('ip', words)
  await ip('netns', 'add', namespace)
  t.after(() => ip('netns', 'delete', namespace))
  await ip('-n', namespace, 'link', 'add', 'br0', 'type', 'bridge')
  const rig = openGuestRig(t, { netns: `/run/netns/${namespace}` })
  const sourcePath = join(rig.folder, 'image.qcow2')
  const sourceFormat = 'qcow2'
  await run('qemu-img', ['create', '-q', '-f', 'qcow2', sourcePath, '16M'])
  const nics = [{ bridge: 'br0', mac: 'fa:16:3e:00:00:01' }]
  const rootDisk = { sourcePath, sourceFormat, sizeBytes: size } as const
  const agent = rig.agent()

  const ensure = async (more: Partial<GuestSpec>) => agent.ensureGuest(caller, await rig.spec('s5', more))
  await assert.rejects(ensure({ nics: [{ bridge: 'br9', mac: 'fa:16:3e:00:00:01' }] }), /no bridge "br9"/)
  await assert.rejects(ensure({ rootDisk: { ...rootDisk, sizeBytes: 8 << 20 } }), /does not fit/)
  const overlay = join(rig.folder, 'overlay.qcow2')
  await run('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', sourcePath, '-F', 'qcow2', overlay])
  await assert.rejects(ensure({ rootDisk: { ...rootDisk, sourcePath: overlay } }), /refers to another file/)
  const nowhere = { attachmentId: 'a', volumeId, socketPath: '/nowhere', exportName: 'a', boot: false }
  await assert.rejects(ensure({ nics, disks: [nowhere] }), refused('unavailable'))
  assert.equal((await agent.guestStatus('s5')).state, 'stopped')
  const ports = async () => (await ip('-n', namespace, '-br', 'link', 'show', 'master', 'br0')).stdout
  assert.equal(await ports(), '')

  await ensure({ nics, rootDisk })
  await until('the guest is up', () => rig.console('s5').includes('PROBE ready'))
  assert.match(await ports(), /^vt[0-9a-f]{12} /)
  assert.equal(statSync(join(rig.folder, 'state/guests/s5/root.raw')).size, size)
  assert.ok(!rig.console('s5').includes('found'), 'a disk without a serial is left alone')
  await agent.ensureNoGuest(caller, 's5')
  assert.equal(await ports(), '')
  assert.deepEqual(await agent.listGuests(), [])
})

/** A boot sector that says `text` on the serial port and halts. */
const bootSector = (text: string): Buffer => {
  const sector = Buffer.alloc(512)
  // cli; ax = ds = 0; si = message; dx = 0x3f8; print: lodsb; test al, al; jz halt; out dx, al; jmp print; halt.
  Buffer.from('fa31c08ed8be167cbaf803ac84c07403eeebf8f4ebfd', 'hex').copy(sector)
  sector.write(`${text}\r\n`, 22, 'latin1')
  sector.writeUInt16LE(0xaa55, 510)
  return sector
}

test('without a kernel the firmware boots from the volume that is marked for it', async (t) => {
  const rig = openGuestRig(t)
  const daemons = [rig.daemon('data', volumeId, size), rig.daemon('boot', volumeId, size)] as const
  for (const [index, daemon] of daemons.entries()) {
    const image = await open(daemon.imagePath, 'r+')
    await image.write(bootSector(`booted from disk ${index}`), 0, 512, 0)
    await image.close()
    await daemon.start()
  }
  const disks = [daemons[0].disk, { ...daemons[1].disk, boot: true }]
  const { kernel: _kernel, ...spec } = await rig.spec('s6', { disks })
  await rig.agent().ensureGuest(caller, spec)
  await until('the volume boots', () => /booted from disk/.test(rig.console('s6')))
  assert.match(rig.console('s6'), /booted from disk 1/)
  for (const timeoutMs of [300, 4000]) {
    const asked = rig.agent().ensureNoDisk(caller, 's6', 'data', timeoutMs)
    await assert.rejects(asked, refused('conflict'), 'a guest without an operating system gives nothing back')
  }
  assert.deepEqual((await rig.agent().guestStatus('s6')).diskAttachmentIds.toSorted(), ['boot', 'data'])
  const off = performance.now()
  await rig.agent().ensureGuestStopped(caller, 's6', 1000)
  assert.ok(performance.now() - off >= 900, 'a guest that does not power off has its time')
  assert.equal((await rig.agent().guestStatus('s6')).state, 'stopped')
})

import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { test } from 'node:test'
import { isDomainError } from '@volant/contract'
import { lostWrites } from './records.ts'
import { caller, longestMs, openRig, startWriter, until } from './rig.ts'

const refused = (code: string) => (error: unknown) => isDomainError(error) && error.code === code

test('a head serves an image, is found again, and ends without litter', async (t) => {
  const rig = await openRig(t)
  const { ref, access } = await rig.newImage()
  const spec = { holderId: 'att-1', volumeId: 'vol-1', image: access, serves: true }
  const head = await rig.holders.ensureHolder(caller, spec)
  assert.equal(head.imageId, ref.imageId)
  const again = await rig.restartHolders().ensureHolder(caller, spec)
  assert.deepEqual(again, head)
  await assert.rejects(rig.storage.ensureNoImage(caller, ref), refused('conflict'))
  await rig.holders.ensureNoHolder(caller, 'att-1')
  assert.equal(existsSync(`/proc/${head.pid}/fd/0`), false)
  assert.equal(existsSync(head.socketPath ?? ''), false)
  assert.deepEqual(await rig.holders.listHolders(), [])
  const left = ['h/holders', 'h/log', 'r'].flatMap((name) => readdirSync(join(rig.folder, name)))
  assert.deepEqual(left, [], 'no record, log or socket is left')
  await rig.storage.ensureNoImage(caller, ref)
})

test('a head killed under load comes back on its image, and no acknowledged write is lost', async (t) => {
  const rig = await openRig(t)
  const { access } = await rig.newImage()
  const head = await rig.holders.ensureHolder(caller, {
    holderId: 'att-2',
    volumeId: 'vol-2',
    image: access,
    serves: true,
  })
  const writer = await startWriter(t, head, { perSecond: 1000 })
  for (let kill = 0; kill < 3; kill++) {
    await sleep(400)
    const before = await rig.holders.holderStatus('att-2')
    process.kill(before?.pid ?? 0, 'SIGKILL')
    await until('the head is back', async () => {
      const now = await rig.holders.holderStatus('att-2').catch(() => undefined)
      return now !== undefined && now.pid !== before?.pid
    })
    await until('the client is back', async () => (await writer.connections()) === kill + 2)
  }
  await sleep(300)
  const result = await writer.stop()
  t.diagnostic(
    `${result.writes} writes, longest ${longestMs(result).toFixed(1)} ms, ${result.connections} connections`,
  )
  assert.equal(result.connections, 4, 'the client must have lost its connection three times')
  assert.equal(result.errors, 0)
  await rig.holders.ensureNoHolder(caller, 'att-2')
  assert.deepEqual(await lostWrites(access.path, result), [])
})

test('a daemon that was started and never written down is ended, not doubled', async (t) => {
  const rig = await openRig(t)
  const { access } = await rig.newImage()
  const spec = { holderId: 'att-3', volumeId: 'vol-3', image: access, serves: true }
  const unknown = await rig.holders.ensureHolder(caller, spec)
  const path = join(rig.folder, 'h', 'holders', 'att-3.json')
  const record = JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>
  rig.holders.detach()
  writeFileSync(path, JSON.stringify({ ...record, daemon: {} }))
  const head = await rig.restartHolders().ensureHolder(caller, spec)
  assert.notEqual(head.pid, unknown.pid)
  assert.equal(head.exportName, unknown.exportName)
  assert.ok(!existsSync(`/proc/${unknown.pid}/fd/0`), 'the first daemon is gone')
  const writer = await startWriter(t, head)
  await sleep(100)
  assert.equal((await writer.stop()).errors, 0)
})

test('a head whose socket keeper died too comes back at the same address', async (t) => {
  const rig = await openRig(t)
  const { access } = await rig.newImage()
  const spec = { holderId: 'att-4', volumeId: 'vol-4', image: access, serves: true }
  const head = await rig.holders.ensureHolder(caller, spec)
  const writer = await startWriter(t, head)
  await sleep(100)
  const record = JSON.parse(readFileSync(join(rig.folder, 'h', 'holders', 'att-4.json'), 'utf8')) as {
    daemon: { keeper: { pid: number } }
  }
  process.kill(record.daemon.keeper.pid, 'SIGKILL')
  await sleep(50)
  process.kill(head.pid, 'SIGKILL')
  await until('the client is back', async () => (await writer.connections()) === 2)
  const written = await writer.writes()
  await until('it writes on', async () => (await writer.writes()) > written)
  const result = await writer.stop()
  t.diagnostic(`longest write ${longestMs(result).toFixed(0)} ms`)
  assert.equal(result.connections, 2)
  await rig.holders.ensureNoHolder(caller, 'att-4')
  assert.deepEqual(await lostWrites(access.path, result), [])
})

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { backwards } from './backwards.ts'
import { mountXfs, skipXfs } from '../dataplane/xfs.ts'
import { handMadeServer } from './hand-made.ts'
import { openShareNetwork } from './network.ts'
import { findingsText, lostRecords, openNfsGuest } from './nfs-guest.ts'

test(
  'a guest mounts, writes, locks, walks and maps; its server is killed and comes back: no error, nothing lost',
  { skip: skipXfs },
  async (t) => {
    const place = backwards(t)
    const folder = mkdtempSync(join(tmpdir(), 'vg-'))
    const network = openShareNetwork(1)
    place.after(() => {
      network.close()
      rmSync(folder, { recursive: true, force: true })
    })
    const lif = '10.97.0.11'
    network.addLif(0, lif)
    const path = mountXfs(place, 512 << 20)
    const server = handMadeServer(folder, network.nodes[0]?.netns ?? '', lif, [
      { id: 1, path, pseudo: '/share_1', clients: ['10.97.0.101', '10.97.0.102'] },
    ])
    place.after(() => server.kill())
    await server.start()
    const guest = await openNfsGuest({ network, folder, name: 'client-1' })
    place.after(() => guest.kill())
    const other = await openNfsGuest({ network, folder, name: 'client-2' })
    place.after(() => other.kill())
    for (const one of [guest, other]) {
      await one.must('mount', { source: `${lif}:/share_1`, at: '/mnt/a', client: one.address })
    }
    await guest.must('mkdir', { file: '/mnt/a/work' })
    const works = ['writer', 'lock', 'unlinked', 'walk', 'mapped'] as const
    for (const kind of works)
      await guest.start(kind, kind, '/mnt/a/work', { rate: 40, count: kind === 'walk' ? 50 : 0 })
    await guest.goesOn('writer', 40)
    t.diagnostic(JSON.stringify([...guest.works.values()]))
    const before = await guest.must('identity', { file: '/mnt/a/work/lock' })
    assert.equal((await other.ask('lock', { file: '/mnt/a/work/lock' })).error, 'EAGAIN')

    await server.kill()
    await server.start()
    for (const kind of works) await guest.goesOn(kind, 3)
    assert.equal((await other.ask('lock', { file: '/mnt/a/work/lock' })).error, 'EAGAIN', 'the lock is held')
    const after = await guest.must('identity', { file: '/mnt/a/work/lock' })
    assert.deepEqual([after['inode'], after['handle']], [before['inode'], before['handle']])

    await guest.must('pause', { work: 'writer' })
    await guest.must('drop')
    const acks = guest.acks.get('writer') ?? []
    const { seqs } = await guest.must('records', { file: '/mnt/a/work/writer', work: 'writer' })
    assert.deepEqual(lostRecords(acks, seqs as number[]), [])
    t.diagnostic(`${acks.length} records; largest pause ${Math.max(...acks.map(({ ms }) => ms))} ms`)
    assert.equal(findingsText(guest), '')
    await guest.must('stop', { work: 'lock' })
    assert.equal(
      (await other.ask('lock', { file: '/mnt/a/work/lock' })).ok,
      true,
      'a lock that is given back is free',
    )
  },
)

test(
  'another version of the protocol, a measurement, and what the guest says of what it may not',
  { skip: skipXfs },
  async (t) => {
    const place = backwards(t)
    const folder = mkdtempSync(join(tmpdir(), 'vg-'))
    const network = openShareNetwork(1)
    place.after(() => {
      network.close()
      rmSync(folder, { recursive: true, force: true })
    })
    const lif = '10.97.0.11'
    network.addLif(0, lif)
    const path = mountXfs(place, 512 << 20)
    const server = handMadeServer(folder, network.nodes[0]?.netns ?? '', lif, [
      { id: 1, path, pseudo: '/share_1', clients: ['10.97.0.101'] },
      { id: 2, path: folder, pseudo: '/share_2', clients: ['10.97.0.102'] },
    ])
    place.after(() => server.kill())
    await server.start()
    const guest = await openNfsGuest({ network, folder, name: 'client-1' })
    place.after(() => guest.kill())
    const mount = (pseudo: string, vers: string) =>
      guest.ask('mount', { source: `${lif}:${pseudo}`, at: '/mnt/a', vers, client: guest.address })
    assert.equal((await mount('/share_2', '4.2')).error, 'ENOENT', 'an export of others is not seen')
    assert.equal((await mount('/share_1', '4.2')).ok, true)
    const file = '/mnt/a/bench'
    for (const mode of ['write', 'randwrite', 'read', 'randread']) {
      const { requests, bytesPerSecond } = await guest.must('bench', {
        ...{ file, mode, block: mode.startsWith('rand') ? 4096 : 65536 },
        ...{ size: 8, depth: 4, seconds: 1 },
      })
      t.diagnostic(`${mode}: ${(Number(bytesPerSecond) / 2 ** 20).toFixed(1)} MiB/s`)
      assert.ok(Number(requests) > 0)
    }
    assert.equal((await guest.must('identity', { file }))['size'], 8 << 20)
    await guest.must('create', { file: '/mnt/a/one' })
    assert.deepEqual((await guest.must('list', { folder: '/mnt/a' }))['names'], ['bench', 'one'])
    assert.equal((await guest.must('read', { file: '/mnt/a/one' }))['text'], '/mnt/a/one')
    assert.equal((await guest.ask('read', { file: '/mnt/a/other' })).error, 'ENOENT')
    assert.equal((await guest.ask('stop', { work: 'none' })).error, 'ESRCH')
    await guest.must('remove', { file: '/mnt/a/one' })
    await guest.must('umount', { at: '/mnt/a' })
  },
)

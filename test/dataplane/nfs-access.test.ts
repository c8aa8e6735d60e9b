/** Who may do what at a real NFS server: access rules as clients at several addresses meet them. */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { test } from 'node:test'
import { isDomainError } from '@volant/contract'
import { NfsError } from './nfs4-client.ts'
import { junctionOf, openNfsRig, skipNfs } from './nfs-rig.ts'

const nfs = (name: string) => (error: unknown) => error instanceof NfsError && error.nfs === name
const refused = (code: string, text: RegExp) => (error: unknown) =>
  isDomainError(error) && error.code === code && text.test(error.message)

test('a share is seen and used by whom a rule admits, and by nobody else', { skip: skipNfs }, async (t) => {
  const rig = openNfsRig(t)
  const shareId = rig.newShare()
  const name = junctionOf(shareId).slice(1)
  await rig.export(shareId, [])
  const [one, other] = [await rig.client(rig.address(1)), await rig.client(rig.address(2))]
  assert.deepEqual(await one.list('/'), [])
  await assert.rejects(one.list(name), nfs('NOENT'))

  await rig.export(shareId, [{ to: rig.address(1), level: 'rw' }])
  assert.deepEqual(await one.list('/'), [name])
  const file = await one.openFile(name, 'a.txt', true)
  await one.write(file, 'hello')
  assert.equal(await one.read(file), 'hello')
  assert.deepEqual(await one.list(name), ['a.txt'])

  assert.deepEqual(await other.list('/'), [])
  await assert.rejects(other.list(name), nfs('NOENT'))
  // Nor by a handle that somebody told it.
  await assert.rejects(other.listHandle(await one.handleOf(name)), nfs('ACCESS'))
})

test('each share has clients of its own', { skip: skipNfs }, async (t) => {
  const rig = openNfsRig(t)
  const [mine, theirs] = [rig.newShare(), rig.newShare()]
  await rig.export(mine, [{ to: rig.address(1), level: 'rw' }])
  await rig.export(theirs, [{ to: rig.address(2), level: 'rw' }])
  const client = await rig.client(rig.address(1))
  assert.deepEqual(await client.list('/'), [junctionOf(mine).slice(1)])
  await assert.rejects(client.list(junctionOf(theirs)), nfs('NOENT'))
})

test('rules of some come, change and go while others write on', { skip: skipNfs }, async (t) => {
  const rig = openNfsRig(t)
  const shareId = rig.newShare()
  const name = junctionOf(shareId).slice(1)
  const one = { to: rig.address(1), level: 'rw' } as const
  await rig.export(shareId, [one])
  const client = await rig.client(rig.address(1))
  const file = await client.openFile(name, 'log', true)
  await client.lock(file)
  const changes = [
    [one, { to: rig.address(2), level: 'rw' }],
    [one, { to: rig.address(2), level: 'ro' }],
    [one, { to: '192.0.2.0/24', level: 'ro' }, { to: '2001:db8::/32', level: 'rw' }],
    [one, { to: '0.0.0.0/0', level: 'ro' }, { to: '::/0', level: 'ro' }],
    [one, { to: '2001:db8:1:2:3:4:5:6/128', level: 'ro' }, { to: '2001:db8:1:2:3:4::/96', level: 'ro' }],
    [one],
  ] as const
  for (const [turn, clients] of changes.entries()) {
    await rig.export(shareId, [...clients])
    await client.write(file, `turn ${turn}`)
    assert.equal(await client.read(file), `turn ${turn}`)
  }

  const other = await rig.client(rig.address(2))
  await rig.export(shareId, [one, { to: rig.address(2), level: 'rw' }])
  const held = await other.openFile(name, 'log')
  await assert.rejects(other.lock(held), nfs('DENIED'), 'the lock of the first is still held')
  await rig.export(shareId, [one, { to: rig.address(2), level: 'ro' }])
  await assert.rejects(other.write(held, 'no'), nfs('ROFS'))
  await rig.export(shareId, [one])
  await assert.rejects(other.read(held), nfs('ACCESS'), 'an open file is closed to it, too')
  await client.write(file, 'on')
})

test(
  'an address comes before a network, and a longer prefix before a shorter',
  { skip: skipNfs },
  async (t) => {
    const rig = openNfsRig(t)
    const shareId = rig.newShare()
    const name = junctionOf(shareId).slice(1)
    const wide = `${rig.address(0).split('.').slice(0, 2).join('.')}.0.0/16`
    const narrow = `${rig.address(0).split('.').slice(0, 3).join('.')}.0/24`
    const levelAt = async (which: number, user?: { uid: number; gid: number }): Promise<'rw' | 'ro'> => {
      const client = await rig.client(rig.address(which), user)
      try {
        await client.openFile(name, `file-${which}`, true)
        return 'rw'
      } catch (error) {
        assert.ok(nfs('ROFS')(error), String(error))
        return 'ro'
      }
    }
    // In the order that would be wrong.
    const network = { to: wide, level: 'rw' } as const
    await rig.export(shareId, [network, { to: narrow, level: 'ro' }, { to: rig.address(1), level: 'rw' }])
    assert.deepEqual([await levelAt(1), await levelAt(2)], ['rw', 'ro'])
    await rig.export(shareId, [
      { to: '0.0.0.0/0', level: 'ro' },
      network,
      { to: rig.address(1), level: 'ro' },
    ])
    assert.deepEqual([await levelAt(1), await levelAt(2)], ['ro', 'rw'])
    await rig.export(shareId, [{ to: '0.0.0.0/0', level: 'ro' }])
    assert.equal(await levelAt(3), 'ro')
  },
)

test('a read-only share is so for everybody', { skip: skipNfs }, async (t) => {
  const rig = openNfsRig(t)
  const shareId = rig.newShare()
  await rig.export(shareId, [{ to: rig.address(1), level: 'rw' }], { readOnly: true })
  const client = await rig.client(rig.address(1))
  await assert.rejects(client.openFile(junctionOf(shareId), 'a', true), nfs('ROFS'))
})

test(
  "a client's root is nobody where the share says so, from the next request on",
  { skip: skipNfs },
  async (t) => {
    const rig = openNfsRig(t)
    const shareId = rig.newShare()
    const clients = [{ to: rig.address(1), level: 'rw' }] as const
    await rig.export(shareId, [...clients], { rootSquash: true })
    const root = await rig.client(rig.address(1))
    // The folder is root's, and nobody else may write there.
    await assert.rejects(root.openFile(junctionOf(shareId), 'a', true), nfs('ACCESS'))
    await rig.export(shareId, [...clients], { rootSquash: false })
    await root.openFile(junctionOf(shareId), 'a', true)
  },
)

test('what makes no sense is refused, and nothing changes', { skip: skipNfs }, async (t) => {
  const rig = openNfsRig(t)
  const [shareId, second] = [rig.newShare(), rig.newShare()]
  const name = junctionOf(shareId).slice(1)
  const good = [{ to: rig.address(1), level: 'rw' }] as const
  await rig.export(shareId, [...good])
  const client = await rig.client(rig.address(1))
  const file = await client.openFile(name, 'a', true)
  const exported = async () => (await rig.agent.listShares()).filter((one) => one.export)
  const [before, pid] = [await exported(), await rig.pid()]

  const rule = (to: string) => rig.export(second, [{ to, level: 'rw' }])
  for (const to of [
    '10.0.0.1/33',
    '0.0.0.0',
    '0.0.0.0/32',
    '::',
    '10.0.0.7/24',
    '*',
    'host',
    '10.0.0.1; }',
    '',
    '10.0.0.0/8/8',
    'fe80::1%eth0',
    '::ffff:10.0.0.1',
    '1:2:3:4:5:6:7:0/112',
  ]) {
    await assert.rejects(
      rule(to),
      refused(
        'invalid',
        /no address and no network|within a network|in the form of IPv6|too small|no client's address/,
      ),
      to,
    )
  }
  const twice = [
    { to: '2001:db8::1', level: 'rw' },
    { to: '2001:db8:0:0::1/128', level: 'ro' },
  ] as const
  await assert.rejects(rig.export(second, [...twice]), refused('invalid', /two access rules/))
  for (const junctionPath of ['share', '/', '/a/../b', '/a"b', '/a b', '//a']) {
    await assert.rejects(rig.export(second, [...good], { junctionPath }), refused('invalid', /junction path/))
  }
  await assert.rejects(rig.export(second, [...good], { exportId: 0 }), refused('invalid', /export id/))
  await assert.rejects(rig.export(second, [...good], { exportId: 1 }), refused('conflict', /the export id 1/))
  await assert.rejects(
    rig.export(second, [...good], { junctionPath: junctionOf(shareId) }),
    refused('conflict', /is exported at/),
  )
  await assert.rejects(
    rig.export(shareId, [...good], { junctionPath: '/other' }),
    refused('conflict', /neither changes/),
  )
  rig.fileSystems.unmount(second)
  await assert.rejects(rig.export(second, [...good]), refused('unavailable', /not mounted/))

  assert.deepEqual([await exported(), await rig.pid()], [before, pid])
  assert.deepEqual(await client.list('/'), [name])
  await client.write(file, 'on')
  rig.fileSystems.mount(second)
})

test('an export that the server refuses leaves all others alone', { skip: skipNfs }, async (t) => {
  const rig = openNfsRig(t)
  const [shareId, second] = [rig.newShare(), randomUUID()]
  const clients = [{ to: rig.address(1), level: 'rw' }] as const
  await rig.export(shareId, [...clients])
  const client = await rig.client(rig.address(1))
  const file = await client.openFile(junctionOf(shareId), 'a', true)
  // A clone that was given no identity of its own: the server takes it for the file system that it has.
  rig.fileSystems.mountClone(second, shareId)
  await assert.rejects(rig.export(second, [...clients]), refused('conflict', /refuses to export/))
  await client.write(file, 'on')
  assert.deepEqual(await client.list('/'), [junctionOf(shareId).slice(1)])
  assert.equal((await rig.agent.shareStatus(second)).export, undefined)
})

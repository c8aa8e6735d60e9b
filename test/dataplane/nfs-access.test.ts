/** Who may do what at a real NFS server: access rules as clients at several addresses meet them. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { NfsError } from './nfs4-client.ts'
import { junctionOf, openNfsRig, skipNfs } from './nfs-rig.ts'

const nfs = (name: string) => (error: unknown) => error instanceof NfsError && error.nfs === name

test('a share is seen and used by whom a rule admits, and by nobody else', { skip: skipNfs }, async (t) => {
  const rig = openNfsRig(t)
  const shareId = rig.newShare()
  const name = junctionOf(shareId).slice(1)
  await rig.export(shareId, [{ to: rig.address(1), level: 'rw' }])
  const [one, other] = [await rig.client(rig.address(1)), await rig.client(rig.address(2))]

  assert.deepEqual(await one.list('/'), [name])
  const file = await one.openFile(name, 'a.txt', true)
  await one.write(file, 'hello')
  assert.equal(await one.read(file), 'hello')
  assert.deepEqual(await one.list(name), ['a.txt'])

  assert.deepEqual(await other.list('/'), [])
  await assert.rejects(other.list(name), nfs('NOENT'))
  await assert.rejects(other.listHandle(await one.handleOf(name)), nfs('ACCESS'))
})

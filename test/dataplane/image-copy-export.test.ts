import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { statSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import type { TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { createTlsAuthority } from '@volant/qemu/tls/authority.ts'
import { copied, copiersOf, hashOf, randomOf, scribble, write } from './copy-rig.ts'
import { openTwoPlaces } from './netns.ts'
import { caller, MiB, openRig, until } from './rig.ts'

/** Two storage nodes in network namespaces of their own. */
async function openTwoNodes(t: TestContext) {
  const places = openTwoPlaces(t)
  const rig = await openRig(t)
  const tls = createTlsAuthority(join(rig.folder, 'tls'))
  const source = rig.storageAgent({
    stateDir: join(rig.folder, 's1'),
    netns: places.host.netns,
    clientTlsFolder: () => tls.clientFolder('host1'),
  })
  const target = rig.storageAgent({
    node: 'node2',
    stateDir: join(rig.folder, 's2'),
    aggregates: [{ name: 'aggr2', path: join(rig.folder, 'aggr2') }],
    netns: places.node.netns,
    dataAddress: places.node.address,
    serverTlsFolder: () => tls.serverFolder('node2', places.node.address),
  })
  await target.ensureFlexVol(caller, { aggregate: 'aggr2', name: 'fv1' })
  const from = await rig.newImage(64 * MiB)
  const to = { imageId: randomUUID(), aggregate: 'aggr2', flexvol: 'fv1' }
  await target.ensureImage(caller, to, 64 * MiB)
  const serve = (clientHost: string) => target.ensureExport(caller, `copy-${to.imageId}`, to, clientHost)
  const path = (await target.fileAccess(to)).path
  return { source, target, from, to, serve, path }
}

test('an image at rest goes to another node over TLS, thin, and is the same there', async (t) => {
  const { source, from, to, serve, path } = await openTwoNodes(t)
  scribble(from.access.path, 64 * MiB, randomOf(5))
  write(from.access.path, 0, 20 * MiB)
  await source.ensureImageReadOnly(caller, from.ref, true)
  const toExport = await serve('host1')
  const { doneBytes, totalBytes } = await copied(source, { from: from.ref, to, toExport, rate: 0 })
  assert.equal(doneBytes, totalBytes)
  assert.equal(hashOf(path), hashOf(from.access.path))
  assert.ok(statSync(path).blocks <= statSync(from.access.path).blocks)
})

test('it is slowed, paused, changed in its rate, ended and begun anew', async (t) => {
  const { source, from, to, serve, path } = await openTwoNodes(t)
  write(from.access.path, 0, 48 * MiB)
  const toExport = await serve('host1')
  const status = () => source.imageCopyStatus(to.imageId)
  const request = { from: from.ref, to, toExport, rate: 8 * MiB }
  const began = performance.now()
  await source.ensureImageCopy(caller, request)
  // qemu-img counts what it has begun: up to 16 MiB more than it has written.
  await until('a part is copied', async () => (await status()).doneBytes > 32 * MiB)
  const seconds = (performance.now() - began) / 1000
  assert.ok(seconds > 1, `32 MiB at 8 MiB/s took only ${seconds.toFixed(2)} s`)
  await source.ensureImageCopyPaused(caller, to.imageId, true)
  await sleep(300)
  const { phase, doneBytes } = await status()
  assert.equal(phase, 'paused')
  await sleep(1000)
  assert.equal((await status()).doneBytes, doneBytes)
  assert.equal(copiersOf(to).length, 2, 'qemu-img and who watches it')
  await source.ensureNoImageCopy(caller, to.imageId)
  assert.deepEqual(copiersOf(to), [])

  await source.ensureImageCopy(caller, request)
  await until('it copies again', async () => (await status()).doneBytes > 0)
  await source.setImageCopyRate(caller, to.imageId, 0)
  await until('done', async () => (await status()).phase === 'done')
  assert.equal(hashOf(path), hashOf(from.access.path))
  await source.ensureNoImageCopy(caller, to.imageId)

  // Killed: whoever watches qemu-img, and with it qemu-img itself.
  await source.ensureImageCopy(caller, request)
  await until('it copies', async () => (await status()).doneBytes > 0)
  process.kill(Math.min(...copiersOf(to)), 'SIGKILL')
  await until('it has failed', async () => (await status()).phase === 'failed')
  await until('nothing of it is left', async () => copiersOf(to).length === 0)
})

test('a target that is another image, refuses this machine, or is gone is an error that says so', async (t) => {
  const { source, target, from, to, serve } = await openTwoNodes(t)
  write(from.access.path, 0, MiB)
  const mine = await serve('host1')
  const fails = async (toExport: typeof mine, reason: RegExp): Promise<void> => {
    await source.ensureImageCopy(caller, { from: from.ref, to, toExport, rate: 0 })
    await until('it has failed', async () => (await source.imageCopyStatus(to.imageId)).phase === 'failed')
    assert.match((await source.imageCopyStatus(to.imageId)).error ?? '', reason)
  }
  await fails({ ...mine, imageId: randomUUID() }, /The export found is not that of image/)
  await fails({ ...mine, exportName: 'guess' }, /does not answer/)
  await target.ensureNoExport(caller, `copy-${to.imageId}`)
  await fails(mine, /does not answer/)
  await fails(await serve('host2'), /does not answer/)
})

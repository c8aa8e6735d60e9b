import assert from 'node:assert/strict'
import { test } from 'node:test'
import { askedOnce } from './asked-once.ts'
import { missingFrom, probeCapabilities } from './capabilities.ts'
import { daemonArguments, imageBlockdev, mirrorArguments, tlsAuthorization } from './storage-daemon.ts'

test('a mirror is of the kind that neither corrupts nor thickens', () => {
  const args = mirrorArguments('m-1', 't', 's', { rate: 0, besideClient: true })
  assert.equal(args['copy-mode'], 'background')
  assert.equal(args.sync, 'full')
  assert.equal(args.granularity, 4096)
  assert.equal(args['auto-finalize'], false)
  assert.equal(args['auto-dismiss'], false)
})

test('a copy beside a client keeps less in flight than one without, and always more than one chunk', () => {
  const inFlight = (besideClient: boolean) =>
    mirrorArguments('m-1', 't', 's', { rate: 0, besideClient })['buf-size']
  assert.ok(inFlight(true) >= 2 * 1024 * 1024)
  assert.ok(inFlight(false) > inFlight(true))
  const asked = mirrorArguments('m-1', 't', 's', { rate: 0, besideClient: true, inFlightBytes: 512 * 1024 })
  assert.equal(asked['buf-size'], 512 * 1024)
})

test('an image is opened with its format named, and a path cannot add options', () => {
  const image = { kind: 'file', imageId: 'i', path: '/a,b/i', sizeBytes: 4096 } as const
  const blockdev = imageBlockdev(image, { nodeName: 'n', aio: 'threads', reconnectDelaySeconds: 1 })
  assert.equal(blockdev['driver'], 'raw')
  const args = daemonArguments({ qmpPath: '/run,x/q', blockdevs: [blockdev] })
  assert.ok(args.includes('socket,id=qmp0,path=/run,,x/q,server=on,wait=off'))
  assert.ok(args.includes(JSON.stringify(blockdev)))
})

test('authorization is exact where one host is meant', () => {
  assert.deepEqual(tlsAuthorization('O=volant,CN=host1')['rules'], [
    { match: 'O=volant,CN=host1', policy: 'allow', format: 'exact' },
  ])
})

test('what this machine lacks for a relocation is named', async () => {
  const { storageDaemonVersion, missing } = await probeCapabilities()
  assert.match(storageDaemonVersion, /^\d+\.\d+\.\d+$/)
  assert.deepEqual(missing, [])
  const schema = [
    { name: 'blockdev-mirror', 'meta-type': 'command', 'arg-type': '1' },
    { name: '1', 'meta-type': 'object', members: [{ name: 'replaces' }] },
  ]
  const lacking = missingFrom(schema)
  assert.ok(lacking.includes('blockdev-mirror granularity') && lacking.includes('job-finalize'))
  assert.ok(!lacking.includes('blockdev-mirror') && !lacking.includes('blockdev-mirror replaces'))
})

test('a machine that could not be asked is asked again, and one that answered is not', async () => {
  let asked = 0
  const capabilities = askedOnce(async () => {
    asked += 1
    return asked === 1 ? probeCapabilities('/nowhere/qemu-storage-daemon') : { missing: [] }
  })
  await assert.rejects(capabilities(), {
    code: 'unavailable',
    message: /\/nowhere\/qemu-storage-daemon.*installed/,
  })
  assert.deepEqual(await capabilities(), { missing: [] })
  assert.deepEqual(await capabilities(), { missing: [] })
  assert.equal(asked, 2)
})

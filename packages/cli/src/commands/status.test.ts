import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ShareServiceStatus, SystemStatus } from '@volant/contract/ndo/status.ts'
import { shareLines } from './status.ts'

const service: ShareServiceStatus = {
  backend: 'manila-lma',
  lif: '10.0.0.1',
  node: 'lma-01',
  shares: 0,
  up: true,
  reason: null,
  missing: [],
  servers: [],
  troubles: [],
}
const linesOf = (...services: (ShareServiceStatus | null)[]): string =>
  shareLines({ clusters: services.map((shares) => ({ shares })) } as unknown as SystemStatus).join('\n')

test('who uses no shares hears no alarm, and once what the machine lacks for them', () => {
  assert.equal(linesOf(null), '')
  assert.equal(linesOf(service, null), 'Shares: none')
  const lacking = { ...service, missing: ['the package dbus must be installed'] }
  assert.equal(
    linesOf(lacking),
    'Shares: none; before the first can be made: the package dbus must be installed (node lma-01)',
  )
  assert.equal(linesOf({ ...service, up: false, reason: 'away' }), 'Shares: none')
})

test('who has shares sees the NFS servers, and each trouble with its reason', () => {
  const server = { svm: 'svm_lma', lif: '10.0.0.1', pid: 17, exports: 3, clients: 2, trouble: null }
  const text = linesOf({ ...service, shares: 3, servers: [server] })
  assert.match(text, /manila-lma +\| lma-01 \| 10\.0\.0\.1 \| 17 +\| 3 +\| 2 +\| up/)
  assert.doesNotMatch(text, /!|none/)
  const bad = linesOf({
    ...service,
    shares: 3,
    servers: [{ ...server, trouble: 'it is in its grace period' }],
    missing: ['Volant must run as root'],
    troubles: [{ share: 'd0c5', reason: 'its head does not answer' }],
  })
  assert.match(bad, /down: it is in its grace period/)
  assert.match(
    bad,
    /^! The shares of manila-lma can't all be served by node lma-01: Volant must run as root$/m,
  )
  assert.match(bad, /^! Share d0c5 is in trouble: its head does not answer$/m)
  assert.match(
    linesOf({ ...service, shares: 1, up: false, reason: 'away' }),
    /^! .*lma-01 does not answer: away$/m,
  )
})

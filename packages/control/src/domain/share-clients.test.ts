import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ExportClient, NfsClient } from '@volant/contract'
import { shareClients } from './share-clients.ts'

const client = (address: string, shareIds: string[] = []): NfsClient => ({
  svm: 'svm',
  address,
  version: '4.1',
  shareIds,
  lastSeen: null,
})
const shown = (rules: ExportClient[], ...clients: NfsClient[]): unknown[] =>
  shareClients('share', rules, clients).map(({ client: { address }, access, isCertain }) => [
    address,
    access,
    isCertain,
  ])

test('a client of which nothing is known counts where the rules admit it, by the narrowest of them', () => {
  const rules: ExportClient[] = [
    { to: '10.0.0.0/8', level: 'ro' },
    { to: '10.1.2.3', level: 'rw' },
    { to: 'fd00::/16', level: 'rw' },
    { to: 'fd00::7', level: 'ro' },
  ]
  const clients = ['10.1.2.3', '10.9.9.9', '11.0.0.1', 'fd00::1', 'fd00:0::7', 'fe80::1'].map((one) =>
    client(one),
  )
  assert.deepEqual(shown(rules, ...clients), [
    ['10.1.2.3', 'rw', false],
    ['10.9.9.9', 'ro', false],
    ['fd00::1', 'rw', false],
    ['fd00:0::7', 'ro', false],
  ])
  assert.deepEqual(shown([], client('10.1.2.3')), [], 'without a rule nobody has access')
  assert.deepEqual(shown([{ to: '0.0.0.0/0', level: 'ro' }], client('::ffff:192.0.2.7')), [
    ['::ffff:192.0.2.7', 'ro', false],
  ])
})

test('a client that is known to use another share alone does not count; one that uses this one does, whatever the rules say', () => {
  const rules: ExportClient[] = [{ to: '10.0.0.0/8', level: 'rw' }]
  const clients = [
    client('10.0.0.1', ['other']),
    client('10.0.0.2', ['other', 'share']),
    client('11.0.0.1', ['share']),
  ]
  assert.deepEqual(shown(rules, ...clients), [
    ['10.0.0.2', 'rw', true],
    ['11.0.0.1', null, true],
  ])
})

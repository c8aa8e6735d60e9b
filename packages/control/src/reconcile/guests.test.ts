import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { GuestState, GuestStatus } from '@volant/contract'
import type { Server } from '../domain/server.ts'
import { changeFor } from './guests.ts'

const now = new Date('2026-11-22T10:00:00Z')
const guest = (state: GuestState, reason?: string): GuestStatus => ({
  serverId: 's',
  state,
  diskAttachmentIds: [],
  ...(reason === undefined ? {} : { reason }),
})
const server = (
  vmState: Server['vmState'],
  powerState: Server['powerState'],
  fault: Server['fault'] = null,
) => ({
  vmState,
  powerState,
  fault,
})

test('what is as recorded changes nothing', () => {
  assert.equal(changeFor(server('active', 1), guest('running'), now), undefined)
  assert.equal(changeFor(server('stopped', 4), guest('stopped'), now), undefined)
  assert.equal(changeFor(server('stopped', 4), guest('absent'), now), undefined)
  assert.equal(changeFor(server('paused', 3), guest('paused'), now), undefined)
  for (const vmState of ['building', 'error', 'deleted'] as const) {
    assert.equal(changeFor(server(vmState, 0), guest('running'), now), undefined)
  }
})

test('a storage fault shows as paused with its reason, once, and is over when the guest runs', () => {
  const change = changeFor(server('active', 1), guest('paused-io-error', 'no head'), now)
  assert.equal(change?.powerState, 3)
  assert.match(change?.fault?.message ?? '', /goes on when the storage is back: no head$/)
  assert.equal(change?.vmState, undefined, 'it is not the user’s pause')
  const shown = server('active', 3, change?.fault ?? null)
  assert.equal(changeFor(shown, guest('paused-io-error', 'no head'), now), undefined)
  assert.deepEqual(changeFor(shown, guest('running'), now), { powerState: 1, fault: null })
})

test('a guest that is gone is stopped: crashed where there is a reason, off where it shut down by itself', () => {
  const crashed = changeFor(server('active', 1), guest('stopped', 'killed by signal 9'), now)
  assert.deepEqual([crashed?.vmState, crashed?.powerState], ['stopped', 6])
  assert.match(crashed?.fault?.message ?? '', /killed by signal 9/)
  assert.deepEqual(changeFor(server('active', 1), guest('stopped'), now), {
    vmState: 'stopped',
    powerState: 4,
    fault: null,
  })
  assert.match(
    changeFor(server('paused', 3), guest('absent'), now)?.fault?.message ?? '',
    /its host does not know it/,
  )
})

test('a resized one that stops, dies or runs again stays resized, and says what its guest is in', () => {
  assert.equal(changeFor(server('resized', 1), guest('running'), now), undefined)
  assert.equal(changeFor(server('resized', 4), guest('absent'), now), undefined)
  assert.deepEqual(changeFor(server('resized', 1), guest('stopped'), now), { powerState: 4, fault: null })
  const crashed = changeFor(server('resized', 1), guest('stopped', 'killed by signal 9'), now)
  assert.deepEqual([crashed?.vmState, crashed?.powerState], [undefined, 6])
  assert.match(crashed?.fault?.message ?? '', /killed by signal 9/)
  assert.equal(changeFor(server('resized', 6), guest('stopped', 'killed by signal 9'), now), undefined)
  assert.deepEqual(changeFor(server('resized', 4), guest('running'), now), { powerState: 1, fault: null })
})

test('what runs is active, whatever the record says', () => {
  const runs = { vmState: 'active', powerState: 1, fault: null }
  assert.deepEqual(changeFor(server('stopped', 4), guest('running'), now), runs)
  assert.deepEqual(changeFor(server('paused', 3), guest('running'), now), runs)
})

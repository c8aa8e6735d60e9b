import assert from 'node:assert/strict'
import { test } from 'node:test'
import { DomainError, type GuestStatus, type HolderStatus } from '@volant/contract'
import type { Topology } from '../domain/topology.ts'
import type { Attachment } from '../domain/volume.ts'
import { createHostOccupants } from './host-occupants.ts'

const topology = {
  clusters: [{ nodes: [{ name: 'lma-01', machine: 'shared' }] }],
  computeHosts: [
    { name: 'compute-1', machine: 'shared' },
    { name: 'compute-2', machine: 'shared' },
    { name: 'compute-3', machine: 'own' },
  ],
} as unknown as Topology

const guest = (serverId: string, state: GuestStatus['state']): GuestStatus => ({
  serverId,
  state,
  diskAttachmentIds: [],
})
const head = (headId: string, host: string, serverId: string) =>
  ({ headId, host, serverId, volumeId: `v-${headId}` }) as Attachment
const heads = [head('h1', 'compute-1', 's1'), head('h2', 'compute-2', 's2'), head('h3', 'compute-3', 's3')]

const occupants = (guests: GuestStatus[], holders: string[]) =>
  createHostOccupants({
    agents: {
      compute: () => ({ listGuests: async () => guests }) as never,
      holders: () =>
        ({ listHolders: async () => holders.map((holderId) => ({ holderId }) as HolderStatus) }) as never,
    },
    attachments: { withHead: async () => heads },
    places: {
      machineOfHost: (host) => topology.computeHosts.find(({ name }) => name === host)?.machine ?? '',
    },
    topology,
  })

test('guests that run, wait or are paused are left; those that are stopped are not', async () => {
  const guests = [
    guest('a', 'running'),
    guest('b', 'stopped'),
    guest('c', 'incoming'),
    guest('d', 'paused-io-error'),
    guest('e', 'absent'),
  ]
  const { left } = await occupants(guests, []).look('compute-3', new Set())
  assert.deepEqual(left, [
    'the guest of server a is running there',
    'the guest of server c is incoming there',
    'the guest of server d is paused-io-error there',
  ])
})

test('heads of the host are left, but those of servers that rest; neighbours have their own, and movers', async () => {
  const shared = occupants([], ['h1', 'h2', 'a-mover'])
  const { left, alsoThere } = await shared.look('compute-1', new Set())
  assert.deepEqual(left, ['the head h1 of volume v-h1 runs there'])
  assert.deepEqual(alsoThere, ['storage node lma-01', 'compute host compute-2'])
  assert.deepEqual((await shared.look('compute-1', new Set(['s1']))).left, [])
})

test('on a machine of its own every holder is the host’s, also one that no record knows', async () => {
  const { left, alsoThere } = await occupants([], ['h3', 'stray']).look('compute-3', new Set(['s3']))
  assert.deepEqual(
    [left, alsoThere],
    [['the storage daemon stray, which no record knows, runs there (volant sweep)'], []],
  )
})

test('an agent that does not answer is no empty host', async () => {
  const silent = createHostOccupants({
    agents: {
      compute: () => {
        throw new DomainError('unavailable', 'it does not answer')
      },
      holders: () => ({ listHolders: async () => [] }) as never,
    },
    attachments: { withHead: async () => [] },
    places: { machineOfHost: () => 'own' },
    topology,
  })
  await assert.rejects(silent.look('compute-3', new Set()), /does not answer/)
})

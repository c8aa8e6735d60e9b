import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createSimulatedComputeAgent } from '@volant/agent/simulated/compute.ts'
import { defaultCopySettings } from '../domain/copy-settings.ts'
import type { Copy } from '../domain/volume.ts'
import type { CopyToPace } from '../ports/copy-pace.ts'
import { createCopyGovernor } from './copy-governor.ts'

const mib = 1024 ** 2
const disk = { attachmentId: 'a1', volumeId: 'v1', socketPath: '/s', exportName: 'e', boot: false }

/** What a mirror may have in flight whose client's writes take a ms, so many at each look. */
async function inFlightOf({ writes, pace = null }: { writes: number; pace?: string | null }) {
  const compute = createSimulatedComputeAgent({
    host: 'h1',
    before: (call) => {
      if (call === 'guestLatency') {
        compute.endRequests('s1', 'a1', { writes: Array.from({ length: writes }, () => 1e6) })
      }
    },
  })
  const guest = { serverId: 's1', name: 's1', vcpus: 1, memoryMiB: 1, disks: [disk], nics: [] }
  await compute.ensureGuest({ fence: 1 }, guest)
  const governor = createCopyGovernor({
    attachments: {
      ofVolume: async () => [{ host: 'h1', serverId: 's1', shareId: null }] as never,
    },
    felt: { at: async () => [] },
    agents: {
      compute: () => compute,
      shares: () => {
        throw new Error('There are no shares.')
      },
    },
    settings: defaultCopySettings,
    clock: { now: () => new Date() },
    earlier: async () => undefined,
    monotonic: () => performance.now(),
  })
  const copy: CopyToPace = {
    id: 'op',
    control: { paused: false, rate: null, pace, priority: null },
    from: { node: 'n1', aggregate: 'a' } as Copy,
    to: { node: 'n2', aggregate: 'b' } as Copy,
    volumeId: 'v1',
  }
  await governor.begin(copy)
  return governor.inFlightBytes(copy)
}

test('a mirror has little in flight beside a client that works, and much where it is to be fast', async () => {
  assert.equal(await inFlightOf({ writes: 20 }), mib)
  assert.equal(await inFlightOf({ writes: 0 }), undefined)
  assert.equal(await inFlightOf({ writes: 20, pace: '5ms' }), mib)
  assert.equal(await inFlightOf({ writes: 20, pace: 'full' }), 4 * mib)
  assert.equal(await inFlightOf({ writes: 20, pace: '50M' }), undefined)
})

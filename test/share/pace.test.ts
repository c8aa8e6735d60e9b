import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Operation, OperationProgress } from '@volant/contract/ndo/operation.ts'
import { skipXfs } from '../dataplane/xfs.ts'
import { until } from '../migration/plane.ts'
import { findingsText } from './nfs-guest.ts'
import { openSharePlane } from './plane.ts'

type Pace = NonNullable<OperationProgress['pace']>

/** So low that a copy at it lasts longer than this test. */
const floorBps = 256 * 1024

test(
  "a share's copy is governed by what its block device is waited for: measured before, felt while it runs, and not where its clients rest",
  { skip: skipXfs },
  async (t) => {
    const place = await openSharePlane({
      config: 'copy: { pace: 2x, floor: 256KiB/s }\n',
      say: () => undefined,
    })
    let isOpen = true
    t.after(async () => {
      if (isOpen) await place.close()
    })
    const { manila, plane } = place
    const { ndo } = plane.client
    const share = await manila.create({ name: 'docs', size: 1 })
    await manila.allow(share, '10.97.0.101')
    const guest = await place.addGuest('client-1')
    const at = '/mnt/share'
    await guest.must('mount', { source: await manila.exportPath(share), at, client: guest.address })
    const fill = { file: `${at}/fill`, mode: 'write', block: 1 << 20, size: 160, depth: 4, seconds: 0 }
    await guest.must('bench', fill, 120_000)
    await guest.start('writer', 'writer', at, { rate: 100, count: 512 })
    await guest.goesOn('writer', 100)

    await manila.startMigration(share, await place.poolOf('aggr2'))
    let copy: Operation | undefined
    const seen = new Set<string>()
    const paceIs = (what: string, check: (pace: Pace) => boolean): Promise<void> =>
      until(what, 60_000, async () => {
        const { operations } = await ndo.operations({ parts: 'true', kind: 'volume.relocate' })
        copy = operations[0]
        const pace = copy?.progress.pace ?? null
        if (pace !== null) seen.add(pace.limited_by)
        return pace !== null && check(pace)
      }).catch((error: unknown) => {
        throw new Error(`${String(error)}; it is ${JSON.stringify(copy?.progress)}; ${findingsText(guest)}`)
      })
    await paceIs('it is known what the device is waited for without the copy, and with it', (pace) => {
      const { policy, limited_by: by, baseline_ms: baseline, bound_ms: bound, p99_ms: p99 } = pace
      return policy === '2x' && by === 'latency' && baseline !== null && bound !== null && p99 !== null
    })
    const [migration] = (await ndo.operations({ kind: 'share.migrate' })).operations
    assert.ok(migration)
    const { bound_ms: bound, reason } = copy?.progress.pace ?? {}
    assert.ok(Number(bound) >= 1, 'twice what it is without the copy, of half a millisecond at the least')
    assert.match(reason ?? '', /the p99 of its client is/)

    // No device waits for less: whatever the machine does meanwhile, it is over its bound.
    await ndo.setPace(migration.id, { pace: '0.1ms' })
    await paceIs('its wish reaches the copy of its image, which gives way to the device', (pace) => {
      return pace.policy === '0.1ms' && pace.limit_bytes_per_second === floorBps && Number(pace.p99_ms) > 0.1
    })
    await guest.must('pause', { work: 'writer' })
    await paceIs('beside a client at rest nothing limits it', ({ limited_by: by }) => by === 'none')
    await guest.must('resume', { work: 'writer' })
    await paceIs('a client that works again has it back at its floor', (pace) => {
      return pace.limited_by === 'latency' && pace.limit_bytes_per_second === floorBps
    })
    assert.ok(!seen.has('unknown'), 'it always knew what the device is waited for')

    await manila.cancelMigration(share)
    await guest.must('stop', { work: 'writer' })
    await guest.must('umount', { at })
    assert.equal(findingsText(guest), '')
    isOpen = false
    assert.deepEqual(await place.close(), [])
  },
)

import { setTimeout as sleep } from 'node:timers/promises'
import { openSharePlane } from '../../test/share/plane.ts'
import { aggregateNames } from '../../test/share/remains.ts'
import { kept, row, spreadOf, type BenchCase } from '../bench-case.ts'
import { quantile } from '../measure.ts'
import { endShares } from '../rig/share.ts'

/** Records per second, each written and synced before the next. */
const rate = 200

/** What an NFS client waits when its share changes its aggregate. */
export const shareCutover: BenchCase = {
  name: 'share-cutover',
  title: 'Cutover of a share',
  async run({ quick, deadline, say, keep }) {
    const place = await openSharePlane({ say })
    try {
      const { manila } = place
      const share = await manila.create({ name: 'bench', size: 1 })
      await manila.allow(share, '10.97.0.101')
      const guest = await place.addGuest('client-1')
      await guest.must('mount', {
        source: await manila.exportPath(share),
        at: '/mnt/share',
        client: guest.address,
      })
      await guest.start('writer', 'writer', '/mnt/share', { rate, count: 4096 })
      await guest.goesOn('writer', rate)
      const longestSince = (from: number): number =>
        Math.max(...(guest.acks.get('writer') ?? []).filter(({ at }) => at >= from).map(({ ms }) => ms))
      const [cutovers, copies, quiet]: [number[], number[], number[]] = [[], [], []]
      for (let round = 1; round <= (quick ? 4 : 20); round += 1) {
        if (round > 5 && performance.now() > deadline) break
        const calm = Date.now()
        await sleep(500)
        quiet.push(longestSince(calm))
        const copying = Date.now()
        await manila.startMigration(share, await place.poolOf(aggregateNames[round % 2] ?? 'aggr1'))
        await manila.untilPhase1(share)
        copies.push(longestSince(copying))
        const cutting = Date.now()
        await manila.completeMigration(share)
        await guest.goesOn('writer', 1)
        cutovers.push(longestSince(cutting))
        say(`cutover ${round}: ${cutovers.at(-1)} ms; while it copied ${copies.at(-1)} ms`)
      }
      if (guest.findings.length > 0) throw new Error(`the client saw ${guest.findings[0]?.text}`)
      await guest.must('stop', { work: 'writer' })
      await guest.must('umount', { at: '/mnt/share' })
      const note = `${cutovers.length} cutovers, ${rate} records/s of 4 KiB, each written and synced by a guest's NFSv4.1 client`
      return kept({ keep }, [
        row({
          name: "The client's longest record around a cutover, p99",
          value: quantile(cutovers, 0.99),
          unit: 'ms',
          target: '<= 100',
          spread: spreadOf(cutovers, 1),
          note,
        }),
        row({ name: '… p50', value: quantile(cutovers, 0.5), unit: 'ms' }),
        row({
          name: '… while it copies, p50',
          value: quantile(copies, 0.5),
          unit: 'ms',
          spread: spreadOf(copies, 1),
        }),
        row({
          name: '… in half a second without a migration, p50',
          value: quantile(quiet, 0.5),
          unit: 'ms',
          spread: spreadOf(quiet, 1),
        }),
      ])
    } finally {
      await endShares(place)
    }
  },
}

import { openSharePlane } from '../../test/share/plane.ts'
import { kept, row, spreadOf, type BenchCase } from '../bench-case.ts'
import { quantile } from '../measure.ts'
import { endShares } from '../rig/share.ts'

/** From the request for a share until a client has it mounted. */
export const shareCreate: BenchCase = {
  name: 'share-create',
  title: 'Create a share',
  async run({ quick, deadline, say, keep }) {
    const place = await openSharePlane({ say })
    try {
      const { manila } = place
      const guest = await place.addGuest('client-1')
      // The server is started with the first share; a second one is what users mostly wait for.
      const first: number[] = []
      const mounted: number[] = []
      for (let i = 0; i < (quick ? 4 : 16); i += 1) {
        if (i > 5 && performance.now() > deadline) break
        const begun = performance.now()
        const share = await manila.create({ name: `bench-${i}`, size: 1 })
        await manila.allow(share, guest.address)
        await guest.must('mount', {
          source: await manila.exportPath(share),
          at: '/mnt/share',
          client: guest.address,
        })
        ;(i === 0 ? first : mounted).push((performance.now() - begun) / 1000)
        await guest.must('umount', { at: '/mnt/share' })
      }
      say(`p50 ${quantile(mounted, 0.5).toFixed(2)} s`)
      return kept({ keep }, [
        row({
          name: 'Create to mounted, p50',
          value: quantile(mounted, 0.5),
          unit: 's',
          target: '<= 2',
          spread: spreadOf(mounted),
          note: `${mounted.length} shares, one after the other: created, a client allowed, its export asked for, mounted by it`,
        }),
        row({
          name: '… the first of a node, which starts the NFS server',
          value: first[0] ?? Number.NaN,
          unit: 's',
        }),
      ])
    } finally {
      await endShares(place)
    }
  },
}

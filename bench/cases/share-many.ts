import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { stopControlPlane } from '@volant/cli/instance/stop.ts'
import { stopDataPlane } from '@volant/control/stop-all.ts'
import { chainRoles } from '../../test/share/chain.ts'
import { openSharePlane, type SharePlane } from '../../test/share/plane.ts'
import type { NfsGuest } from '../../test/share/nfs-guest.ts'
import { kept, row, type BenchCase, type Row } from '../bench-case.ts'
import { endShares } from '../rig/share.ts'

/** Many shares on one storage node: what they take, and how long they are away when the machine was. */
export const shareMany: BenchCase = {
  name: 'share-many',
  title: 'Many shares on one node',
  async run({ quick, say, keep }) {
    const count = quick ? 10 : 30
    const place = await openSharePlane({ aggregateBytes: 64 * 2 ** 30, say })
    try {
      await liftQuotas(place)
      const guest = await place.addGuest('client-1')
      const sources: string[] = []
      const begun = performance.now()
      for (let i = 0; i < count; i += 1) {
        const share = await place.manila.create({ name: `bench-${i}`, size: 1 })
        await place.manila.allow(share, guest.address)
        sources.push(await place.manila.exportPath(share))
        if ((i + 1) % 20 === 0)
          say(`${i + 1} shares after ${((performance.now() - begun) / 1000).toFixed(0)} s`)
      }
      await mountAll(guest, sources)
      const rows = memoryRows(place, count)
      await umountAll(guest, count)
      const { stateDir } = place.plane
      await stopControlPlane(stateDir)
      await stopDataPlane(stateDir)
      const started = performance.now()
      await place.plane.start()
      await mountAll(guest, sources)
      const seconds = (performance.now() - started) / 1000
      await umountAll(guest, count)
      return kept({ keep }, [
        ...rows,
        row({
          name: `${count} shares from nothing running to all mounted by a client`,
          value: seconds,
          unit: 's',
          note: 'block devices, file systems and the NFS server; the control plane itself included',
        }),
      ])
    } finally {
      await endShares(place)
    }
  },
}

async function liftQuotas({ plane: { client } }: SharePlane): Promise<void> {
  const project = await client.session.projectId()
  const quota_set = { shares: -1, gigabytes: -1, snapshots: -1, snapshot_gigabytes: -1 }
  await client.session.json('PUT', `/share/v2/quota-sets/${project}`, {
    headers: { 'X-OpenStack-Manila-API-Version': '2.75' },
    body: { quota_set },
  })
}

/** One that is not served yet is tried again. */
async function mountAll(guest: NfsGuest, sources: readonly string[]): Promise<void> {
  for (const [i, source] of sources.entries()) {
    for (const end = performance.now() + 180_000; ; await sleep(50)) {
      const args = { source, at: `/mnt/share-${i}`, client: guest.address }
      const { ok, error } = await guest.ask('mount', args, 200_000)
      if (ok) break
      if (performance.now() > end) throw new Error(`${source} cannot be mounted: ${error}`)
    }
  }
}

async function umountAll(guest: NfsGuest, count: number): Promise<void> {
  for (let i = 0; i < count; i += 1) await guest.must('umount', { at: `/mnt/share-${i}` })
}

/** Shared pages are counted in parts. MiB. */
const memoryOf = (pid: number): number =>
  Number(/^Pss:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1]) / 1024

function memoryRows(place: SharePlane, count: number): Row[] {
  const chain = place.chain()
  const of = (role: (typeof chainRoles)[number]): number =>
    chain.filter((one) => one.role === role).reduce((sum, { pid }) => sum + memoryOf(pid), 0)
  const total = chain.reduce((sum, { pid }) => sum + memoryOf(pid), 0)
  const parts = chainRoles.map((role) => `${role} ${of(role).toFixed(0)}`).join(', ')
  return [
    row({
      name: `Memory of ${count} shares on one node`,
      value: total,
      unit: 'MiB',
      note: `proportional set size of all processes, mounted by a client: ${parts} MiB`,
    }),
    row({ name: '… for each share', value: total / count, unit: 'MiB' }),
  ]
}

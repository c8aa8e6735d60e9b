import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { handMadeServer } from '../../test/share/hand-made.ts'
import { openSharePlane } from '../../test/share/plane.ts'
import type { NfsGuest } from '../../test/share/nfs-guest.ts'
import { row, spreadOf, type BenchCase, type Row } from '../bench-case.ts'
import { interleave, median, ratios } from '../measure.ts'
import { dropCaches } from '../rig/flexvol.ts'
import { endShares } from '../rig/share.ts'

/** Of the server that exports the plain folder; the guests' network is 10.97.0.0/24. */
const plainLif = '10.97.0.12'
const sizeMiB = 256
/** Of one measurement. */
const seconds = 1.5

const loads = [
  { name: 'Sequential write, 1 MiB', mode: 'write', block: 1 << 20, depth: 4 },
  { name: 'Sequential read, 1 MiB', mode: 'read', block: 1 << 20, depth: 4 },
  { name: 'Random write, 4 KiB', mode: 'randwrite', block: 4096, depth: 8 },
  { name: 'Random read, 4 KiB', mode: 'randread', block: 4096, depth: 8 },
]

/** What the block device below a share costs: the same NFS server, on the share and on a folder of its aggregate. */
export const shareThroughput: BenchCase = {
  name: 'share-throughput',
  title: 'Throughput of a share',
  async run({ folder, quick, say, keep }) {
    const place = await openSharePlane({ say })
    let plain: ReturnType<typeof handMadeServer> | undefined
    try {
      const { manila, network } = place
      const share = await manila.create({ name: 'bench', size: 1 })
      await manila.allow(share, '10.97.0.101')
      const aggregate = String((await manila.hostOf(share)).split('#').at(-1))
      const path = join(place.plane.stateDir, 'lma', aggregate, 'disk', 'bench-plain')
      mkdirSync(path)
      network.addLif(0, plainLif)
      const exported = { id: 1, path, pseudo: '/plain', clients: ['10.97.0.101'] }
      mkdirSync(join(folder, 'nfs'))
      plain = handMadeServer(join(folder, 'nfs'), network.nodes[0]?.netns ?? '', plainLif, [exported])
      await plain.start()
      const guest = await place.addGuest('client-1')
      await mount(guest, await manila.exportPath(share), '/mnt/share')
      await mount(guest, `${plainLif}:/plain`, '/mnt/plain')
      for (const at of ['/mnt/share', '/mnt/plain']) await fill(guest, at)
      const rows: Row[] = []
      for (const load of loads) {
        rows.push(await compare(guest, load, quick ? 2 : 5, say))
        keep({ rows })
      }
      for (const at of ['/mnt/share', '/mnt/plain']) await guest.must('umount', { at })
      return rows
    } finally {
      await plain?.kill()
      await endShares(place)
    }
  },
}

const mount = (guest: NfsGuest, source: string, at: string) =>
  guest.must('mount', { source, at, client: guest.address })

const fill = (guest: NfsGuest, at: string) =>
  guest.must(
    'bench',
    { file: `${at}/bench`, mode: 'write', block: 1 << 20, size: sizeMiB, depth: 4, seconds: 0 },
    120_000,
  )

async function compare(
  guest: NfsGuest,
  { name, mode, block, depth }: (typeof loads)[number],
  repeats: number,
  say: (text: string) => void,
): Promise<Row> {
  const measure = (at: string) => async (): Promise<number> => {
    await dropCaches()
    const args = { file: `${at}/bench`, mode, block, size: sizeMiB, depth, seconds }
    return Number((await guest.must('bench', args, 120_000))['bytesPerSecond'])
  }
  const { share, plain } = await interleave(
    { share: measure('/mnt/share'), plain: measure('/mnt/plain') },
    repeats,
  )
  const found = ratios(share, plain)
  const mib = (values: number[]): string => (median(values) / 2 ** 20).toFixed(1)
  say(`${name}: ${mib(share)} against ${mib(plain)} MiB/s`)
  return row({
    name: `${name}: through a share ÷ through the same server from a folder of its aggregate`,
    value: median(found),
    unit: '×',
    target: '>= 0.7',
    spread: spreadOf(found),
    note: `${depth} requests at a time past the client's memory, NFSv4.1, a guest's kernel; ${mib(share)} against ${mib(plain)} MiB/s`,
  })
}

import { createTlsAuthority } from '@volant/qemu'
import { join } from 'node:path'
import { registerQuietProbe } from '../../test/crash/world.ts'
import { openHostRig, type HostRig } from '../../test/host/rig.ts'
import { bootWriter, hostOf, migrateLive, type Writer } from '../../test/host/writers.ts'
import { kept, row, spreadOf, type BenchCase, type BenchContext, type Row } from '../bench-case.ts'
import { interleave, median, ratios } from '../measure.ts'
import { startBareGuest, type BareMigration } from '../rig/bare-guest.ts'

/** What the guest does meanwhile. */
const load = 'probe.iops=100 probe.span=24M'
const memoryMiB = 128

type Parts = Record<'begin' | 'handOver' | 'send' | 'arrive' | 'commit' | 'resume', number>

interface Moved {
  pauseMs: number
  parts: Parts
}

/** For how long a guest stands still where it is live-migrated, beside bare QEMU. */
export const liveMigration: BenchCase = {
  name: 'live-migration',
  title: 'Live migration of a server',
  async run(context) {
    const rig = await openHostRig({ hosts: 2 })
    try {
      return kept(context, await measure(rig, context))
    } finally {
      await rig.close()
    }
  },
}

async function measure(rig: HostRig, { quick, folder, say }: BenchContext): Promise<Row[]> {
  const repeats = quick ? 3 : 7
  const image = await registerQuietProbe(rig.plane, 'bench-probe', load)
  const writer = await bootWriter(rig, { name: 'bench', host: 'compute-1', memoryMiB, image })
  const bare = await startBareGuest({
    ...{ folder, name: 'bare', memoryMiB, probe: load, accelerator: await acceleratorOf(rig) },
    authority: createTlsAuthority(join(folder, 'tls')),
  })
  try {
    say(`${repeats} live migrations each`)
    const [volant, reference]: [Moved[], BareMigration[]] = [[], []]
    await interleave(
      {
        bare: async () => reference.push(await bare.migrate()),
        volant: async () => volant.push(await migrateOnce(rig, writer)),
      },
      repeats,
    )
    return rowsOf(volant, reference)
  } finally {
    await bare.stop()
  }
}

export async function acceleratorOf({ plane }: HostRig): Promise<'kvm' | 'tcg'> {
  const { compute_hosts: hosts } = await plane.client.ndo.status()
  return hosts[0]?.accelerator === 'kvm' ? 'kvm' : 'tcg'
}

async function migrateOnce(rig: HostRig, writer: Writer): Promise<Moved> {
  const { plane } = rig
  const from = await hostOf(plane, writer)
  const to = rig.hosts.find(({ name }) => name !== from)?.name ?? ''
  const asked = await migrateLive(plane, writer, to)
  const operation = await asked.end()
  if (operation.state !== 'succeeded')
    throw new Error(`the live migration ${operation.state}: ${operation.error?.reason}`)
  const { history } = await plane.client.ndo.history(asked.id)
  const done = history.findLast(({ event, step }) => event === 'done' && step === 'switchover')
  if (done === undefined) throw new Error('the live migration tells of no switchover')
  const { parts } = done.output as { parts: Parts }
  return { pauseMs: operation.client_pause_ms ?? Number.NaN, parts }
}

function rowsOf(volant: Moved[], bare: BareMigration[]): Row[] {
  const own = volant.map(({ pauseMs }) => pauseMs)
  const reference = bare.map(({ pauseMs }) => pauseMs)
  const part = (name: keyof Parts): number => median(volant.map(({ parts }) => parts[name]))
  const names = ['begin', 'handOver', 'send', 'arrive', 'commit', 'resume'] as const
  const line = (name: string, values: number[], note?: string): Row =>
    row({
      name,
      value: median(values),
      unit: 'ms',
      spread: spreadOf(values, 1),
      ...(note === undefined ? {} : { note }),
    })
  return [
    row({
      name: 'Pause of the guest ÷ bare QEMU with the same settings, medians',
      value: median(own) / median(reference),
      unit: '×',
      target: '<= 1.5',
      spread: spreadOf(ratios(own, reference)),
      note: `${own.length} live migrations each; ${memoryMiB} MiB, one volume, the guest writes; both with TLS, a stop before the switchover and a fence there. Volant's fence is at a storage node on another machine and the image is opened anew; the bare one is one command, and both QEMUs have the image open all along`,
      detail: { volantMs: own, bareMs: reference },
    }),
    line(
      'Pause of the guest, median',
      own,
      `from QEMU's event STOP to the answer that it goes on there; of which: ${names.map((name) => `${name} ${part(name)} ms`).join(', ')} (handOver beside begin and send)`,
    ),
    line('Pause of the guest, bare QEMU, median', reference, "by both QEMUs' events, STOP and RESUME"),
    line(
      'Hand-over of the volume within it: fence, proof, and the image opened',
      volant.map(({ parts }) => parts.handOver),
    ),
    line(
      'The bare fence: block-export-del to BLOCK_EXPORT_DELETED',
      bare.map((one) => one.fenceMs),
    ),
  ]
}

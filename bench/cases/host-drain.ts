import { createTlsAuthority } from '@volant/qemu'
import { join } from 'node:path'
import { registerQuietProbe } from '../../test/crash/world.ts'
import { carryOut } from '../../test/host/drain.ts'
import { openHostRig, type HostRig } from '../../test/host/rig.ts'
import { bootWriter } from '../../test/host/writers.ts'
import { row, spreadOf, type BenchCase, type BenchContext } from '../bench-case.ts'
import { median } from '../measure.ts'
import { startBareGuest, type BareGuest } from '../rig/bare-guest.ts'
import { acceleratorOf } from './live-migration.ts'

/** All guests share the machine: a calm one each. */
const load = 'probe.iops=20 probe.span=16M'
const memoryMiB = 256

/** A host with servers is emptied and filled again, beside as many live migrations of bare QEMUs. */
export const hostDrain: BenchCase = {
  name: 'host-drain',
  title: 'Drain of a compute host',
  async run(context) {
    const count = context.quick ? 3 : 8
    const rounds = context.quick ? 1 : 3
    const rig = await openHostRig({ hosts: 2 })
    let accelerator: 'kvm' | 'tcg'
    let drains: number[]
    try {
      accelerator = await acceleratorOf(rig)
      drains = await drainsOf(rig, count, rounds, context)
    } finally {
      await rig.close()
    }
    // Not side by side: twice as many guests would be another load.
    const sums = await sumsOf(accelerator, count, drains.length, context)
    const value = median(drains) / median(sums)
    return [
      row({
        name: 'Drain ÷ the sum of bare live migrations',
        value,
        unit: '×',
        target: '<= 1.2',
        note: `${count} servers of ${memoryMiB} MiB with a volume each, ${drains.length} drains and restores, two servers under way at once; bare ones one after the other, each from the start of its destination's QEMU to the end of its source's`,
        detail: { drainMs: drains, bareMs: sums },
      }),
      row({
        name: 'Drain, or restore, median',
        value: median(drains) / 1000,
        unit: 's',
        spread: spreadOf(drains.map((ms) => ms / 1000)),
      }),
      row({
        name: 'The sum of bare live migrations, median',
        value: median(sums) / 1000,
        unit: 's',
        spread: spreadOf(sums.map((ms) => ms / 1000)),
      }),
    ]
  },
}

async function drainsOf(
  rig: HostRig,
  count: number,
  rounds: number,
  { say }: BenchContext,
): Promise<number[]> {
  const image = await registerQuietProbe(rig.plane, 'bench-probe', load)
  for (let i = 1; i <= count; i++) {
    await bootWriter(rig, { name: `bench-${i}`, host: 'compute-1', memoryMiB, image })
    say(`server ${i} of ${count} writes`)
  }
  const took: number[] = []
  for (let round = 0; round < rounds; round++) {
    for (const kind of ['drain', 'restore'] as const) {
      const { ms } = await carryOut(rig, kind, 'compute-1')
      took.push(ms)
      say(`${kind}: ${(ms / 1000).toFixed(1)} s`)
    }
  }
  return took
}

async function sumsOf(
  accelerator: 'kvm' | 'tcg',
  count: number,
  rounds: number,
  { folder, say }: BenchContext,
): Promise<number[]> {
  const authority = createTlsAuthority(join(folder, 'tls'))
  const guests: BareGuest[] = []
  try {
    for (let i = 1; i <= count; i++) {
      guests.push(
        await startBareGuest({ folder, name: `b${i}`, memoryMiB, probe: load, authority, accelerator }),
      )
      say(`bare guest ${i} of ${count} writes`)
    }
    const sums: number[] = []
    for (let round = 0; round < rounds; round++) {
      let sum = 0
      for (const guest of guests) sum += (await guest.migrate()).totalMs
      sums.push(sum)
      say(`bare: ${(sum / 1000).toFixed(1)} s`)
    }
    return sums
  } finally {
    for (const guest of guests) await guest.stop()
  }
}

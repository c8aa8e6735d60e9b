import { registerQuietProbe } from '../../test/crash/world.ts'
import { evacuated, fenceMs, forceDown } from '../../test/host/evacuation.ts'
import { placeProblems, settled } from '../../test/host/invariants.ts'
import { openHostRig, type HostRig } from '../../test/host/rig.ts'
import { bootWriter, hostOf, type Writer } from '../../test/host/writers.ts'
import { kept, row, spreadOf, type BenchCase } from '../bench-case.ts'
import { median } from '../measure.ts'

const load = 'probe.iops=250 probe.span=24M'

/** From the first call of a fence to the proof that a host, which lives and whose guest writes on, has no access. */
export const fence: BenchCase = {
  name: 'fence',
  title: 'Fence of a compute host',
  async run({ quick, say, keep }) {
    const rig = await openHostRig({ hosts: 2 })
    try {
      const image = await registerQuietProbe(rig.plane, 'bench-probe', load)
      const writer = await bootWriter(rig, { name: 'bench', host: 'compute-1', volumes: 2, image })
      const took: number[] = []
      for (let round = 1; round <= (quick ? 2 : 6); round++) {
        took.push(await evacuateOnce(rig, writer))
        say(`fence ${round}: ${took.at(-1)} ms`)
      }
      return kept({ keep }, [
        row({
          name: "From the fence's start to its proof, median",
          value: median(took),
          unit: 'ms',
          spread: spreadOf(took, 0),
          note: `${took.length} evacuations from a host that is cut off and lives; two volumes, to which its guest writes on`,
        }),
      ])
    } finally {
      await rig.close()
    }
  },
}

async function evacuateOnce(rig: HostRig, writer: Writer): Promise<number> {
  const { plane } = rig
  const from = await hostOf(plane, writer)
  const lost = rig.hosts.find(({ name }) => name === from)
  if (lost === undefined) throw new Error(`there is no host ${from}`)
  lost.cut('control')
  await forceDown(plane, from, true)
  await evacuated(plane, writer)
  const ms = await fenceMs(plane, writer)
  lost.heal('control')
  await forceDown(plane, from, false)
  await settled(() => placeProblems(rig, [writer]))
  return ms
}

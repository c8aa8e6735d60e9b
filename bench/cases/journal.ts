import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { row, spreadOf, type BenchCase, type Row } from '../bench-case.ts'
import { median, ratios } from '../measure.ts'
import { bareDatabase, commitSome } from './durable-step.ts'
import { attach, detach, makeVolume, migrate, openDataPlane } from '../rig/data-plane.ts'
import { fillDense } from '../rig/images.ts'
import { startLoad } from '../rig/load.ts'

const mebibyte = 1024 * 1024
const sizeBytes = 64 * mebibyte
const writesPerSecond = 100

interface Cost {
  /** The engine's durable writes, for which the migration waits. Milliseconds. */
  journalMs: number
  /** How many they were. */
  writes: number
  /** The register of the decision and the record of the truth, while the client's I/O is held. Milliseconds. */
  heldMs: number
  /** As many commits of one row by plain SQLite, just after it. Milliseconds. */
  bareMs: number
}

/** What a migration waits for its being durable: each write of the engine's journal, and those inside the client's pause. */
export const journal: BenchCase = {
  name: 'journal',
  title: 'What durability costs a migration',
  async run({ folder, quick, say }) {
    let cost: Cost = { journalMs: 0, writes: 0, heldMs: 0, bareMs: 0 }
    const plane = await openDataPlane(folder, {
      journal(ms) {
        cost.journalMs += ms
        cost.writes += 1
      },
      held: (ms) => void (cost.heldMs += ms),
    })
    const bare = bareDatabase(join(folder, 'bare.db'))
    const all: Cost[] = []
    try {
      const volume = await makeVolume(plane, sizeBytes)
      await fillDense(volume.path, sizeBytes)
      const { attachment, disk } = await attach(plane, volume)
      const repeats = quick ? 5 : 20
      say(`${repeats} migrations of a volume in use, ${writesPerSecond} writes/s`)
      for (let i = 0; i < repeats; i += 1) {
        const load = await startLoad({ ...disk, writesPerSecond })
        await sleep(300)
        cost = { journalMs: 0, writes: 0, heldMs: 0, bareMs: 0 }
        const { removeSource } = await migrate(plane, volume.id)
        const begun = performance.now()
        commitSome(bare, cost.writes)
        cost.bareMs = performance.now() - begun
        all.push(cost)
        await load.stop()
        await removeSource()
      }
      await detach(plane, attachment)
    } finally {
      bare.close()
      await plane.close()
    }
    return rowsOf(all)
  },
}

function rowsOf(all: Cost[]): Row[] {
  const line = (name: string, values: number[], more: { target?: string; note?: string } = {}) =>
    row({ name, value: median(values), unit: 'ms', spread: spreadOf(values), ...more })
  const journals = all.map(({ journalMs }) => journalMs)
  const bares = all.map(({ bareMs }) => bareMs)
  return [
    line(
      'Durable writes that a migration waits for, in all',
      all.map(({ journalMs, heldMs }) => journalMs + heldMs),
      {
        target: '<= 20',
        note: `the engine's journal, ${median(all.map(({ writes }) => writes))} writes, and what the next line holds; ${all.length} migrations`,
      },
    ),
    line(
      '… of it while the client is held',
      all.map(({ heldMs }) => heldMs),
      {
        target: '<= 5',
        note: 'the decision in the register on the machine of the holder, and the record of the truth in the database',
      },
    ),
    row({
      name: 'The journal ÷ as many commits of one row by plain SQLite',
      value: median(ratios(journals, bares)),
      unit: '×',
      spread: spreadOf(ratios(journals, bares)),
      note: `${median(journals).toFixed(2)} ms and ${median(bares).toFixed(2)} ms`,
    }),
  ]
}

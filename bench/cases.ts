/** Every measurement, in the order of a run: where the time does not suffice for all, the last ones are left out. */
import type { BenchCase } from './bench-case.ts'
import { api } from './cases/api.ts'
import { cinder } from './cases/cinder.ts'
import { copiesTogether } from './cases/copies-together.ts'
import { copyMany } from './cases/copy-many.ts'
import { copySparse } from './cases/copy-sparse.ts'
import { copySpeed } from './cases/copy-speed.ts'
import { create } from './cases/create.ts'
import { cutoverPause } from './cases/cutover-pause.ts'
import { durableStep } from './cases/durable-step.ts'
import { fence } from './cases/fence.ts'
import { hostDrain } from './cases/host-drain.ts'
import { impact } from './cases/impact.ts'
import { journal } from './cases/journal.ts'
import { liveMigration } from './cases/live-migration.ts'
import { memory } from './cases/memory.ts'
import { moveFlexVol } from './cases/move.ts'
import { restart } from './cases/restart.ts'
import { shareCreate } from './cases/share-create.ts'
import { shareCutover } from './cases/share-cutover.ts'
import { shareImpact } from './cases/share-impact.ts'
import { shareMany } from './cases/share-many.ts'
import { shareThroughput } from './cases/share-throughput.ts'
import { snapshots } from './cases/snapshots.ts'
import { start } from './cases/start.ts'
import { thinCopy } from './cases/thin-copy.ts'

export interface Planned {
  one: BenchCase
  /** What it takes on two idle cores, seconds: of a full run, and of a quick one. */
  seconds: number
  quickSeconds: number
  /** Without it, a run does not have the case, however it is asked for. */
  flag?: 'with-cinder'
}

const planned = (one: BenchCase, seconds: number, quickSeconds: number): Planned => ({
  one,
  seconds,
  quickSeconds,
})

export const plan: Planned[] = [
  planned(copySpeed, 80, 25),
  planned(copySparse, 45, 20),
  planned(copyMany, 60, 20),
  planned(impact, 300, 110),
  planned(copiesTogether, 95, 52),
  planned(cutoverPause, 50, 20),
  planned(thinCopy, 20, 10),
  planned(api, 240, 70),
  planned(start, 25, 15),
  planned(restart, 35, 20),
  planned(create, 8, 5),
  planned(memory, 50, 30),
  planned(durableStep, 10, 5),
  planned(journal, 20, 10),
  planned(liveMigration, 40, 30),
  planned(hostDrain, 320, 110),
  planned(fence, 30, 25),
  planned(moveFlexVol, 90, 40),
  planned(snapshots, 45, 30),
  planned(shareThroughput, 85, 50),
  planned(shareCutover, 35, 30),
  planned(shareImpact, 110, 55),
  planned(shareCreate, 30, 25),
  planned(shareMany, 40, 30),
  { ...planned(cinder, 480, 240), flag: 'with-cinder' },
]

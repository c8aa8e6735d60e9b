/**
 * `npm run proof:move`: the whole proof, with its report. Exit code 0: proved. `--apart`: between two storage nodes, with
 * the guests on a third machine.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { prove } from './proof.ts'
import { reportText } from './report.ts'

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '10' },
    volumes: { type: 'string', default: '20' },
    guests: { type: 'string', default: '5' },
    snapshotted: { type: 'string', default: '5' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    apart: { type: 'boolean', default: false },
  },
})
const options = {
  rounds: Number(values.rounds),
  volumes: Number(values.volumes),
  guests: Number(values.guests),
  snapshotted: Number(values.snapshotted),
  seed: Number(values.seed),
}
for (const [name, value] of Object.entries(options)) {
  if (!Number.isInteger(value) || value < (name === 'seed' ? 0 : 1)) {
    console.error(`--${name} must be a whole number, 1 or more`)
    process.exit(2)
  }
}
if (options.guests > options.volumes) {
  console.error(
    `--guests must be at most --volumes (${options.volumes}): each guest writes to a volume of its own`,
  )
  process.exit(2)
}
console.log(
  `npm run proof:move -- ${Object.entries(options)
    .map(([name, value]) => `--${name} ${value}`)
    .join(' ')}`,
)
const began = performance.now()
const say = (text: string): void =>
  console.log(`${((performance.now() - began) / 1000).toFixed(1).padStart(7)} ${text}`)
const report = await prove({ ...options, apart: values.apart, say })
const text = reportText(report)
const folder = join(import.meta.dirname, 'results')
mkdirSync(folder, { recursive: true })
writeFileSync(join(folder, 'proof.md'), `${text}\n`)
console.log(`\n${text}`)
process.exitCode = report.problems.length === 0 ? 0 : 1

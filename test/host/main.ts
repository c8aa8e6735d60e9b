/** `npm run proof:host`: the whole proof, with its report. Exit code 0: proved. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { skipHosts } from './network.ts'
import { prove } from './proof.ts'
import { reportText } from './report.ts'

const { values } = parseArgs({
  options: { rounds: { type: 'string', default: '10' }, kills: { type: 'string', default: '5' } },
})
const options = { rounds: Number(values.rounds), kills: Number(values.kills) }
for (const [name, value] of Object.entries(options)) {
  const least = name === 'kills' ? 0 : 1
  if (Number.isInteger(value) && value >= least) continue
  console.error(`--${name} must be a whole number, ${least} or more`)
  process.exit(2)
}
if (skipHosts !== false) process.exit(1)
const began = performance.now()
const say = (text: string): void =>
  console.log(`${((performance.now() - began) / 1000).toFixed(1).padStart(7)} ${text}`)
const report = await prove({ ...options, say })
const text = reportText(report)
const folder = join(import.meta.dirname, 'results')
mkdirSync(folder, { recursive: true })
writeFileSync(join(folder, 'proof.md'), `${text}\n`)
console.log(`\n${text}`)
process.exitCode = report.problems.length === 0 ? 0 : 1

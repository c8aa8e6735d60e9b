/**
 * `npm run proof:share`: the whole proof, with its report. Exit code 0: proved. `--apart`: the aggregates are on two
 * storage nodes, so that every other migration ends with the image on another machine than the NFS server.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { prove } from './proof.ts'
import { reportText } from './report.ts'

const { values } = parseArgs({
  options: {
    migrations: { type: 'string', default: '10' },
    kills: { type: 'string', default: '3' },
    apart: { type: 'boolean', default: false },
  },
})
const options = { migrations: Number(values.migrations), kills: Number(values.kills) }
for (const [name, value] of Object.entries(options)) {
  if (!Number.isInteger(value) || value < (name === 'kills' ? 0 : 1)) {
    console.error(`--${name} must be a whole number, ${name === 'kills' ? 0 : 1} or more`)
    process.exit(2)
  }
}
const began = performance.now()
const say = (text: string): void =>
  console.log(`${((performance.now() - began) / 1000).toFixed(1).padStart(7)} ${text}`)
const report = await prove({ ...options, apart: values.apart, say })
const text = reportText(report)
const folder = join(import.meta.dirname, 'results')
mkdirSync(folder, { recursive: true })
writeFileSync(join(folder, values.apart ? 'proof-apart.md' : 'proof.md'), `${text}\n`)
console.log(`\n${text}`)
process.exitCode = report.problems.length === 0 ? 0 : 1

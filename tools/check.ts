/** Everything that can be said about the source without running it: `npm run check`. */
import { spawnSync } from 'node:child_process'
import { join, resolve } from 'node:path'
import { checkDocuments } from './check/documents.ts'
import { checkLayers } from './check/layers.ts'
import { checkLockfile } from './check/lockfile.ts'
import { checkTrackedFiles } from './check/tracked-files.ts'

const root = resolve(import.meta.dirname, '..')

/** What a check found; empty: all is well. */
type Findings = string[]

/** Runs one of the tools that npm installed. */
function tool(name: string, ...args: string[]): Findings {
  const result = spawnSync(join(root, 'node_modules/.bin', name), args, {
    cwd: root,
    encoding: 'utf8',
    env: {
      ...process.env,
      NO_COLOR: '1',
      PATH: `${join(process.execPath, '..')}:${process.env['PATH'] ?? ''}`,
    },
  })
  if (result.status === 0) return []
  return [`${result.stdout}${result.stderr}${result.error?.message ?? ''}`.trim()]
}

const checks: [string, () => Findings][] = [
  ['types (tsc)', () => tool('tsc', '-p', 'tsconfig.json')],
  ['lint (oxlint)', () => tool('oxlint', '--deny-warnings')],
  ['format (oxfmt)', () => tool('oxfmt', '--check')],
  ['layers', () => checkLayers(root)],
  ['lockfile', () => checkLockfile(root)],
  ['tracked files', () => checkTrackedFiles(root)],
  ['documents', () => checkDocuments(root)],
]

let failed = 0
for (const [name, check] of checks) {
  const started = performance.now()
  const findings = check()
  const seconds = ((performance.now() - started) / 1000).toFixed(1)
  console.log(`${findings.length === 0 ? 'ok    ' : 'FAILED'} ${name} (${seconds} s)`)
  for (const finding of findings) console.log(finding.replace(/^/gm, '       '))
  if (findings.length > 0) failed++
}
console.log(failed === 0 ? 'All checks passed.' : `${failed} of ${checks.length} checks failed.`)
process.exitCode = failed === 0 ? 0 : 1

/**
 * Runs the tests: `npm test`, `npm test -- config saga/src`, `npm test -- --name 'refuses'`. The last line is
 * `N passed, N failed` (and `N skipped`, where some were). What a test leaves running or mounted is a failure.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import {
  mountsBelow,
  networkNamespaces,
  orphanedNamespaces,
  processesUsing,
  removeNamespace,
  unmount,
} from './test/leftovers.ts'
import { endTestFiles, runTestFile, type Failure } from './test/run-file.ts'
import { selectTests, type TestFile } from './test/select.ts'

const root = resolve(import.meta.dirname, '..')
/** CI allows 25 minutes for everything. */
const budgetMs = 23 * 60_000

interface Tally {
  passed: number
  skipped: number
  failed: Failure[]
}

interface Run {
  tally: Tally
  scratch: string
  namePattern: string | undefined
  deadline: number
  /** By a signal: no file begins any more. */
  isEnded: boolean
}

async function runOne({ path: file, timeoutMs }: TestFile, run: Run): Promise<void> {
  const left = run.deadline - Date.now()
  if (left <= 0) {
    run.tally.failed.push({
      name: `${file}: not run: the tests took longer than ${budgetMs / 60_000} minutes`,
    })
    return
  }
  const started = performance.now()
  const result = await runTestFile({
    root,
    file,
    timeoutMs: Math.min(timeoutMs, left),
    scratch: run.scratch,
    ...(run.namePattern === undefined ? {} : { namePattern: run.namePattern }),
  })
  const seconds = ((performance.now() - started) / 1000).toFixed(1)
  // Without the counts that node prints for each file.
  const output = result.output.replace(
    /^ℹ (tests|suites|pass|fail|cancelled|skipped|todo|duration_ms) .*\n/gm,
    '',
  )
  process.stdout.write(`\n${file} (${seconds} s)\n${output}`)
  run.tally.passed += result.passed
  run.tally.skipped += result.skipped
  run.tally.failed.push(...result.failed.map(({ name, error }) => ({ name: `${file}: ${name}`, error })))
}

/**
 * Three files at a time: many only wait, for daemons and guests, and two leave a third of two cores idle. Two lanes
 * take the longest file that is left. One takes the shortest, which mostly compute, so that there is something of
 * both kinds all along.
 */
async function runAll(files: readonly TestFile[], run: Run): Promise<void> {
  const queue = [...files]
  const lane = async (next: () => TestFile | undefined): Promise<void> => {
    for (let file = next(); file !== undefined && !run.isEnded; file = next()) await runOne(file, run)
  }
  const longest = (): TestFile | undefined => queue.shift()
  const shortest = (): TestFile | undefined => queue.pop()
  await Promise.all([longest, longest, shortest].map(lane))
}

/** What is still there of the tests; processes are ended, so that the next run starts clean. */
async function leftBehind(folder: string, namespacesBefore: readonly string[]): Promise<string[]> {
  const left = (await processesUsing(folder)).map(({ pid, command }) => {
    process.kill(pid, 'SIGKILL')
    return `process ${pid}: ${command.slice(0, 160)}`
  })
  for (const mount of (await mountsBelow(folder)).toReversed()) {
    left.push(`mount ${mount}`)
    await unmount(mount)
  }
  for (const name of await orphanedNamespaces()) {
    if (namespacesBefore.includes(name)) continue
    left.push(`network namespace ${name}`)
    await removeNamespace(name)
  }
  return left
}

/** Of a log of many thousand lines often only the end is kept: what failed says there why, in its first lines. */
function textOf({ name, error }: Failure): string {
  const lines = (error ?? '').split('\n').filter((line) => line.trim() !== '')
  const shown = lines.slice(0, 12).map((line) => `      ${line.slice(0, 400)}`)
  return [`  ${name}`, ...shown].join('\n')
}

const usage = `Usage: npm test [-- [PART …] [--name PATTERN]]
  PART            only the test files whose path contains it: config, saga/src, dataplane
  --name PATTERN  only the tests whose name matches the regular expression`

/** Undefined where an option is unknown. */
function readArguments() {
  try {
    const options = { name: { type: 'string' }, help: { type: 'boolean' } } as const
    return parseArgs({ allowPositionals: true, options })
  } catch {
    return undefined
  }
}

async function main(): Promise<number> {
  const asked = readArguments()
  if (asked === undefined || asked.values.help === true) {
    console.log(usage)
    return asked === undefined ? 2 : 0
  }
  const { values, positionals } = asked
  const tally: Tally = { passed: 0, skipped: 0, failed: [] }
  // Short, because unix sockets lie below it.
  const folder = mkdtempSync(join(tmpdir(), 'vt-'))
  process.env['TMPDIR'] = folder
  // As bin/volant has it: each file is a process, and so is much of what it starts.
  process.env['NODE_COMPILE_CACHE'] ??= join(root, '.cache/node')
  const namespaces = await networkNamespaces()
  const run: Run = {
    ...{ tally, scratch: folder, namePattern: values.name },
    ...{ deadline: Date.now() + budgetMs, isEnded: false },
  }
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.once(signal, () => {
      run.isEnded = true
      endTestFiles()
      void leftBehind(folder, namespaces).finally(() => {
        rmSync(folder, { recursive: true, force: true })
        console.log(`\n${tally.passed} passed, ${tally.failed.length + 1} failed (ended by ${signal})`)
        process.exit(1)
      })
    })
  }
  const files = selectTests(root, positionals)
  console.log(`${files.length} files`)
  await runAll(files, run)
  // Who ended it tidies up, and says so.
  if (run.isEnded) return 1
  tally.failed.push(
    ...(await leftBehind(folder, namespaces)).map((thing) => ({ name: `left behind: ${thing}` })),
  )
  rmSync(folder, { recursive: true, force: true })
  if (tally.failed.length > 0) console.log(`\nFailed:\n${tally.failed.map(textOf).join('\n')}`)
  if (files.length === 0) console.log(`\nno test file matches ${positionals.join(' ')}`)
  const skipped = tally.skipped === 0 ? '' : `, ${tally.skipped} skipped`
  console.log(`\n${tally.passed} passed, ${tally.failed.length} failed${skipped}`)
  return tally.failed.length === 0 && tally.passed > 0 ? 0 : 1
}

process.exitCode = await main()

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { TestBegin, TestEnd } from './tally-reporter.ts'

/** A test that failed, or a reason that is no test's own. */
export interface Failure {
  name: string
  /** The error, with its stack. */
  error?: string | undefined
}

export interface FileResult {
  passed: number
  skipped: number
  failed: Failure[]
  /** What the file printed. */
  output: string
}

const reporter = join(import.meta.dirname, 'tally-reporter.ts')
const untrackedPromises = join(import.meta.dirname, 'untracked-promises.ts')
/** Process groups of test files under way. */
const running = new Set<number>()

/** Ends the test files under way: they are no children of the terminal's Ctrl-C. */
export function endTestFiles(): void {
  for (const pid of running) endGroup(pid, 'SIGKILL')
}

function endGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal)
  } catch {
    // It has ended by itself.
  }
}

/** Between being asked to end and being killed. */
const graceMs = 2000
/** What of a file's time is kept for the hooks after a test that ran into its limit: they stop what it started. */
const hooksMs = 40_000

/** What the tests did, from the reporter's file; a line cut by a kill is left out. */
async function linesOf(path: string): Promise<(TestBegin | TestEnd)[]> {
  const text = await readFile(path, 'utf8').catch(() => '')
  return text
    .slice(0, text.lastIndexOf('\n') + 1)
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as TestBegin | TestEnd)
}

const hasEnded = (line: TestBegin | TestEnd): line is TestEnd => 'outcome' in line

/** For a file that was killed before its own report: which tests had failed, and which one it was at. */
function unreported(lines: readonly (TestBegin | TestEnd)[]): string {
  const open: string[] = []
  let text = ''
  for (const line of lines) {
    if (!hasEnded(line)) open.push(line.began)
    else {
      const index = open.lastIndexOf(line.name)
      if (index >= 0) open.splice(index, 1)
      if (line.outcome === 'failed') text += `✖ ${line.name}\n${line.error ?? ''}\n`
    }
  }
  const doing = open.length === 0 ? 'no test (its process did not end)' : open.join(' › ')
  return `${text}when it was killed it was at: ${doing}\n`
}

function resultOf(all: readonly TestEnd[], output: string, problem: string | undefined): FileResult {
  const tests = all.filter((end) => !end.suite)
  const failuresAmong = (ends: readonly TestEnd[]): Failure[] =>
    ends.filter((end) => end.outcome === 'failed').map(({ name, error }) => ({ name, error }))
  const failed = failuresAmong(tests)
  // A hook that throws fails its suite and, it may be, no test in it.
  if (failed.length === 0) failed.push(...failuresAmong(all))
  if (problem !== undefined && failed.length === 0) failed.push({ name: problem })
  return {
    passed: tests.filter((end) => end.outcome === 'passed').length,
    skipped: tests.filter((end) => end.outcome === 'skipped').length,
    failed,
    output,
  }
}

/**
 * Runs one test file in a process of its own. A test that takes most of `timeoutMs` fails, and its file goes on to
 * its hooks, which stop what it started. A file that does not end within `timeoutMs`, is killed, or ends with an
 * error outside its tests, has failed; what it printed, and which test it was at, is in its output all the same.
 */
export async function runTestFile(options: {
  root: string
  file: string
  timeoutMs: number
  namePattern?: string
  /** For the reporter's file. */
  scratch: string
}): Promise<FileResult> {
  const report = join(options.scratch, `tally-${options.file.replaceAll('/', '_')}`)
  const name = options.namePattern === undefined ? [] : [`--test-name-pattern=${options.namePattern}`]
  const child = spawn(
    process.execPath,
    [
      '--disable-warning=ExperimentalWarning',
      `--import=${untrackedPromises}`,
      '--test-reporter=spec',
      '--test-reporter-destination=stdout',
      `--test-reporter=${reporter}`,
      `--test-reporter-destination=${report}`,
      `--test-timeout=${Math.ceil(options.timeoutMs - Math.min(hooksMs, options.timeoutMs / 2))}`,
      ...name,
      options.file,
    ],
    // A process group of its own, so that its children can be ended with it.
    { cwd: options.root, stdio: ['ignore', 'pipe', 'pipe'], detached: true },
  )
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8')
    stream.on('data', (text: string) => (output += text))
  }
  const pid = child.pid as number
  running.add(pid)
  let late = false
  const timers = [
    setTimeout(() => {
      late = true
      endGroup(pid, 'SIGTERM')
    }, options.timeoutMs),
    setTimeout(() => endGroup(pid, 'SIGKILL'), options.timeoutMs + graceMs),
  ]
  const [code, signal] = (await once(child, 'exit')) as [number | null, NodeJS.Signals | null]
  for (const timer of timers) clearTimeout(timer)
  running.delete(pid)
  // What it left running may hold its output open.
  await Promise.race([once(child, 'close'), sleep(300)])
  child.stdout.destroy()
  child.stderr.destroy()
  const problem = late
    ? `did not end within ${options.timeoutMs / 1000} s and was killed`
    : signal !== null
      ? `was killed by ${signal}`
      : code !== 0
        ? `ended with exit code ${code}`
        : undefined
  const lines = await linesOf(report)
  const result = resultOf(lines.filter(hasEnded), output, problem)
  if (!late && signal === null) return result
  return {
    ...result,
    output: `${output}${output.endsWith('\n') ? '' : '\n'}${unreported(lines)}`,
    failed: [...result.failed.filter(({ name }) => name !== problem), { name: problem ?? '' }],
  }
}

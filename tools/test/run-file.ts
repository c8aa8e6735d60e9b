import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { TestEnd } from './tally-reporter.ts'

export interface FileResult {
  passed: number
  skipped: number
  /** Names of failed tests, and reasons that are no test's own. */
  failed: string[]
  /** What the file printed. */
  output: string
}

const reporter = join(import.meta.dirname, 'tally-reporter.ts')
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

/** The tests that ended, from the reporter's file; a line cut by a kill is left out. */
async function ends(path: string): Promise<TestEnd[]> {
  const text = await readFile(path, 'utf8').catch(() => '')
  return text
    .slice(0, text.lastIndexOf('\n') + 1)
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as TestEnd)
}

function resultOf(all: readonly TestEnd[], output: string, problem: string | undefined): FileResult {
  const tests = all.filter((end) => !end.suite)
  const failed = tests.filter((end) => end.outcome === 'failed').map((end) => end.name)
  // A hook that throws fails its suite and, it may be, no test in it.
  if (failed.length === 0)
    failed.push(...all.filter((end) => end.outcome === 'failed').map((end) => end.name))
  if (problem !== undefined && failed.length === 0) failed.push(problem)
  return {
    passed: tests.filter((end) => end.outcome === 'passed').length,
    skipped: tests.filter((end) => end.outcome === 'skipped').length,
    failed,
    output,
  }
}

/**
 * Runs one test file in a process of its own. One that does not end within `timeoutMs`, is killed, or ends with
 * an error outside its tests, has failed.
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
      '--test-reporter=spec',
      '--test-reporter-destination=stdout',
      `--test-reporter=${reporter}`,
      `--test-reporter-destination=${report}`,
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
  const result = resultOf(await ends(report), output, problem)
  return late || signal !== null
    ? { ...result, failed: [...new Set([...result.failed, problem ?? ''])] }
    : result
}

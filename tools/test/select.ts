import { globSync } from 'node:fs'
import { seconds } from './seconds.ts'

export interface TestFile {
  path: string
  /** Milliseconds, after which it is killed and counts as failed. */
  timeoutMs: number
}

const kinds = [
  // Unit tests.
  {
    globs: [
      'packages/*/src/**/*.test.ts',
      'tools/**/*.test.ts',
      'probe/**/*.test.ts',
      'bench/**/*.test.ts',
      'test/model/**/*.test.ts',
    ],
    timeoutMs: 180_000,
    /** Of one that `seconds` does not know. */
    seconds: 1,
  },
  // Tests with real parts.
  { globs: ['test/!(model)/**/*.test.ts'], timeoutMs: 240_000, seconds: 6 },
]

/** The test files whose path contains any of the patterns, the longest first; all of them where there is none. */
export function selectTests(root: string, patterns: readonly string[]): TestFile[] {
  const found = kinds.flatMap((kind) =>
    [...new Set(kind.globs.flatMap((glob) => globSync(glob, { cwd: root })))]
      .filter((path) => patterns.length === 0 || patterns.some((pattern) => path.includes(pattern)))
      .map((path) => ({ path, timeoutMs: kind.timeoutMs, seconds: seconds[path] ?? kind.seconds })),
  )
  // Among equals the last one first: the short ones are taken from the end.
  found.sort((a, b) => b.seconds - a.seconds || (a.path < b.path ? 1 : -1))
  return found.map(({ path, timeoutMs }) => ({ path, timeoutMs }))
}

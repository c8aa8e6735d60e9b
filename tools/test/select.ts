import { globSync } from 'node:fs'

export interface Phase {
  name: string
  files: string[]
  /** Test files at a time: the machine may have two cores only. */
  concurrency: number
  /** Milliseconds for one file, after which it is killed and counts as failed. */
  timeoutMs: number
}

const phases = [
  {
    name: 'unit tests',
    globs: [
      'packages/*/src/**/*.test.ts',
      'tools/**/*.test.ts',
      'probe/**/*.test.ts',
      'bench/**/*.test.ts',
      'test/model/**/*.test.ts',
    ],
    concurrency: 2,
    timeoutMs: 180_000,
  },
  {
    name: 'tests with real parts',
    globs: ['test/!(model)/**/*.test.ts'],
    // They mostly wait, for daemons and guests: two at a time leave a third of two cores idle.
    concurrency: 3,
    timeoutMs: 240_000,
  },
]

/** The test files whose path contains any of the patterns; all of them where there is none. */
export function selectTests(root: string, patterns: readonly string[]): Phase[] {
  return phases.map(({ globs, ...phase }) => {
    const files = globs
      .flatMap((glob) => globSync(glob, { cwd: root }))
      .filter((file) => patterns.length === 0 || patterns.some((pattern) => file.includes(pattern)))
    return { ...phase, files: [...new Set(files)].sort() }
  })
}

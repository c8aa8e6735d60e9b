import type { TestEvent } from 'node:test/reporters'

/** One test's end, as a line of JSON. */
export interface TestEnd {
  name: string
  outcome: 'passed' | 'failed' | 'skipped'
  suite: boolean
  /** What failed, with its stack. */
  error?: string
}

/** A test or suite has begun; it has no end yet. */
export interface TestBegin {
  began: string
  nesting: number
}

/**
 * A reporter for machines: one line for each test and suite that began, and one for each that ended. A line is
 * written when it happens, so that a file that is killed has told what it was at.
 */
export default async function* tally(source: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  for await (const event of source) {
    if (event.type === 'test:dequeue') {
      const begin: TestBegin = { began: event.data.name, nesting: event.data.nesting }
      yield `${JSON.stringify(begin)}\n`
    }
    if (event.type !== 'test:pass' && event.type !== 'test:fail') continue
    const { data } = event
    const skipped = data.skip !== undefined && data.skip !== false
    const end: TestEnd = {
      name: data.name,
      outcome: skipped ? 'skipped' : event.type === 'test:pass' ? 'passed' : 'failed',
      suite: data.details.type === 'suite',
      ...(event.type === 'test:fail' ? { error: errorText(event.data.details.error) } : {}),
    }
    yield `${JSON.stringify(end)}\n`
  }
}

/** The error's own stack; node wraps it in one that says only that a test failed. */
function errorText(error: Error & { cause?: unknown }): string {
  const inner = error.cause instanceof Error ? error.cause : error
  return inner.stack ?? inner.message
}

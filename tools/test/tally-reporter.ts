import type { TestEvent } from 'node:test/reporters'

/** One test's end, as a line of JSON. */
export interface TestEnd {
  name: string
  outcome: 'passed' | 'failed' | 'skipped'
  suite: boolean
}

/** A reporter for machines: one line for each test and suite that ended. */
export default async function* tally(source: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  for await (const event of source) {
    if (event.type !== 'test:pass' && event.type !== 'test:fail') continue
    const { data } = event
    const skipped = data.skip !== undefined && data.skip !== false
    const end: TestEnd = {
      name: data.name,
      outcome: skipped ? 'skipped' : event.type === 'test:pass' ? 'passed' : 'failed',
      suite: data.details.type === 'suite',
    }
    yield `${JSON.stringify(end)}\n`
  }
}

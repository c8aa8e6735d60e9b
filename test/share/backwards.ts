import type { TestContext } from 'node:test'

type Ending = () => void | Promise<void>

/** What was made last ends first: the test runner itself ends things in the order in which they were made. */
export function backwards(t: Pick<TestContext, 'after'>): Pick<TestContext, 'after'> {
  const endings: Ending[] = []
  t.after(async () => {
    const failures: unknown[] = []
    for (const ending of endings.toReversed()) {
      try {
        await ending()
      } catch (error) {
        failures.push(error)
      }
    }
    if (failures.length > 0) throw new AggregateError(failures, failures.map(String).join('; '))
  })
  return { after: ((ending: Ending) => void endings.push(ending)) as TestContext['after'] }
}

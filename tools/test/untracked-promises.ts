/**
 * Loaded before a test file. node:test follows every promise by an async hook, for one thing: to know whose an error
 * is that no test awaits. Where tests do little but await, that is a third of their processor time. Here it follows
 * no promise, and such an error is the test's that runs.
 */
import hooks, { type HookCallbacks } from 'node:async_hooks'

/** What node:test's own tests and suites are, as far as is looked at. */
interface RunnerTest {
  asyncId(): number
  startTime: bigint | null
  finished: boolean
  activeSubtests: number
  /** Of a hook, which belongs to the test or suite. */
  hookType?: string
}

const { createHook, executionAsyncId } = hooks
/** Tests and suites that were made and have not been seen to be finished. */
let unfinished: RunnerTest[] = []
/** Whose the error is that is told to node:test now. */
let erring: number | undefined

/** The one test that runs; undefined where none does, or several at a time. */
function running(): number | undefined {
  unfinished = unfinished.filter((test) => !test.finished)
  const innermost = unfinished.filter(
    (test) => test.startTime !== null && test.activeSubtests === 0 && test.hookType === undefined,
  )
  return innermost.length === 1 ? innermost[0]?.asyncId() : undefined
}

/** Called before node:test's own listener, which asks at once in whose context it is. */
function beforeError(): void {
  // Imported, it would be loaded before the hooks below are in their places.
  const { getTestContext } = process.getBuiltinModule('node:test')
  erring = getTestContext() === undefined ? running() : undefined
}

function createRunnerHook(callbacks: HookCallbacks): hooks.AsyncHook {
  process.prependListener('uncaughtExceptionMonitor', beforeError)
  process.prependListener('unhandledRejection', (reason) => {
    // node:test has ended and does not listen any more.
    if (process.listenerCount('unhandledRejection') === 1) throw reason
    beforeError()
  })
  return createHook({
    ...callbacks,
    trackPromises: false,
    init(id, type, trigger, resource) {
      if (type === 'Test') unfinished.push(resource as RunnerTest)
      callbacks.init?.(id, type, trigger, resource)
    },
  })
}

/** node:test makes the first hook of the process. */
hooks.createHook = (callbacks) => {
  hooks.createHook = createHook
  return createRunnerHook(callbacks)
}
hooks.executionAsyncId = () => {
  const id = erring ?? executionAsyncId()
  erring = undefined
  return id
}

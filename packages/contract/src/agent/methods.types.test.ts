import { test } from 'node:test'
import type { Caller } from './caller.ts'
import type { MethodsOf } from './methods.ts'

/** Compiled, not run: each `@ts-expect-error` is a mistake that must not compile. */
interface Example {
  readonly node: string
  look(id: string): Promise<{ size: number } | undefined>
  ensure(caller: Caller, id: string, host?: string): Promise<void>
}

const right = { look: 'read', ensure: 'change' } satisfies MethodsOf<Example>
// @ts-expect-error: a call is missing
const missing = { look: 'read' } satisfies MethodsOf<Example>
// @ts-expect-error: there is no such call
const tooMany = { look: 'read', ensure: 'change', drop: 'change' } satisfies MethodsOf<Example>
// @ts-expect-error: a call with a caller changes something
const wrongKind = { look: 'read', ensure: 'read' } satisfies MethodsOf<Example>

interface NotPlain {
  watch(id: string, told: (what: string) => void): Promise<void>
}
// @ts-expect-error: a function does not cross the wire
const notPlain = { watch: 'read' } satisfies MethodsOf<NotPlain>

test('the lists of calls are checked by the compiler', () => {
  void [right, missing, tooMany, wrongKind, notPlain]
})

import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { coveredBy } from '@volant/saga/testing/every-step.ts'
import type { Operation } from '@volant/saga'
import { declaredOperations } from './index.ts'

const files = readdirSync(import.meta.dirname).filter((name) => name.endsWith('.ts'))
const load = (name: string) => import(join(import.meta.dirname, name)) as Promise<Record<string, unknown>>
const nameOf = ({ kind, version }: Operation<never, never>): string => `${kind} version ${version}`

const isOperation = (value: unknown): value is Operation<never, never> =>
  typeof value === 'object' && value !== null && 'kind' in value && 'nodes' in value && 'keysOf' in value

test('every operation that is declared is in the list', async () => {
  const found: Operation<never, never>[] = []
  for (const name of files.filter((file) => !file.endsWith('.test.ts') && file !== 'index.ts')) {
    found.push(...Object.values(await load(name)).filter(isOperation))
  }
  assert.ok(found.length >= 13, `${found.length} were found`)
  assert.deepEqual([...new Set(found)].map(nameOf).toSorted(), declaredOperations.map(nameOf).toSorted())
})

test('no operation is without the generic tests of each of its steps', async () => {
  const covered = await coveredBy(async () => {
    for (const name of files.filter((file) => file.endsWith('every-step.test.ts'))) await load(name)
  })
  const without = declaredOperations.filter((operation) => !covered.has(operation))
  assert.deepEqual(without.map(nameOf), [], 'give them everyStep(...) in a file named *every-step.test.ts')
})

import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Operation } from '@volant/contract/ndo/operation.ts'
import { createProgressView, outcomeText } from './progress.ts'
import { serverLine, serversTotal } from './servers.ts'

type Servers = NonNullable<Operation['progress']['servers']>
type Line = Servers['list'][number]
const mib = 1024 ** 2

const line = (name: string, changes: Partial<Line> = {}): Line => ({
  id: name,
  name,
  state: 'waiting',
  way: 'live',
  from: 'compute-1',
  to: null,
  done_bytes: 0,
  total_bytes: 512 * mib,
  reason: null,
  retry_at: null,
  ...changes,
})

const drain = (list: Line[], changes: Partial<Operation> = {}): Operation =>
  ({
    id: 'op-1',
    kind: 'host.drain',
    state: 'running',
    step: 'emptied',
    phase: 'draining',
    resource: { type: 'host', id: 'compute-1', name: 'compute-1' },
    progress: {
      percent: 50,
      done_bytes: 512 * mib,
      total_bytes: 1024 * mib,
      dirty_bytes: null,
      rate_bytes_per_second: 50 * mib,
      eta_seconds: 10,
      client_limit_bytes_per_second: null,
      images: null,
      flexvols: null,
      servers: {
        total: list.length,
        done: list.filter(({ state }) => state === 'moved' || state === 'stopped').length,
        moving: list.filter(({ state }) => state === 'moving').length,
        waiting: list.filter(({ state }) => state === 'waiting').length,
        stays: list.filter(({ state }) => state === 'stays').length,
        note: null,
        list,
      },
    },
    controls: { paused: false, rate_limit: 0 },
    attempts: [],
    error: null,
    commands: [],
    ...changes,
  }) as unknown as Operation

test('what is said of a server: where it goes and how far it is, or why it waits or stays', () => {
  const said = (changes: Partial<Line>): string => serverLine(line('s', changes), 1)
  assert.equal(
    said({ state: 'moving', to: 'compute-2', done_bytes: 256 * mib }),
    '  s  moving 50 % of 512 MiB, compute-1 -> compute-2, live',
  )
  assert.equal(said({ way: 'cold' }), '  s  waits, cold')
  assert.equal(
    said({ reason: 'the network\nwas away', retry_at: '2026-11-22T10:00:09.000Z' }),
    '  s  waits: the network was away (tried again at 10:00:09 UTC)',
  )
  assert.equal(said({ state: 'moved', to: 'compute-2' }), '  s  moved to compute-2')
  assert.equal(said({ state: 'stopped' }), '  s  stopped, stays on compute-1')
  assert.equal(
    said({ state: 'stays', reason: 'its policy is hold' }),
    '  s  stays on compute-1: its policy is hold',
  )
})

test('a terminal shows a line for each server and one for all, drawn again in place; never more than fit', () => {
  let written = ''
  const terminal = { isTTY: true, columns: 60, rows: 6, write: (text: string) => (written += text) }
  const view = createProgressView(terminal)
  view.update(drain([line('a', { state: 'moving', to: 'compute-2' }), line('b')]))
  assert.equal(written.split('\n').length - 1, 3)
  written = ''
  view.update(drain([line('a', { state: 'moved', to: 'compute-2' }), line('b')]))
  assert.ok(written.startsWith('\u001B[3A\r\u001B[J'), 'the three lines are drawn over')
  assert.match(
    written,
    /draining {2}1\/2 servers, 1 waiting {2}512 MiB of 1\.00 GiB {2}50\.0 MiB\/s {2}ETA 0:10\n$|draining/,
  )
  written = ''
  view.update(drain(['a', 'b', 'c', 'd', 'e', 'f'].map((name) => line(name))))
  assert.match(written, /and 3 servers more\n/)
  for (const text of written.split('\n')) assert.ok(text.length < 70, text)
})

test('elsewhere a line is written when something new is to be said of a server, and not at every look', () => {
  const lines: string[] = []
  const view = createProgressView({ write: (text: string) => lines.push(text) }, 1_000_000)
  const moving = { state: 'moving', to: 'compute-2' } as const
  view.update(drain([line('a', moving), line('b')]))
  const first = lines.length
  view.update(drain([line('a', { ...moving, done_bytes: 9 }), line('b')]))
  assert.equal(lines.length, first)
  view.update(drain([line('a', { state: 'moved', to: 'compute-2' }), line('b')]))
  assert.deepEqual(lines.slice(first), ['  a  moved to compute-2\n'])
})

test('the end says what may be done with the host', () => {
  const done = drain([line('a', { state: 'moved', to: 'compute-2' })], { state: 'succeeded' })
  if (done.progress.servers !== null) done.progress.servers.note = 'compute-1 is empty and safe to switch off'
  assert.equal(
    outcomeText(done),
    'succeeded: compute-1 is empty and safe to switch off\n  volant restore compute-1',
  )
  const error = { reason: 'judge: compute-1 is not empty: 1 of its servers stay.\na stays', class: 'final' }
  assert.match(
    outcomeText(drain([line('a', { state: 'stays' })], { state: 'failed', error })),
    /^failed: judge: compute-1 is not/,
  )
  assert.match(
    outcomeText(drain([line('a'), line('b', { state: 'moved' })], { state: 'cancelled' })),
    /^cancelled: 1 of 2 servers have left, and stay where they are; compute-1 is in use as before/,
  )
  assert.equal(serversTotal(drain([line('a', { state: 'stays' })])).includes('1 stay'), true)
})

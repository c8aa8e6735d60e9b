import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Operation } from '@volant/contract/ndo/operation.ts'
import { readableLogLine } from './log.ts'
import { bar, createProgressView, outcomeText, progressLine } from './progress.ts'
import { displayWidth, formatProperties, formatTable } from './table.ts'
import { formatBytes, formatClock, formatMilliseconds } from './units.ts'

const mib = 1024 ** 2

const operation = (changes: Partial<Operation> = {}): Operation => ({
  id: 'op-1',
  kind: 'volume.migrate',
  state: 'running',
  step: 'inSync',
  phase: 'copying',
  resource: { type: 'volume', id: 'v', name: 'data' },
  parent: null,
  parts: 0,
  source: 'h@cinder-lma#a',
  target: 'h@cinder-lmb#b',
  progress: {
    percent: 47.3,
    done_bytes: 473 * mib,
    total_bytes: 1000 * mib,
    dirty_bytes: null,
    rate_bytes_per_second: 50 * mib,
    eta_seconds: 10.6,
    client_limit_bytes_per_second: null,
    pace: null,
    images: null,
    flexvols: null,
    servers: null,
  },
  controls: { paused: false, rate_limit: 0, pace: '2x', priority: 'normal' },
  client_pause_ms: null,
  client_pause_bound_ms: null,
  attempts: [],
  error: null,
  undo_of: null,
  undo_until: null,
  attention: null,
  created_at: '2026-11-22T10:00:00.000Z',
  updated_at: '2026-11-22T10:00:01.000Z',
  finished_at: null,
  commands: ['volant operations watch op-1'],
  ...changes,
})

const move = (changes: Partial<Operation> = {}): Operation =>
  operation({
    kind: 'flexvol.move',
    phase: 'replicating',
    client_pause_ms: 2.5,
    progress: {
      ...operation().progress,
      images: { total: 20, moved: 5, copying: 8, in_sync: 1, queued: 6, failed: 0 },
    },
    ...changes,
  })

describe('the progress of many', () => {
  it('a move counts its images, and tells the longest pause so far; what is none is left out', () => {
    const line = progressLine(move(), 200)
    assert.match(
      line,
      /replicating .*5\/20 images, 8 copying, 1 in sync, 6 queued  .*ETA 0:11  pause 2\.5 ms/,
    )
    assert.doesNotMatch(line, /failed/)
  })
  it('a vacate counts FlexVols, too', () => {
    const progress = {
      ...move().progress,
      flexvols: { total: 4, moved: 1, moving: 2, waiting: 0, stuck: 1 },
    }
    assert.match(progressLine(move({ progress }), 200), /1\/4 FlexVols, 2 moving, 1 stuck  5\/20 images/)
    const text = outcomeText(move({ state: 'succeeded', progress, commands: [] }))
    assert.match(text, /^succeeded: 1 FlexVol, 20 images, 473 MiB moved/)
    const given = outcomeText(move({ state: 'cancelled', progress, commands: [] }))
    assert.match(given, /^cancelled: .*\n1 of 4 FlexVols has moved, and stays where it is/)
    assert.match(text, /longest client pause at a cutover: 2\.5 ms/)
  })
})

describe('a share', () => {
  const share = { type: 'share', id: 's1', name: 'docs' }
  const migration = (change: Partial<Operation> = {}): Operation =>
    move({ kind: 'share.migrate', resource: share, target: 'aggr2@lma-01', commands: [], ...change })
  it('says what its migration waits for, as long as it waits', () => {
    const line = progressLine(migration({ phase: 'cutover_pending' }), 200)
    assert.match(line, /^cutover_pending .*waits for migration-complete$/)
    assert.match(progressLine(move({ phase: 'cutover_pending' }), 200), /waits for move cutover$/)
    assert.doesNotMatch(progressLine(migration(), 200), /waits for/)
  })
  it('says in the end what has become of it', () => {
    const text = outcomeText(migration({ state: 'succeeded' }))
    assert.match(
      text,
      /^succeeded: 20 images,.*\nshare docs is at aggr2@lma-01; its clients kept it mounted\n/,
    )
    const deleted = migration({ kind: 'share.delete', state: 'succeeded', client_pause_ms: null })
    assert.match(outcomeText(deleted), /\nshare docs is gone$/)
    assert.doesNotMatch(outcomeText(migration({ state: 'cancelled' })), /its clients/)
  })
})

describe('units', () => {
  it('keep three digits', () => {
    assert.deepEqual([0, 1023, 1536, 12.34 * mib, 999 * mib, 1024 ** 4].map(formatBytes), [
      '0 B',
      '1023 B',
      '1.50 KiB',
      '12.3 MiB',
      '999 MiB',
      '1.00 TiB',
    ])
    assert.deepEqual([0, 7.4, 754, 3723].map(formatClock), ['0:00', '0:07', '12:34', '1:02:03'])
    assert.deepEqual([1.72, 123.4].map(formatMilliseconds), ['1.7 ms', '123 ms'])
  })
})

describe('the progress bar', () => {
  it('is as wide as asked for at every percentage, and full only at 100', () => {
    for (let percent = 0; percent <= 100; percent++) assert.equal(bar(percent, 22).length, 22)
    assert.equal(bar(0, 12), '[          ]')
    assert.equal(bar(50, 12), '[====>     ]')
    assert.equal(bar(99.9, 12), '[========> ]')
    assert.equal(bar(100, 12), '[==========]')
  })

  it('shows stage, percent, bytes, rate and ETA in one line of the terminal', () => {
    const line = progressLine(operation(), 100)
    assert.match(line, /^copying +\[=+> +\] +47\.3 % {2}473 MiB of 1000 MiB {2}50\.0 MiB\/s {2}ETA 0:11$/)
    for (const columns of [1, 20, 40, 79, 200])
      assert.ok(progressLine(operation(), columns).length <= columns)
  })

  it('writes the names of steps in words, in a column', () => {
    const line = progressLine(operation({ phase: null, step: 'retireSource' }), 100)
    assert.match(line, /^retire-source {1,2}\[=/)
  })

  it('says why a copy is slow, and nothing where its rate was asked for', () => {
    const held = operation({})
    held.progress.pace = {
      policy: '2x',
      priority: 'normal',
      limit_bytes_per_second: 32 * mib,
      limited_by: 'latency',
      p99_ms: 7.1,
      bound_ms: 4.2,
      baseline_ms: 2.1,
      reason: 'the p99 of its client is 7.1 ms, its bound 4.2 ms',
    }
    assert.match(
      progressLine(held, 200),
      /held to 32\.0 MiB\/s: the p99 of its client is 7\.1 ms, its bound 4\.2 ms$/,
    )
    held.progress.pace.limited_by = 'rate'
    assert.doesNotMatch(progressLine(held, 200), /held to/)
  })

  it('shows what is dirty, a limit, and a pause', () => {
    const controls = { paused: true, rate_limit: 50 * mib, pace: '2x', priority: 'normal' }
    const paused = operation({ state: 'paused', controls })
    paused.progress.dirty_bytes = mib
    assert.match(progressLine(paused, 160), /^paused .*dirty 1\.00 MiB {2}limit 50\.0 MiB\/s$/)
  })

  it('redraws on a terminal; elsewhere writes a line for each stage only', () => {
    const written: string[] = []
    const write = (text: string): number => written.push(text)
    const terminal = createProgressView({ write, isTTY: true, columns: 80 })
    terminal.update(operation())
    terminal.update(operation())
    terminal.end()
    assert.equal(written.length, 3)
    assert.ok(written[0]?.startsWith('\r'))
    assert.equal(written[2], '\n')
    written.length = 0
    const plain = createProgressView({ write })
    plain.update(operation())
    plain.update(operation())
    plain.update(operation({ phase: 'completing' }))
    plain.end()
    assert.equal(written.length, 2)
    assert.ok(written.every((text) => text.endsWith('\n') && !text.includes('\r')))
  })

  it('ends with the evidence, or with the reason and what to do', () => {
    const done = operation({ state: 'succeeded', client_pause_ms: 3.21 })
    const undo = 'volant undo op-1  # possible until 2026-11-22T10:10:00Z'
    assert.equal(
      outcomeText({ ...done, commands: [undo] }),
      `succeeded: 473 MiB moved at 50.0 MiB/s\nclient pause at cutover: 3.2 ms\n  ${undo}`,
    )
    const failed = operation({ state: 'failed', error: { reason: 'no room', class: 'noCapacity' } })
    assert.match(outcomeText(operation({ state: 'cancelled' })), /^cancelled: as it was asked for\n/)
    assert.match(outcomeText(failed), /^failed: no room\n {2}volant operations watch op-1$/)
  })
})

describe('tables', () => {
  it('look like those of the stock clients', () => {
    assert.equal(
      formatProperties({ status: 'in-use', name: null, multiattach: false, size: 1 }),
      [
        '+-------------+--------+',
        '| Property    | Value  |',
        '+-------------+--------+',
        '| multiattach | False  |',
        '| name        | None   |',
        '| size        | 1      |',
        '| status      | in-use |',
        '+-------------+--------+',
      ].join('\n'),
    )
    assert.match(formatProperties({ attached: [{ id: 'x', n: 1 }] }), /\| \[\{"id": "x", "n": 1\}\] \|/)
  })

  it('count wide characters, keep lines within cells, and let nothing steer the terminal', () => {
    assert.equal(displayWidth('存储a'), 5)
    const table = formatTable(
      ['a', 'b'],
      [
        ['存储', 'one\ntwo'],
        ['\u001B[2J', ''],
      ],
    )
    const widths = new Set(table.split('\n').map(displayWidth))
    assert.equal(widths.size, 1)
    assert.ok(!table.includes('\u001B'))
    assert.equal(table.split('\n').length, 7)
  })
})

describe('log lines for people', () => {
  it('show time, level, message and the rest', () => {
    const line = JSON.stringify({ level: 30, time: 0, msg: 'ready', url: 'http://x', fence: 2 })
    assert.equal(readableLogLine(line), '00:00:00.000 INFO  ready url=http://x fence=2')
    assert.equal(readableLogLine('not json'), 'not json')
  })
})

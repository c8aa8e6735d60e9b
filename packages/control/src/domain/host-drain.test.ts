import assert from 'node:assert/strict'
import { test } from 'node:test'
import { drainTask, restoreTask, type DrainPolicy, type Taken } from './host-drain.ts'
import type { TaskState, VmState } from './server.ts'

const server = (vmState: VmState, own?: string, taskState: TaskState | null = null) => ({
  vmState,
  taskState,
  boot: {},
  metadata: own === undefined ? ({} as Record<string, string>) : { 'volant:drain': own },
})
const told = (task: ReturnType<typeof drainTask>): string => (task.kind === 'go' ? task.way : task.kind)

test('what a drain does with a server: by its own policy, else by the default', () => {
  const rows: [VmState, string | undefined, DrainPolicy, string][] = [
    ['active', undefined, 'live', 'live'],
    ['active', undefined, 'cold', 'cold'],
    ['active', undefined, 'stop', 'stop'],
    ['active', undefined, 'hold', 'stays'],
    ['active', 'cold', 'live', 'cold'],
    ['active', 'live', 'hold', 'live'],
    ['paused', undefined, 'live', 'live'],
    ['paused', 'cold', 'live', 'live'],
    ['paused', 'stop', 'live', 'live'],
    ['paused', 'hold', 'live', 'stays'],
    ['stopped', undefined, 'live', 'cold'],
    ['stopped', 'stop', 'live', 'rests'],
    ['stopped', 'hold', 'live', 'stays'],
    ['error', undefined, 'live', 'stays'],
    ['resized', undefined, 'cold', 'stays'],
    ['building', undefined, 'live', 'busy'],
    ['active', 'LIVE', 'live', 'stays'],
  ]
  for (const [vmState, own, fallback, expected] of rows) {
    const what = `${vmState}, own policy ${own ?? 'none'}, default ${fallback}`
    assert.equal(told(drainTask(server(vmState, own), fallback)), expected, what)
  }
  assert.equal(told(drainTask(server('active', undefined, 'rebooting'), 'live')), 'busy')
  const own = { boot: { rootDisk: { format: 'raw' as const, sizeBytes: 1 } } }
  for (const state of ['active', 'paused', 'stopped'] as const) {
    assert.equal(told(drainTask({ ...server(state), ...own }, 'live')), 'stays', 'its disk can not follow')
  }
  assert.equal(told(drainTask({ ...server('active', 'stop'), ...own }, 'live')), 'stop')
  assert.equal(told(drainTask(server('active', 'hold', 'rebooting'), 'live')), 'stays')
})

test('what a restore does with a server: only what the drain took, and nobody moved since', () => {
  const taken = (how: Taken['how'], broughtTo = 'two'): Taken => ({
    home: 'one',
    how,
    wasRunning: true,
    broughtTo,
  })
  const at = (host: string, vmState: VmState, own?: string) => ({ ...server(vmState, own), host })
  assert.equal(told(restoreTask(undefined, taken('live'))), 'over')
  assert.equal(told(restoreTask(at('two', 'active'), taken('live'))), 'live')
  assert.equal(told(restoreTask(at('two', 'paused'), taken('cold'))), 'live')
  assert.equal(told(restoreTask(at('two', 'active'), taken('cold'))), 'cold')
  assert.equal(told(restoreTask(at('two', 'stopped'), taken('live'))), 'cold')
  assert.equal(told(restoreTask(at('three', 'active'), taken('live'))), 'over')
  assert.equal(told(restoreTask(at('two', 'active', 'hold'), taken('live'))), 'stays')
  assert.equal(told(restoreTask(at('two', 'resized'), taken('live'))), 'stays')
  assert.equal(told(restoreTask(at('one', 'active'), taken('live'))), 'over')
  assert.equal(told(restoreTask(at('one', 'stopped'), taken('stop', 'one'))), 'start')
  assert.equal(told(restoreTask(at('one', 'active'), taken('stop', 'one'))), 'over')
  assert.equal(
    told(restoreTask(at('one', 'stopped'), { ...taken('stop', 'one'), wasRunning: false })),
    'over',
  )
  assert.equal(told(restoreTask({ ...at('two', 'active'), taskState: 'migrating' }, taken('live'))), 'busy')
})

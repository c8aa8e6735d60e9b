import { isSettled, type Operation } from '@volant/contract/ndo/operation.ts'
import type { ProgressView } from './progress.ts'
import { formatBytes, formatClock, formatCount, formatRate } from './units.ts'

/** The progress of a drain or a restore: a line for each server, and one for all. */

type Servers = NonNullable<Operation['progress']['servers']>
type Line = Servers['list'][number]

const ways: Record<string, string> = {
  live: 'live',
  cold: 'cold',
  stop: 'to be stopped',
  start: 'to be started',
}

function stateText({ state, way, from, to, done_bytes, total_bytes, reason, retry_at }: Line): string {
  const because = reason === null ? '' : `: ${reason}`
  switch (state) {
    case 'moving': {
      if (way === 'stop' || way === 'start') return way === 'stop' ? 'stopping' : 'starting'
      const how = way === null ? '' : `, ${way}`
      const share =
        way === 'live' && done_bytes > 0
          ? ` ${Math.floor((done_bytes / Math.max(1, total_bytes)) * 100)} % of ${formatBytes(total_bytes)}`
          : ''
      return `moving${share}, ${to === null ? `from ${from}` : `${from} -> ${to}`}${how}${because}`
    }
    case 'moved':
      return to === null ? `gone${because}` : `moved to ${to}`
    case 'stopped':
      return `stopped, stays on ${from}`
    case 'started':
      return `started on ${from}`
    case 'waiting': {
      const at = retry_at === null ? '' : ` (tried again at ${retry_at.slice(11, 19)} UTC)`
      return reason === null ? `waits${way === null ? '' : `, ${ways[way] ?? way}`}` : `waits: ${reason}${at}`
    }
    default:
      return `stays on ${from}${because}`
  }
}

const oneLine = (text: string): string => text.replaceAll(/\s*\n\s*/g, ' ')

/** One server. */
export const serverLine = (line: Line, width: number): string =>
  `  ${line.name.padEnd(width)}  ${oneLine(stateText(line))}`

/** All of them together. */
export function serversTotal({ progress, state, phase, controls }: Operation): string {
  const { servers } = progress
  if (servers === null) return ''
  const counts = Object.entries({ moving: servers.moving, waiting: servers.waiting, stay: servers.stays })
    .filter(([, count]) => count > 0)
    .map(([what, count]) => `${count} ${what}`)
  const isGoing = !isSettled(state)
  return [
    state === 'running' ? (phase ?? 'starting') : state,
    `${servers.done}/${formatCount(servers.total, 'server')}${counts.length === 0 ? '' : `, ${counts.join(', ')}`}`,
    ...(progress.total_bytes === null || progress.total_bytes === 0
      ? []
      : [`${formatBytes(progress.done_bytes ?? 0)} of ${formatBytes(progress.total_bytes)}`]),
    ...(isGoing && progress.rate_bytes_per_second ? [formatRate(progress.rate_bytes_per_second)] : []),
    ...(isGoing && progress.eta_seconds !== null ? [`ETA ${formatClock(progress.eta_seconds)}`] : []),
    ...(controls.rate_limit > 0 ? [`limit ${formatRate(controls.rate_limit)}`] : []),
  ].join('  ')
}

export interface Output {
  write(text: string): unknown
  isTTY?: boolean
  columns?: number
  rows?: number
}

/**
 * On a terminal a block of lines that is drawn again and again, those that are done left out where there are too many;
 * elsewhere a line whenever something new is to be said of a server, and of all every `stepMs`.
 */
export function createServersView(output: Output, stepMs = 5000): ProgressView {
  const told = new Map<string, string>()
  let lastTotal = ''
  let lastAt = 0
  let drawn = 0

  function draw(operation: Operation, servers: Servers): void {
    const columns = Math.max(20, (output.columns ?? 80) - 1)
    const most = Math.max(1, (output.rows ?? 24) - 3)
    const order = ['moving', 'waiting', 'stays', 'stopped', 'started', 'moved']
    const all = servers.list.toSorted((a, b) => order.indexOf(a.state) - order.indexOf(b.state))
    const width = Math.max(...all.map(({ name }) => name.length), 0)
    const shown = all.slice(0, most)
    const hidden = all.length - shown.length
    const lines = [
      ...shown.map((line) => serverLine(line, width)),
      ...(hidden > 0 ? [`  and ${formatCount(hidden, 'server')} more`] : []),
      serversTotal(operation),
    ].map((line) => line.slice(0, columns))
    const up = drawn === 0 ? '' : `\u001B[${drawn}A`
    output.write(`${up}\r\u001B[J${lines.join('\n')}\n`)
    drawn = lines.length
  }

  /** What changes with every look, such as the percent, is told of all together. */
  function tell(operation: Operation, servers: Servers): void {
    const width = Math.max(...servers.list.map(({ name }) => name.length), 0)
    for (const line of servers.list) {
      const said = `${line.state} ${line.to ?? ''} ${line.reason ?? ''}`
      if (told.get(line.id) === said) continue
      told.set(line.id, said)
      output.write(`${serverLine({ ...line, done_bytes: 0, retry_at: null }, width)}\n`)
    }
    const total = serversTotal(operation)
    if (total === lastTotal || (Date.now() - lastAt < stepMs && !isSettled(operation.state))) return
    lastTotal = total
    lastAt = Date.now()
    output.write(`${total}\n`)
  }

  return {
    update(operation) {
      const { servers } = operation.progress
      if (servers === null) return
      if (output.isTTY === true) draw(operation, servers)
      else tell(operation, servers)
    },
    end() {
      drawn = 0
    },
  }
}

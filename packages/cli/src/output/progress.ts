import { isSettled, type Operation } from '@volant/contract/ndo/operation.ts'
import { createServersView } from './servers.ts'
import {
  formatBytes,
  formatClock,
  formatCount,
  formatLimit,
  formatMilliseconds,
  formatRate,
} from './units.ts'

/** `[=======>      ]`, exactly `width` characters. */
export function bar(percent: number, width: number): string {
  const inner = Math.max(1, width - 2)
  const filled = Math.max(0, Math.min(inner, Math.floor((percent / 100) * inner)))
  const head = filled > 0 && filled < inner ? '>' : ''
  return `[${'='.repeat(filled - head.length)}${head}${' '.repeat(inner - filled)}]`
}

type Progress = Operation['progress']

/** `5/20 images, 8 copying, 7 queued`: what is none is left out. */
function imagesText(images: NonNullable<Progress['images']>): string {
  const { total, moved, copying, in_sync, queued, failed } = images
  return countsText(`${moved}/${total} images`, { copying, 'in sync': in_sync, queued, failed })
}

/** What slows a copy that nobody asked to be slow: a rate is shown by itself. */
const slowed: ReadonlySet<string> = new Set(['latency', 'budget', 'unknown'])

const flexvolsText = ({ total, moved, ...rest }: NonNullable<Progress['flexvols']>): string =>
  countsText(`${moved}/${total} FlexVols`, rest)

function countsText(first: string, counts: Record<string, number>): string {
  const others = Object.entries(counts).filter(([, count]) => count > 0)
  return [first, ...others.map(([what, count]) => `${count} ${what}`)].join(', ')
}

/** The measures of one moment, without the bar. */
function progressText(operation: Operation): string {
  const { progress, controls } = operation
  const parts: string[] = []
  if (progress.percent !== null) parts.push(`${progress.percent.toFixed(1).padStart(5)} %`)
  if (progress.flexvols !== null) parts.push(flexvolsText(progress.flexvols))
  if (progress.images !== null && progress.images.total > 0) parts.push(imagesText(progress.images))
  if (progress.done_bytes !== null && progress.total_bytes !== null) {
    parts.push(`${formatBytes(progress.done_bytes)} of ${formatBytes(progress.total_bytes)}`)
  }
  if (progress.rate_bytes_per_second !== null) parts.push(formatRate(progress.rate_bytes_per_second))
  if (progress.eta_seconds !== null && !isSettled(operation.state)) {
    parts.push(`ETA ${formatClock(progress.eta_seconds)}`)
  }
  if (progress.dirty_bytes !== null && progress.dirty_bytes > 0) {
    parts.push(`dirty ${formatBytes(progress.dirty_bytes)}`)
  }
  if (progress.client_limit_bytes_per_second !== null && !isSettled(operation.state)) {
    parts.push(`guest held to ${formatLimit(progress.client_limit_bytes_per_second)}`)
  }
  const { pace } = progress
  if (pace !== null && !isSettled(operation.state) && slowed.has(pace.limited_by)) {
    parts.push(`held to ${formatLimit(pace.limit_bytes_per_second ?? 0)}: ${pace.reason}`)
  }
  if (progress.images !== null && operation.client_pause_ms !== null) {
    parts.push(`pause ${formatMilliseconds(operation.client_pause_ms)}`)
  }
  if (operation.phase === 'cutover_pending' && operation.state === 'running') {
    parts.push(operation.kind === 'share.migrate' ? 'waits for migration-complete' : 'waits for move cutover')
  }
  if (controls.rate_limit > 0) parts.push(`limit ${formatLimit(controls.rate_limit)}`)
  return parts.join('  ')
}

/** `retireSource` is a name for code; people read `retire-source`. */
const words = (name: string): string => name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)

/** Steps that wait for what their name says: it is not so while they run. */
const waits: Record<string, string> = { emptied: 'emptying', filled: 'filling' }

function stageOf({ state, phase, step }: Operation): string {
  if (state !== 'running') return state
  const name = phase ?? step ?? 'starting'
  return waits[name] ?? words(name)
}

/** The line that a terminal shows while the operation runs; never wider than `columns`. */
export function progressLine(operation: Operation, columns: number): string {
  const stage = stageOf(operation).padEnd(13)
  const text = progressText(operation)
  const room = columns - stage.length - text.length - 3
  const { percent } = operation.progress
  const drawn = percent !== null && room >= 12 ? ` ${bar(percent, Math.min(40, room))}` : ''
  return `${stage}${drawn} ${text}`.slice(0, Math.max(1, columns - 1))
}

/** What is so now that was not, of an operation whose name alone does not say it. */
function deedOf({ kind, resource, target }: Operation): string[] {
  const share = `share ${resource.name ?? resource.id}`
  const deeds: Record<string, string> = {
    'server.evacuate': `${resource.name ?? resource.id} is on ${target ?? 'another host'}, and the old host has no access to its volumes`,
    'server.live-migrate': `${resource.name ?? resource.id} runs on ${target ?? 'its destination'}`,
    'server.resize': `${resource.name ?? resource.id} is on ${target ?? 'its destination'}`,
    'server.revert-resize': `${resource.name ?? resource.id} is back, with the flavor that it had`,
    'share.create': `${share} is served; who may mount it, its access rules say`,
    'share.delete': `${share} is gone`,
    'share.extend': `${share} is larger, for its clients, too`,
    'share.access': `the access rules of ${share} hold`,
    'share.revert': `${share} is as its snapshot was`,
    'share.migrate': `${share} is at ${target ?? 'its destination'}; its clients kept it mounted`,
  }
  const deed = deeds[kind]
  return deed === undefined ? [] : [deed]
}

/** Of a drain or a restore: what may be done with the host now. */
function hostOutcome(
  { state, kind, resource, error, commands }: Operation,
  { done, total, note }: NonNullable<Progress['servers']>,
): string {
  const dealt = `${done} of ${formatCount(total, 'server')}`
  const next = commands.map((command) => `  ${command}`)
  if (state === 'succeeded') {
    const back = kind === 'host.drain' ? [`  volant restore ${resource.id}`] : []
    if (kind === 'host.evacuate') {
      const went = total === 0 ? 'there was nothing to start elsewhere' : `${dealt} went to other hosts`
      return [`succeeded: ${note ?? `${went}; ${resource.id} stays disabled`}`, ...next].join('\n')
    }
    return [`succeeded: ${note ?? dealt}`, ...back, ...next].join('\n')
  }
  if (state !== 'cancelled')
    return [`${state}: ${error?.reason ?? 'no reason was given'}`, ...next].join('\n')
  const stay = kind === 'host.restore' ? 'have come back, and stay' : 'have left, and stay where they are'
  return [`cancelled: ${dealt} ${stay}; ${resource.id} is in use as before`, ...next].join('\n')
}

/** What is left to say when it is over. */
export function outcomeText(operation: Operation): string {
  const { progress } = operation
  if (progress.servers !== null) return hostOutcome(operation, progress.servers)
  const lines: string[] = []
  if (operation.state === 'succeeded') {
    const facts = [
      ...(progress.flexvols === null ? [] : [`${formatCount(progress.flexvols.moved, 'FlexVol')},`]),
      ...(progress.images === null ? [] : [`${formatCount(progress.images.total, 'image')},`]),
      ...(progress.done_bytes === null ? [] : [`${formatBytes(progress.done_bytes)} moved`]),
      ...(progress.rate_bytes_per_second === null
        ? []
        : [`at ${formatRate(progress.rate_bytes_per_second)}`]),
    ].join(' ')
    lines.push(`succeeded${facts === '' ? '' : `: ${facts}`}`, ...deedOf(operation))
    if (operation.client_pause_ms !== null) {
      const bound = operation.client_pause_bound_ms
      const atMost = bound === null ? '' : ` (no request waited longer than ${formatMilliseconds(bound)})`
      const which =
        operation.kind === 'server.live-migrate'
          ? 'the guest stood still for'
          : progress.images === null
            ? 'client pause at cutover'
            : 'longest client pause at a cutover'
      lines.push(`${which}: ${formatMilliseconds(operation.client_pause_ms)}${atMost}`)
    }
    lines.push(...operation.commands.map((command) => `  ${command}`))
  } else {
    const reason =
      operation.error?.reason ?? (operation.state === 'cancelled' ? 'as it was asked for' : undefined)
    lines.push(`${operation.state}: ${reason ?? 'no reason was given'}`)
    if (progress.flexvols !== null) {
      const { moved, total } = progress.flexvols
      const stay = moved === 1 ? 'has moved, and stays where it is' : 'have moved, and stay where they are'
      lines.push(`${moved} of ${formatCount(total, 'FlexVol')} ${stay}`)
    }
    lines.push(...operation.commands.map((command) => `  ${command}`))
  }
  if (operation.attempts.length > 0) lines.push(`attempts that did not succeed: ${operation.attempts.length}`)
  return lines.join('\n')
}

export interface ProgressView {
  update(operation: Operation): void
  /** Leaves the cursor on a line of its own. */
  end(): void
}

/** On a terminal one line that is drawn again and again; elsewhere a line for each stage and every `stepMs`. */
export function createProgressView(
  output: {
    write(text: string): unknown
    isTTY?: boolean
    columns?: number
    rows?: number
  },
  stepMs = 5000,
): ProgressView {
  let lastStage = ''
  let lastAt = 0
  let drawn = false
  const servers = createServersView(output, stepMs)
  return {
    update(operation) {
      if (operation.progress.servers !== null) {
        servers.update(operation)
        return
      }
      if (output.isTTY === true) {
        output.write(`\r\u001B[K${progressLine(operation, output.columns ?? 80)}`)
        drawn = true
        return
      }
      const stage = stageOf(operation)
      if (stage === lastStage && Date.now() - lastAt < stepMs) return
      lastStage = stage
      lastAt = Date.now()
      output.write(`${progressLine(operation, 160).trimEnd()}\n`)
    },
    end() {
      servers.end()
      if (drawn) output.write('\n')
      drawn = false
    },
  }
}

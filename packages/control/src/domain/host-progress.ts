import type { Way } from './host-drain.ts'

/**
 * - `waiting`  it is to be begun, or begun again
 * - `moving`   by this operation, or by somebody else
 * - `moved`    it has arrived
 * - `stopped`, `started`  on its host, as its policy wants
 * - `stays`    it can't go, or is not to
 */
export type ServerFate = 'waiting' | 'moving' | 'moved' | 'stopped' | 'started' | 'stays'

/** One server in the progress of a drain or a restore. */
export interface ServerLine {
  id: string
  name: string
  fate: ServerFate
  way: Way | null
  from: string
  to: string | null
  /** Bytes of its memory. */
  doneBytes: number
  totalBytes: number
  rateBps: number
  /** Why it waits or stays. */
  reason: string | null
  /** What was against it so far; null: nothing. */
  against: Against | null
}

/** What a later look must know of earlier ones. ISO 8601. */
export interface Against {
  /** `busy`: somebody else works on it. `place`: no host can take it. `failed`: its last part. `refused`: not begun. */
  cause: 'busy' | 'refused' | 'place' | 'failed'
  reason: string
  since: string
  /** When it is tried again. */
  next: string
  tries: number
  /** It was waited for long enough. */
  isOver: boolean
  /** Hosts that refused it for good, each with the reason. */
  hosts: Record<string, string>
}

/** The progress of `host.drain` and `host.restore`: of all servers together. Bytes are of their memory. */
export interface HostProgress {
  phase: 'draining' | 'restoring' | 'evacuating' | 'paused'
  doneBytes: number
  totalBytes: number
  leftBytes: number
  rateBps: number
  etaSeconds: number | null
  servers: ServerLine[]
  /** The operator's wishes that its parts have been told. */
  brought: { paused: boolean; rate: number | null }
  /** Of the end: what may be done with the host now. */
  note: string | null
}

export type ServerCounts = Record<'total' | 'done' | 'moving' | 'waiting' | 'stays', number>

const isDone = ({ fate }: ServerLine): boolean => fate === 'moved' || fate === 'stopped' || fate === 'started'

export const countsOf = (servers: readonly ServerLine[]): ServerCounts => ({
  total: servers.length,
  done: servers.filter(isDone).length,
  moving: servers.filter(({ fate }) => fate === 'moving').length,
  waiting: servers.filter(({ fate }) => fate === 'waiting').length,
  stays: servers.filter(({ fate }) => fate === 'stays').length,
})

export function hostProgress(
  phase: 'draining' | 'restoring' | 'evacuating',
  servers: readonly ServerLine[],
  brought: HostProgress['brought'],
  note: string | null = null,
): HostProgress {
  const counted = servers.filter((line) => line.way === 'live' && line.fate !== 'stays')
  const sum = (of: (line: ServerLine) => number): number => counted.reduce((all, line) => all + of(line), 0)
  const totalBytes = sum((line) => line.totalBytes)
  const doneBytes = sum((line) =>
    isDone(line) ? line.totalBytes : Math.min(line.doneBytes, line.totalBytes),
  )
  const rateBps = sum((line) => (line.fate === 'moving' ? line.rateBps : 0))
  const leftBytes = totalBytes - doneBytes
  return {
    phase: brought.paused ? 'paused' : phase,
    doneBytes,
    totalBytes,
    leftBytes,
    rateBps,
    etaSeconds: rateBps === 0 || brought.paused ? null : Math.ceil(leftBytes / rateBps),
    servers: [...servers].toSorted((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0)),
    brought,
    note,
  }
}

/** One line for each server that stays. */
export const stayReasons = (servers: readonly ServerLine[]): string =>
  servers
    .filter(({ fate }) => fate === 'stays')
    .map(({ name, from, reason }) => `${name} stays on ${from}: ${reason ?? 'nobody knows why'}`)
    .join('\n')

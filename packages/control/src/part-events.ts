import type { Executor, RunRecord } from '@volant/saga'
import { hasLeft } from './operations/live-migrate-server.ts'

const kinds = ['server.live-migrate', 'server.resize', 'server.stop', 'server.start', 'server.evacuate']

/**
 * A drain, a restore or an evacuation of a host looks at once when one of its servers needs its place in the row no
 * more, and not a second later. Missed by a crash: its next look sees it.
 */
export function wakeByParts(executor: Pick<Executor, 'onEvent' | 'wake'>): void {
  executor.onEvent((event) => {
    if (event.type !== 'run' || event.run.parentId === null) return
    if (isTurn(event.run)) executor.wake(event.run.parentId)
  })
}

const isTurn = (part: RunRecord): boolean =>
  kinds.includes(part.kind) && (part.endedAt !== null || hasLeft(part))

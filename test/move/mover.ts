/** Starts moves of the FlexVol as an administrator's script does, and waits for their end. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { MoveDocument, MoveImage, MoveList } from '@volant/contract/ndo/move.ts'
import { flexvolName, type Place } from './place.ts'

export interface Moved {
  state: string
  reason: string
  images: MoveImage[]
}

export interface Mover {
  /** Returns as soon as the move is under way. */
  start(aggregate: string): Promise<void>
  /** How far the newest move is. */
  look(): Promise<Moved>
}

const over = ['success', 'failed', 'aborted']

/** Ends where the move has; fails, telling how far it is, where nothing changes any more. */
export async function endOf(mover: Mover, standstillMs = 180_000): Promise<Moved> {
  let last = ''
  let changed = performance.now()
  for (;;) {
    const moved = await mover.look()
    if (over.includes(moved.state)) return moved
    const now = JSON.stringify(moved)
    if (now !== last) {
      last = now
      changed = performance.now()
    } else if (performance.now() - changed > standstillMs) {
      throw new Error(`the move stands still: ${now}`)
    }
    await sleep(200)
  }
}

interface ClusterEntry {
  name: string
  url: string
  user: string
  password: string
}

/** Through ONTAP's REST API; each image's pause is known to `/ndo/v1` alone. */
function ontapMover(place: Place): Mover {
  const { plane } = place
  const call = async (method: string, path: string, body?: unknown): Promise<Record<string, unknown>> => {
    const clusters = JSON.parse(readFileSync(join(plane.stateDir, 'clusters.json'), 'utf8')) as ClusterEntry[]
    const cluster = clusters[0] as ClusterEntry
    const authorization = `Basic ${Buffer.from(`${cluster.user}:${cluster.password}`).toString('base64')}`
    const response = await fetch(`${cluster.url}${cluster.url.endsWith('/api') ? '' : '/api'}${path}`, {
      method,
      headers: { authorization, ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
    const text = await response.text()
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`)
    return JSON.parse(text) as Record<string, unknown>
  }
  const find = async (): Promise<{ uuid: string; movement?: { state?: string } }> => {
    const answer = await call('GET', `/storage/volumes?name=${flexvolName}&fields=movement`)
    return (answer['records'] as { uuid: string }[])[0] as { uuid: string }
  }
  const own = ndoMover(place)
  return {
    async start(aggregate) {
      const { uuid } = await find()
      await call('PATCH', `/storage/volumes/${uuid}`, {
        'movement.destination_aggregate.name': aggregate,
        'movement.cutover_window': 30,
      })
    },
    async look() {
      // A move that has ended is ended in both.
      const moved = await own.look()
      return { ...moved, state: (await find()).movement?.state ?? moved.state }
    },
  }
}

export function ndoMover({ plane, flexvolId }: Place): Mover {
  const json = (method: string, path: string, options = {}): Promise<unknown> =>
    plane.client.session.json(method, `/ndo/v1${path}`, options)
  return {
    async start(aggregate) {
      await json('POST', '/moves', { body: { flexvol: flexvolId, aggregate } })
    },
    async look() {
      const { moves } = (await json('GET', '/moves', { query: { flexvol: flexvolId, limit: 1 } })) as MoveList
      const [newest] = moves
      if (newest === undefined) throw new Error('no move is known')
      const { move, images } = (await json('GET', `/moves/${newest.id}`)) as MoveDocument
      return { state: move.state, reason: move.reason ?? '', images }
    },
  }
}

export const moverOf = (place: Place): Mover =>
  existsSync(join(place.plane.stateDir, 'clusters.json')) ? ontapMover(place) : ndoMover(place)

import { DomainError } from '@volant/contract'
import type { RunRecord } from '@volant/saga'
import type { FlexVolMoveProgress } from '../domain/flexvol-move.ts'
import { gib, newFlexVol, type AggregatePlace, type FlexVol } from '../domain/volume.ts'
import type { VacateAggregatePorts } from '../operations/vacate-aggregate.ts'
import type { AggregateView } from '../ports/aggregates.ts'
import type { FlexVolMoveRequest } from '../ports/flexvol-moves.ts'

/** Of vacates that find nothing out, and so hold their keys and do nothing, until they are cancelled. */
export const standingVacatePorts = (): VacateAggregatePorts =>
  ({
    aggregates: { list: () => Promise.reject(new DomainError('unavailable', 'not now')) },
    engine: { get: async () => ({ progress: null }), partsOf: async () => [] },
    flexvols: { list: async () => [] },
    moves: { movements: async () => new Map() },
  }) as unknown as VacateAggregatePorts

const place = (aggregate: string): AggregatePlace => ({ node: 'n1', aggregate })

/**
 * A cluster of one node with the aggregates `old`, `a` and `b`, and moves that need a few looks each: what the emptying
 * of an aggregate does is tested on it. FlexVols are as large as their place in the list says, in GiB.
 */
export function vacateRig(names: readonly string[] = ['one', 'two', 'three']) {
  const flexvols = new Map<string, FlexVol>()
  const sizes = new Map<string, number>()
  for (const [i, name] of names.entries()) {
    const flexvol = newFlexVol(
      { cluster: 'c', name, lif: '127.0.0.1', junctionPath: `/${name}`, ...place('old') },
      '2026-11-22T10:00:00.000Z',
    )
    flexvols.set(flexvol.id, flexvol)
    sizes.set(flexvol.id, (i + 1) * gib)
  }
  const parts: RunRecord[] = []
  /** Bytes that are free before anything was moved. */
  const free = new Map([
    ['a', 100 * gib],
    ['b', 90 * gib],
  ])
  const rig = {
    flexvols,
    parts,
    free,
    /** Every request for a move, in its order. */
    started: [] as FlexVolMoveRequest[],
    /** FlexVols whose moves fail, by name. */
    failing: new Set<string>(),
    /** What `start` says of a FlexVol, by name. */
    refusing: new Map<string, DomainError>(),
    named: (name: string): FlexVol => [...flexvols.values()].find((one) => one.name === name) as FlexVol,
    at: (aggregate: string): string[] =>
      [...flexvols.values()].filter((one) => one.aggregate === aggregate).map((one) => one.name),
    ports: undefined as unknown as VacateAggregatePorts,
  }
  const set = (part: RunRecord, fields: Partial<RunRecord>): void => {
    Object.assign(part, fields)
  }
  const update = (id: string, fields: Partial<FlexVol>): void => {
    flexvols.set(id, { ...(flexvols.get(id) as FlexVol), ...fields })
  }

  /** What a move does between two looks. */
  const step = (part: RunRecord): void => {
    const { flexvolId, aggregate } = part.input as FlexVolMoveRequest
    const flexvol = flexvols.get(flexvolId) as FlexVol
    const total = sizes.get(flexvolId) as number
    const end = (state: RunRecord['state'], failure: string | null): void => {
      update(flexvolId, { destination: null })
      set(part, {
        state,
        endedAt: '2026-11-22T10:01:00.000Z',
        failure:
          failure === null ? null : { step: 'imagesMoved', class: 'final', code: null, message: failure },
      })
    }
    if (part.control.cancelRequested) return end('cancelled', null)
    if (part.control.paused) return
    if (flexvol.destination === null) return update(flexvolId, { destination: place(aggregate) })
    if (rig.failing.has(flexvol.name)) return end('failed', `${flexvol.name} could not be copied`)
    const done = ((part.progress as FlexVolMoveProgress | null)?.doneBytes ?? 0) + gib
    set(part, { progress: progressOf(Math.min(done, total), total) })
    if (done < total) return
    update(flexvolId, place(aggregate))
    end('succeeded', null)
  }
  const find = (id: string): RunRecord => {
    const part = parts.find((one) => one.id === id)
    if (part === undefined) throw new DomainError('notFound', `There is no operation ${id}.`)
    return part
  }
  const steer = (id: string, control: Partial<RunRecord['control']>): void => {
    const part = find(id)
    if (part.endedAt !== null) throw new DomainError('conflict', `Operation ${id} has ended.`)
    set(part, { control: { ...part.control, ...control } })
  }
  const used = (aggregate: string): number =>
    [...flexvols.values()]
      .filter((one) => (one.destination ?? one).aggregate === aggregate)
      .reduce((all, one) => all + (sizes.get(one.id) ?? 0), 0)

  rig.ports = {
    flexvols: { list: async () => [...flexvols.values()] },
    backend: {
      usageAt: async ({ id }) => {
        const bytes = sizes.get(id) ?? 0
        return { images: 2, allocatedBytes: bytes * 2, uniqueBytes: bytes }
      },
    },
    aggregates: {
      list: async () =>
        ['old', 'a', 'b'].map((name): AggregateView => {
          const availableBytes = (free.get(name) ?? 0) - used(name)
          const space = { totalBytes: 0, usedBytes: 0, freeBytes: 0, reservedBytes: 0, availableBytes }
          return {
            cluster: 'c',
            node: 'n1',
            name,
            path: `/${name}`,
            filesystem: 'xfs',
            configured: true,
            createdAt: null,
            state: 'online',
            reason: null,
            reflink: true,
            space,
            flexvols: [],
          }
        }),
    },
    moves: {
      movements: async () => new Map(),
      plan: async ({ flexvolId }) => ({
        ok: true,
        flexvol: flexvols.get(flexvolId),
        from: null,
        to: null,
        checks: [],
        images: { volumes: 1, attached: 0, snapshots: 1 },
        estimate: null,
        steps: [],
      }),
      start: async (request) => {
        const flexvol = flexvols.get(request.flexvolId) as FlexVol
        const refusal = rig.refusing.get(flexvol.name)
        if (refusal !== undefined) throw refusal
        rig.started.push(request)
        const id = `move-${rig.started.length}`
        parts.unshift(partOf(id, request))
        return { operationId: id }
      },
    },
    engine: {
      // A run of the engine that tests the operation is none of these moves: it has no progress that was seen.
      get: async (id) => parts.find((part) => part.id === id) ?? partOf(id, {} as FlexVolMoveRequest),
      partsOf: async (parentId) => {
        const mine = parts.filter((part) => part.parentId === parentId)
        const seen = mine.map((part) => structuredClone(part))
        for (const part of mine) if (part.endedAt === null) step(part)
        return seen
      },
      cancel: async (id) => steer(id, { cancelRequested: true }),
      pause: async (id) => steer(id, { paused: true }),
      resume: async (id) => steer(id, { paused: false }),
      steer: async (id, wishes) => steer(id, wishes),
    },
  }
  return rig
}

const progressOf = (doneBytes: number, totalBytes: number): FlexVolMoveProgress => ({
  phase: 'replicating',
  doneBytes,
  totalBytes,
  rateBps: gib,
  leftBytes: totalBytes - doneBytes,
  etaSeconds: 1,
  images: { total: 2, moved: doneBytes === totalBytes ? 2 : 0, copying: 0, inSync: 0, queued: 0, failed: 0 },
  longestPauseMs: doneBytes === totalBytes ? 1.5 : null,
  issues: [],
})

const partOf = (id: string, input: FlexVolMoveRequest): RunRecord => ({
  id,
  kind: 'flexvol.move',
  version: 1,
  steps: [],
  keys: [],
  input,
  parentId: input.parent ?? null,
  state: 'running',
  step: null,
  cancellable: true,
  control: {
    paused: false,
    cancelRequested: false,
    rate: input.rate ?? null,
    pace: null,
    priority: null,
    revision: 0,
  },
  progress: null,
  failure: null,
  owner: 'o',
  fence: 1,
  createdAt: '2026-11-22T10:00:00.000Z',
  updatedAt: '2026-11-22T10:00:00.000Z',
  endedAt: null,
})

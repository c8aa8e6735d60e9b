import { DomainError } from '@volant/contract'
import type { VacatePlan, VacateRequest } from '@volant/contract/ndo/vacate.ts'
import { placeText } from '../domain/aggregate-name.ts'
import { paceWishes } from '@volant/contract/ndo/pace.ts'
import { enforce } from '../domain/policy.ts'
import type { Principal } from '../domain/principal.ts'
import type { VacatePlacement } from '../domain/vacate-plan.ts'
import { vacateAggregate, type VacateAggregateInput } from '../operations/vacate-aggregate.ts'
import { gatherVacate, placeVacated, type VacateFactsPorts } from '../operations/vacate-facts.ts'
import type { AggregateView } from '../ports/aggregates.ts'
import type { OperationEngine } from '../ports/operations.ts'

/** The emptying of an aggregate, or of all aggregates of a storage node, for administrators. */
export interface Vacates {
  /**
   * What would move where, and what would stay, and why; changes nothing. Throws `notFound`, `invalid`, and
   * `conflict` where an aggregate is being emptied already.
   */
  plan(principal: Principal, request: VacateRequest): Promise<VacatePlan>
  /**
   * Moves what can move. Throws as `plan`, and `conflict` where nothing can though something should, or where an aggregate
   * is being emptied, made or deleted.
   */
  start(principal: Principal, request: VacateRequest): Promise<{ operationId: string; plan: VacatePlan }>
}

/** For an estimate where no rate is set: what a disk of a small machine copies. Bytes per second. */
const assumedBps = 300 * 1024 * 1024

export function createVacates(options: {
  ports: VacateFactsPorts
  engine: Pick<OperationEngine, 'start'>
  /** The configured default, in bytes per second; 0: unlimited. */
  rate: number
}): Vacates {
  const { ports, engine } = options

  const plan = async (request: VacateRequest): Promise<{ input: VacateAggregateInput; plan: VacatePlan }> => {
    const input = vacated(request, await ports.aggregates.list())
    const facts = await gatherVacate(ports, input)
    requireNotVacated(facts.views)
    const rate = request.rate ?? options.rate
    const bps = rate === 0 ? assumedBps : Math.min(rate, assumedBps)
    return { input, plan: planView(await placeVacated(ports, facts), facts.views, bps) }
  }
  return {
    async plan(principal, request) {
      enforce(principal, 'ndo:vacates', 'admin')
      return (await plan(request)).plan
    },
    async start(principal, request) {
      enforce(principal, 'ndo:vacates', 'admin')
      const wishes = paceWishes(request)
      const { input, plan: planned } = await plan(request)
      if (planned.moves.length === 0 && planned.stuck.length > 0) {
        const reasons = planned.stuck.map((one) => `${one.flexvol.name}: ${one.reason}`)
        throw new DomainError(
          'conflict',
          `Nothing of ${planned.aggregates.join(', ')} can move. ${reasons.join(' ')}`,
        )
      }
      const rate = request.rate ?? options.rate
      const { id } = await engine.start(vacateAggregate, input, {
        rate: rate === 0 ? null : rate,
        ...wishes,
      })
      return { operationId: id, plan: planned }
    },
  }
}

function requireNotVacated(views: readonly AggregateView[]): void {
  const emptied = views.find(({ vacatedBy }) => vacatedBy !== undefined)
  if (emptied === undefined) return
  throw new DomainError(
    'conflict',
    `Aggregate ${emptied.name} is being emptied by operation ${emptied.vacatedBy} already. Wait for its end, or cancel it.`,
  )
}

/** Which aggregates are meant. */
function vacated(request: VacateRequest, all: readonly AggregateView[]): VacateAggregateInput {
  const { cluster, aggregate, node } = request
  const here = all.filter((one) => one.cluster === cluster)
  const known = here.map(({ name }) => name)
  if (known.length === 0)
    throw new DomainError('notFound', `There is no cluster '${cluster}' with aggregates.`)
  if ((aggregate === undefined) === (node === undefined)) {
    throw new DomainError(
      'invalid',
      'Name an aggregate, or a node whose aggregates are all to be emptied: one of the two.',
    )
  }
  const emptied = here.filter((one) => (aggregate === undefined ? one.node === node : one.name === aggregate))
  const [first] = emptied
  if (first === undefined) {
    const nodes = [...new Set(here.map((one) => one.node))]
    throw new DomainError(
      'notFound',
      aggregate === undefined
        ? `Cluster ${cluster} has no node '${node}' with aggregates. It has: ${nodes.join(', ')}.`
        : `Cluster ${cluster} has no aggregate '${aggregate}'. It has: ${known.join(', ')}.`,
    )
  }
  const aggregates = emptied.map(({ name }) => name)
  requireTargets(request, aggregates, known)
  return {
    cluster,
    node: first.node,
    name: aggregate ?? null,
    whole: aggregate === undefined,
    aggregates,
    to: request.to ?? null,
  }
}

function requireTargets({ cluster, to = [] }: VacateRequest, aggregates: string[], known: string[]): void {
  const unknown = to.find((name) => !known.includes(name))
  if (unknown !== undefined) {
    throw new DomainError(
      'notFound',
      `Cluster ${cluster} has no aggregate '${unknown}'. It has: ${known.join(', ')}.`,
    )
  }
  const itself = to.find((name) => aggregates.includes(name))
  if (itself === undefined) return
  throw new DomainError(
    'invalid',
    `Aggregate ${itself} is to be emptied, so nothing can go to it. Name another.`,
  )
}

function planView(placement: VacatePlacement, views: readonly AggregateView[], bps: number): VacatePlan {
  const moves = placement.moves.map(({ flexvol, to, bytes, underWay }) => ({
    flexvol: { id: flexvol.id, name: flexvol.name },
    from: placeText(flexvol.at),
    to: placeText(to),
    bytes,
    seconds: Math.ceil(bytes / bps),
    under_way: underWay,
  }))
  const bytes = moves.reduce((sum, move) => sum + move.bytes, 0)
  return {
    ok: placement.stuck.length === 0,
    aggregates: views.map(({ name, node }) => placeText({ aggregate: name, node })),
    moves,
    stuck: placement.stuck.map((one) => ({
      flexvol: { id: one.flexvol.id, name: one.flexvol.name },
      from: placeText(one.flexvol.at),
      bytes: one.bytes,
      reason: one.reason,
    })),
    retained: views.flatMap(({ name, node, flexvols }) =>
      flexvols
        .filter((one) => one.retained > 0)
        .map((one) => ({
          flexvol: one.name,
          aggregate: placeText({ aggregate: name, node }),
          images: one.retained,
          until: one.retainedUntil,
        })),
    ),
    targets: placement.targets.map((one) => ({
      aggregate: placeText(one.place),
      free_bytes: one.freeBytes,
      free_after_bytes: one.freeAfterBytes,
    })),
    estimate: { bytes, seconds: Math.ceil(bytes / bps), rate: bps },
  }
}

/** What the emptying of aggregates looks at, each time anew: where FlexVols are, and where there is room. */
import { isDomainError, messageOf } from '@volant/contract'
import {
  planVacate,
  samePlace,
  type VacateFacts,
  type VacateFlexVol,
  type VacatePlacement,
} from '../domain/vacate-plan.ts'
import type { AggregatePlace, FlexVol } from '../domain/volume.ts'
import { isUnderWay } from '../domain/flexvol-move.ts'
import type { Aggregates, AggregateView } from '../ports/aggregates.ts'
import type { Backend } from '../ports/backend.ts'
import type { FlexVolMovePlan, FlexVolMoves, Movement } from '../ports/flexvol-moves.ts'
import type { FlexVolRecords } from '../ports/records.ts'

export interface VacateWish {
  cluster: string
  /** To be emptied, by name. */
  aggregates: string[]
  /** Only to these, by name; null: to any other of the cluster. */
  to: string[] | null
}

export interface VacateFactsPorts {
  aggregates: Pick<Aggregates, 'list'>
  flexvols: Pick<FlexVolRecords, 'list'>
  backend: Pick<Backend, 'usageAt'>
  moves: Pick<FlexVolMoves, 'movements' | 'plan'>
}

/** The FlexVols that are on the aggregates, or move to them, and what could be done with them. */
export async function gatherVacate(
  ports: VacateFactsPorts,
  wish: VacateWish,
): Promise<VacateFacts & { views: AggregateView[] }> {
  const [all, flexvols, movements] = await Promise.all([
    ports.aggregates.list(),
    ports.flexvols.list(),
    ports.moves.movements(),
  ])
  const cluster = all.filter((one) => one.cluster === wish.cluster)
  const views = cluster.filter((one) => wish.aggregates.includes(one.name))
  const vacated = views.map(placeOf)
  const sharing = (place: AggregatePlace): boolean =>
    cluster.find((one) => samePlace(placeOf(one), place))?.reflink === true
  const here = flexvols.filter(
    (one) => one.cluster === wish.cluster && vacated.some((place) => isAt(one, place)),
  )
  return {
    views,
    vacated,
    flexvols: await Promise.all(
      here.map((one) => flexVolFacts(ports, one, movements.get(one.id), sharing(homeOf(one)))),
    ),
    targets: cluster
      .filter((one) => wish.to === null || wish.to.includes(one.name))
      .filter((one) => !views.includes(one))
      .map((one) => ({
        place: placeOf(one),
        freeBytes: one.space?.availableBytes ?? 0,
        sharesBlocks: one.reflink === true,
        unusable: unusable(one),
      })),
  }
}

const placeOf = ({ node, name }: AggregateView): AggregatePlace => ({ node, aggregate: name })
const homeOf = ({ node, aggregate }: FlexVol): AggregatePlace => ({ node, aggregate })

/** It is there, or on its way to there. */
const isAt = (flexvol: FlexVol, place: AggregatePlace): boolean =>
  samePlace(flexvol, place) || (flexvol.destination !== null && samePlace(flexvol.destination, place))

function unusable(one: AggregateView): string | null {
  if (one.state !== 'online') return one.reason ?? `it is ${one.state}`
  return one.vacatedBy === undefined ? null : `operation ${one.vacatedBy} empties it`
}

async function flexVolFacts(
  ports: VacateFactsPorts,
  flexvol: FlexVol,
  movement: Movement | undefined,
  sharesBlocks: boolean,
): Promise<VacateFlexVol> {
  const usage = await ports.backend
    .usageAt(flexvol, homeOf(flexvol))
    .catch((error: unknown) => messageOf(error))
  const known = typeof usage === 'string' ? { uniqueBytes: 0, allocatedBytes: 0 } : usage
  return {
    id: flexvol.id,
    name: flexvol.name,
    at: homeOf(flexvol),
    destination: flexvol.destination,
    moveId: movement !== undefined && isUnderWay(movement.move) ? movement.move.id : null,
    uniqueBytes: known.uniqueBytes,
    allocatedBytes: known.allocatedBytes,
    sharesBlocks,
    blocked: typeof usage === 'string' ? usage : null,
  }
}

/**
 * A placement in which every move would also be let start: what is against one FlexVol's move keeps it out, and the rest
 * is placed anew.
 */
export async function placeVacated(
  ports: Pick<VacateFactsPorts, 'moves'>,
  facts: VacateFacts,
): Promise<VacatePlacement> {
  const placement = planVacate(facts)
  const plans = new Map<string, FlexVolMovePlan>()
  const blocked = new Map<string, string>()
  for (const { flexvol, to, underWay } of placement.moves) {
    if (underWay !== null) continue
    const plan = await planOf(ports, flexvol.id, to)
    if (typeof plan === 'string') blocked.set(flexvol.id, plan)
    else plans.set(flexvol.id, plan)
  }
  if (blocked.size === 0) return reckoned(placement, plans)
  const flexvols = facts.flexvols.map((one) => ({
    ...one,
    blocked: one.blocked ?? blocked.get(one.id) ?? null,
  }))
  return reckoned(planVacate({ ...facts, flexvols }), plans)
}

/** With what each move's own plan says that it copies: also what is free when all is done. */
function reckoned(placement: VacatePlacement, plans: ReadonlyMap<string, FlexVolMovePlan>): VacatePlacement {
  const moves = placement.moves.map((move) => {
    const plan = move.underWay === null ? plans.get(move.flexvol.id) : undefined
    return { ...move, bytes: plan?.estimate?.bytes ?? move.bytes }
  })
  const targets = placement.targets.map((target) => {
    const coming = moves.filter((move) => move.underWay === null && samePlace(move.to, target.place))
    const bytes = coming.reduce((sum, move) => sum + move.bytes, 0)
    return { ...target, freeAfterBytes: Math.max(0, target.freeBytes - bytes) }
  })
  return { ...placement, moves, targets }
}

/** The plan, or why it would not start. */
async function planOf(
  { moves }: Pick<VacateFactsPorts, 'moves'>,
  flexvolId: string,
  to: AggregatePlace,
): Promise<FlexVolMovePlan | string> {
  try {
    const plan = await moves.plan({ flexvolId, aggregate: to.aggregate })
    const reasons = plan.checks.filter((check) => !check.ok).map((check) => check.reason)
    return plan.ok ? plan : reasons.join(' ')
  } catch (error) {
    if (isDomainError(error)) return messageOf(error)
    throw error
  }
}

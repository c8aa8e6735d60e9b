import type { Aggregate, AggregateRequest } from '@volant/contract/ndo/aggregate.ts'
import { enforce } from '../domain/policy.ts'
import type { Principal } from '../domain/principal.ts'
import type { Aggregates, AggregateView } from '../ports/aggregates.ts'

/** Aggregates for administrators, as `/ndo/v1` has them. */
export interface AggregateAdministration {
  list(principal: Principal): Promise<Aggregate[]>
  /** As `Aggregates.create` and `remove`. */
  create(principal: Principal, request: AggregateRequest): Promise<{ operationId: string }>
  remove(principal: Principal, cluster: string, name: string): Promise<{ operationId: string }>
}

export function createAggregateAdministration(aggregates: Aggregates): AggregateAdministration {
  const admin = (principal: Principal): void => enforce(principal, 'ndo:aggregates', 'admin')
  return {
    async list(principal) {
      admin(principal)
      return (await aggregates.list()).map(aggregateView)
    },
    async create(principal, { cluster, node, name, filesystem, size_bytes }) {
      admin(principal)
      return aggregates.create({
        cluster,
        name,
        ...(node !== undefined && { node }),
        ...(filesystem !== undefined && { filesystem }),
        ...(size_bytes !== undefined && { sizeBytes: size_bytes }),
      })
    },
    async remove(principal, cluster, name) {
      admin(principal)
      return aggregates.remove(cluster, name)
    },
  }
}

const aggregateView = (aggregate: AggregateView): Aggregate => ({
  cluster: aggregate.cluster,
  name: aggregate.name,
  node: aggregate.node,
  path: aggregate.path,
  state: aggregate.state,
  reason: aggregate.reason,
  filesystem: aggregate.filesystem,
  shares_blocks: aggregate.reflink,
  total_bytes: aggregate.space?.totalBytes ?? null,
  used_bytes: aggregate.space?.usedBytes ?? null,
  reserved_bytes: aggregate.space?.reservedBytes ?? null,
  free_bytes: aggregate.space?.availableBytes ?? null,
  flexvols: aggregate.flexvols.map(({ retainedUntil, ...flexvol }) => ({
    ...flexvol,
    retained_until: retainedUntil,
  })),
  configured: aggregate.configured,
  vacated_by: aggregate.vacatedBy ?? null,
})

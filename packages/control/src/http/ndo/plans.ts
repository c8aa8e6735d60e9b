import { PlanRequest, planKinds } from '@volant/contract/ndo/plan.ts'
import type { FastifyInstance } from 'fastify'
import type { HostPlans } from '../../app/host-plan.ts'
import type { Operations } from '../../app/operation.ts'
import { parser } from '../parse.ts'

const parsePlan = parser(PlanRequest)

/** How many of the last plans of each kind are listed. */
const listed = 20

/** Compute hosts, and plans for them: drain and restore. */
export function planRoutes(app: FastifyInstance, plans: HostPlans, operations: Operations): void {
  app.get('/v1/hosts', async (request) => ({ hosts: await plans.hosts(request.principal) }))
  app.get('/v1/plans', async (request) => {
    const pages = await Promise.all(
      planKinds.map((kind) => operations.list(request.principal, { kind: `host.${kind}`, limit: listed })),
    )
    const found = pages.flatMap((page) => page.operations)
    return { plans: found.toSorted((a, b) => (a.created_at < b.created_at ? 1 : -1)) }
  })
  app.post('/v1/plans', async (request, reply) => {
    const wish = parsePlan(request.body) as PlanRequest
    if (wish.dry_run === true) return { plan: await plans.plan(request.principal, wish) }
    const { operationId, plan } = await plans.start(request.principal, wish)
    const operation = await operations.show(request.principal, operationId)
    return reply.code(202).send({ operation, plan })
  })
}

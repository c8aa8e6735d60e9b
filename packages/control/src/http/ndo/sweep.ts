import { SweepRequest } from '@volant/contract/ndo/sweep.ts'
import type { FastifyInstance } from 'fastify'
import type { Sweeps } from '../../app/sweep.ts'
import { parser } from '../parse.ts'

const parseSweep = parser(SweepRequest)

/** `GET`: what the last pass found. `POST`: one pass now; it answers when it is over. */
export function sweepRoutes(app: FastifyInstance, sweeps: Sweeps): void {
  app.get('/v1/sweep', (request) => sweeps.last(request.principal))
  app.post('/v1/sweep', (request) => sweeps.run(request.principal, parseSweep(request.body ?? {})))
}

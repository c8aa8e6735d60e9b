import { setTimeout as sleep } from 'node:timers/promises'
import { createLocalAgents } from '../local-agents.ts'
import type { LocalAgents } from '../local-agents.ts'
import type { ProbeKernel } from '../compute/accelerator.ts'
import type { Log } from '../daemon/log.ts'
import { serveAgents } from '../wire/server.ts'
import type { FindAgent } from '../wire/server.ts'
import type { NodeCredentials } from './credentials.ts'

export interface AgentNode {
  url: string
  /** Ends the calls under way and lets go of all daemons and guests, which run on. */
  close(): Promise<void>
}

/** How long calls under way have when the process is asked to end. Milliseconds. */
const endGraceMs = 5000
/** A daemon that does not answer must not hold the calls about all others up for longer. Milliseconds. */
const longestAdoptionMs = 10_000

/**
 * The agents of one process, serving their calls. What an earlier process of them left behind is found again and
 * supervised before anybody asks: a daemon that died meanwhile is started, but not one that is at a cutover.
 */
export async function startNode(options: {
  credentials: NodeCredentials
  listen: { host: string; port: number }
  stateDir: string
  runDir: string
  log: Log
  probeKernel?: ProbeKernel
}): Promise<AgentNode> {
  const { credentials, listen, log, ...rest } = options
  const agents = createLocalAgents({ ...rest, log, plan: credentials.plan, tls: credentials.dataPlaneTls })
  const find: FindAgent = (kind, name) => agents[kind].get(name)
  const ready = Promise.race([adopt(agents, log), sleep(longestAdoptionMs, undefined, { ref: false })])
  const server = await serveAgents({ find, tls: credentials.tls, ...listen, log, ready }).catch(
    async (error: unknown) => {
      await agents.close()
      throw error
    },
  )
  return {
    url: server.url,
    async close() {
      await server.close(endGraceMs)
      await agents.close()
    },
  }
}

/** Each agent logs what it could not adopt; the control plane's next call of it tries again. */
async function adopt({ storage, holders, compute, shares }: LocalAgents, log: Log): Promise<void> {
  const began = performance.now()
  await Promise.allSettled([
    ...[...storage.values(), ...holders.values(), ...shares.values()].map((agent) => agent.adopt()),
    ...[...compute.values()].map((agent) => agent.adopted),
  ])
  log.info({ ms: Math.round(performance.now() - began) }, 'what was left running is supervised again')
}

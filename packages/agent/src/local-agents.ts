import { join } from 'node:path'
import type { AgentPlan } from '@volant/contract'
import type { ProbeKernel } from './compute/accelerator.ts'
import { createComputeAgent } from './compute/agent.ts'
import type { LocalComputeAgent } from './compute/agent.ts'
import { createHolderAgent } from './holder/agent.ts'
import type { LocalHolderAgent } from './holder/agent.ts'
import { createShareAgent } from './shares/agent.ts'
import type { LocalShareAgent } from './shares/agent.ts'
import { createStorageAgent } from './storage/agent.ts'
import type { LocalStorageAgent } from './storage/agent.ts'
import type { Log } from './daemon/log.ts'

/** The certificates with which the data plane of this machine speaks to that of others. */
export interface DataPlaneTls {
  serverFolder(node: string, dataAddress: string): Promise<string>
  clientFolder(machine: string): Promise<string>
}

export interface LocalAgents {
  storage: ReadonlyMap<string, LocalStorageAgent>
  /** By machine. */
  holders: ReadonlyMap<string, LocalHolderAgent>
  compute: ReadonlyMap<string, LocalComputeAgent>
  /** By storage node. */
  shares: ReadonlyMap<string, LocalShareAgent>
  /** Lets go of all daemons and guests: they run on. */
  close(): Promise<void>
}

/** The agents of `plan`, in this process. */
export function createLocalAgents(options: {
  plan: AgentPlan
  stateDir: string
  runDir: string
  tls: DataPlaneTls
  log: Log
  /** What to try KVM with; absent: guests are emulated. */
  probeKernel?: ProbeKernel
}): LocalAgents {
  const { plan, tls, log, probeKernel } = options
  const placed = ({ state, run, netns }: { state: string; run: string; netns?: string }) => ({
    stateDir: join(options.stateDir, state),
    runDir: join(options.runDir, run),
    log,
    ...(netns === undefined ? {} : { netns: `/run/netns/${netns}` }),
  })
  const storage = new Map(
    plan.storage.map((one) => {
      const { node, dataAddress, aggregates } = one
      const serverTlsFolder = (): Promise<string> => tls.serverFolder(node, dataAddress)
      const clientTlsFolder = (): Promise<string> => tls.clientFolder(one.machine ?? node)
      const folders = { serverTlsFolder, clientTlsFolder }
      return [node, createStorageAgent({ ...placed(one), node, dataAddress, aggregates, ...folders })]
    }),
  )
  const holders = new Map(
    plan.holders.map((one) => {
      const { machine } = one
      const clientTlsFolder = (): Promise<string> => tls.clientFolder(machine)
      return [machine, createHolderAgent({ ...placed(one), host: machine, clientTlsFolder })]
    }),
  )
  const compute = new Map(
    plan.compute.map((one) => {
      const { host, memoryMiB, machine = host, dataAddress = '127.0.0.1' } = one
      const migration = {
        dataAddress,
        machine,
        serverTlsFolder: () => tls.serverFolder(machine, dataAddress),
        clientTlsFolder: () => tls.clientFolder(machine),
      }
      const agent = createComputeAgent({
        ...placed(one),
        host,
        migration,
        ...(memoryMiB === undefined ? {} : { memoryMiB }),
        ...(probeKernel === undefined ? {} : { probeKernel: () => Promise.resolve(probeKernel) }),
      })
      return [host, agent]
    }),
  )
  const shares = new Map(
    plan.shares.map((one) => [one.node, createShareAgent({ ...placed(one), node: one.node })]),
  )
  return {
    storage,
    holders,
    compute,
    shares,
    async close() {
      for (const agent of [...storage.values(), ...holders.values(), ...shares.values()]) agent.detach()
      await Promise.all([...compute.values()].map((agent) => agent.close()))
    },
  }
}

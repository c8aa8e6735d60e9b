/** The composition root of `volant node`: the agents of one process, as their credentials name them. */
import { join } from 'node:path'
import { readNodeCredentials } from '@volant/agent/node/credentials.ts'
import { startNode, type AgentNode } from '@volant/agent/node/node.ts'
import { DomainError } from '@volant/contract'
import { ensurePrivateFolder, identityOf, writeJsonDurably } from '@volant/qemu'
import type { Logger } from 'pino'
import { agentFolder, agentRecordPath, digestOf, type AgentProcessRecord } from './agent-process.ts'
import { defaultCacheDir, findProbeGuest } from './probe-guest.ts'
import { ensureAggregateFolders } from './reconcile/topology.ts'
import { openStateFolder } from './state-folder.ts'

export interface NodeOptions {
  /** Folder that `volant node-credentials` wrote. */
  credentialsDir: string
  stateDir: string
  /** Absent: where the credentials' address says, else any free port of 127.0.0.1. */
  listen?: { host: string; port: number }
  log: Logger
  /** Folder in which the set-up built the probe guest. */
  cacheDir?: string
}

/** The folder that only one process may have at a time; made where it is missing. */
export function nodeFolder({ credentialsDir, stateDir }: NodeOptions): { name: string; folder: string } {
  const { name } = readNodeCredentials(credentialsDir)
  const folder = agentFolder(stateDir, name)
  ensurePrivateFolder(join(stateDir, 'agents'))
  ensurePrivateFolder(folder)
  return { name, folder }
}

/** Returns when the agents serve calls. The caller has `nodeFolder` for itself. */
export async function openNode(options: NodeOptions): Promise<AgentNode> {
  const { stateDir, log } = options
  const credentials = readNodeCredentials(options.credentialsDir)
  const { name, url, plan } = credentials
  const folder = openStateFolder(stateDir)
  await ensureAggregateFolders(
    plan.storage.map(({ node, aggregates }) => ({ name: node, aggregates })),
    folder.path,
  )
  const probe = await findProbeGuest(options.cacheDir ?? defaultCacheDir)
  const node = await startNode({
    credentials,
    listen: options.listen ?? addressOf(url),
    stateDir: folder.path,
    runDir: folder.run,
    log,
    ...(probe === undefined
      ? {}
      : {
          probeKernel: {
            path: probe.kernelPath,
            initrdPath: probe.initrdPath,
            commandLine: probe.commandLine,
          },
        }),
  })
  const record: AgentProcessRecord = {
    ...identityOf(process.pid),
    name,
    url: node.url,
    digest: digestOf({ name, plan, ...(url === undefined ? {} : { url }) }),
    startedAt: new Date().toISOString(),
  }
  writeJsonDurably(agentRecordPath(agentFolder(stateDir, name)), record)
  return node
}

function addressOf(url: string | undefined): { host: string; port: number } {
  if (url === undefined) return { host: '127.0.0.1', port: 0 }
  const { hostname, port } = new URL(url)
  if (port === '') throw new DomainError('invalid', `The address ${url} names no port.`)
  return { host: hostname.replace(/^\[|\]$/g, ''), port: Number(port) }
}

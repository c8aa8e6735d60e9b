import { join } from 'node:path'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  writeFileSync,
} from 'node:fs'
import { DomainError } from '@volant/contract'
import type { AgentPlan } from '@volant/contract'
import { readJson, readTls } from '@volant/qemu'
import type { TlsAuthority } from '@volant/qemu'
import type { DataPlaneTls } from '../local-agents.ts'
import type { PeerTls } from '../wire/server.ts'

/** `node.json` in a credentials folder. */
export interface NodeDocument {
  /** The process's name: of its certificate, in messages and logs. */
  name: string
  /** Where it listens: `https://HOST:PORT`; absent: at any free port of 127.0.0.1. */
  url?: string
  plan: AgentPlan
}

/**
 * A folder with all that a process of agents needs to join: what it consists of, its certificate for the calls of the
 * control plane, and those of its data plane. Its keys are secrets; it holds nothing with which certificates are made.
 */
export interface NodeCredentials extends NodeDocument {
  tls: PeerTls
  dataPlaneTls: DataPlaneTls
}

const documentFile = 'node.json'
const agentFolder = 'agent'
const serverFolder = (node: string): string => `server-${node}`
const clientFolder = (machine: string): string => `client-${machine}`

export function readNodeCredentials(folder: string): NodeCredentials {
  const document = readJson(join(folder, documentFile)) as NodeDocument | undefined
  if (document === undefined) {
    throw new DomainError(
      'notFound',
      `${folder} is no folder of credentials: there is no ${documentFile} in it. Make one with: volant node-credentials`,
    )
  }
  return {
    ...document,
    // Credentials of a release without shares.
    plan: { ...document.plan, shares: document.plan.shares ?? [] },
    tls: readTls(join(folder, agentFolder), 'server'),
    dataPlaneTls: {
      serverFolder: (name) => certificatesOf(folder, serverFolder(name)),
      clientFolder: (machine) => certificatesOf(folder, clientFolder(machine)),
    },
  }
}

/** Credentials of an earlier release have none for what came later, such as live migration. */
async function certificatesOf(folder: string, name: string): Promise<string> {
  const path = join(folder, name)
  if (existsSync(path)) return path
  throw new DomainError(
    'unavailable',
    `The credentials in ${folder} have no certificate ${name}: they are of an earlier release. Make them anew with: volant node-credentials`,
  )
}

/** Writes the folder, or brings it up to date. What is right already is left alone: processes may be reading it. */
export async function writeNodeCredentials(
  folder: string,
  document: NodeDocument,
  authority: TlsAuthority,
): Promise<void> {
  const { name, plan } = document
  const parts = await Promise.all([
    authority.agentFolder(name).then((from) => ({ from, to: agentFolder })),
    ...plan.storage.map(async ({ node, dataAddress }) => ({
      from: await authority.serverFolder(node, dataAddress),
      to: serverFolder(node),
    })),
    ...plan.compute.map(async ({ host, machine = host, dataAddress }) => ({
      from: await authority.serverFolder(machine, dataAddress),
      to: serverFolder(machine),
    })),
    ...[...clientMachines(plan)].map(async (machine) => ({
      from: await authority.clientFolder(machine),
      to: clientFolder(machine),
    })),
  ])
  makePrivate(folder)
  for (const { from, to } of parts) {
    makePrivate(join(folder, to))
    for (const file of readdirSync(from)) ensureFile(join(folder, to, file), readFileSync(join(from, file)))
  }
  ensureFile(join(folder, documentFile), Buffer.from(`${JSON.stringify(document, null, 2)}\n`))
}

/** Machines that open images of others, for holders and to copy images at rest, and that guests leave. */
const clientMachines = ({ storage, holders, compute }: AgentPlan): Set<string> =>
  new Set([
    ...storage.map(({ node, machine }) => machine ?? node),
    ...holders.map(({ machine }) => machine),
    ...compute.map(({ host, machine }) => machine ?? host),
  ])

function makePrivate(folder: string): void {
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  chmodSync(folder, 0o700)
}

function ensureFile(path: string, content: Buffer): void {
  try {
    if (readFileSync(path).equals(content)) return
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
  writeFileSync(`${path}.new`, content, { mode: 0o600 })
  renameSync(`${path}.new`, path)
}

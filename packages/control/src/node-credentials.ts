import { join } from 'node:path'
import { writeNodeCredentials } from '@volant/agent/node/credentials.ts'
import { DomainError } from '@volant/contract'
import { createTlsAuthority, ensurePrivateFolder } from '@volant/qemu'
import { loadConfig } from './config/load.ts'
import { agentPlaces } from './domain/agent-places.ts'

/**
 * Writes the folder with which `volant node` on another machine joins this control plane: what its agents are, and
 * certificates. Repeated, it brings the folder up to date. `notFound` for a name that has no address in the
 * configuration.
 */
export async function issueNodeCredentials(options: {
  stateDir: string
  hostname: string
  /** Absent: `STATE/volant.yaml`. */
  configPath?: string
  name: string
  /** Where to. */
  folder: string
}): Promise<{ url: string }> {
  const { stateDir, name, folder } = options
  const { topology } = await loadConfig({ stateDir, hostname: options.hostname, file: options.configPath })
  const remote = agentPlaces(topology).flatMap(({ name, place, plan }) =>
    place.kind === 'remote' ? [{ name, url: place.url, plan }] : [],
  )
  const found = remote.find((one) => one.name === name)
  if (found === undefined) {
    const known = remote.map((one) => one.name).join(', ')
    throw new DomainError(
      'notFound',
      `The configuration gives an address (agent: https://…) to no process of agents named '${name}'; ` +
        (known === '' ? 'it gives none at all.' : `there are: ${known}.`),
    )
  }
  ensurePrivateFolder(stateDir)
  await writeNodeCredentials(folder, found, createTlsAuthority(join(stateDir, 'tls')))
  return { url: found.url }
}

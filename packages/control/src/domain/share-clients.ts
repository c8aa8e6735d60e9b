import { BlockList, isIPv6 } from 'node:net'
import type { AccessLevel, ExportClient, NfsClient } from '@volant/contract'

/** A client of the NFS server that has a share mounted, or may have. */
export interface ShareClient {
  client: NfsClient
  /** Null: no rule admits it any more. */
  access: AccessLevel | null
  /** The server says that it uses this share; else it is only connected and admitted. */
  isCertain: boolean
}

/**
 * Which of a server's clients have the share mounted, as far as one can tell: those that are known to use it, and, of
 * those of which it is not known what they use, the ones that its rules admit.
 */
export function shareClients(
  shareId: string,
  rules: readonly ExportClient[],
  clients: readonly NfsClient[],
): ShareClient[] {
  return clients.flatMap((client) => {
    const access = accessOf(client.address, rules)
    const isCertain = client.shareIds.includes(shareId)
    if (!isCertain && (client.shareIds.length > 0 || access === null)) return []
    return [{ client, access, isCertain }]
  })
}

/** What the narrowest of the rules that match gives. */
function accessOf(address: string, rules: readonly ExportClient[]): AccessLevel | null {
  const [narrowest] = rules
    .filter(({ to }) => matches(to, address))
    .toSorted((one, other) => prefixOf(other.to) - prefixOf(one.to))
  return narrowest?.level ?? null
}

const familyOf = (address: string): 'ipv4' | 'ipv6' => (isIPv6(address) ? 'ipv6' : 'ipv4')

const prefixOf = (to: string): number => {
  const [address = '', prefix] = to.split('/')
  return Number(prefix ?? (isIPv6(address) ? 128 : 32))
}

function matches(to: string, address: string): boolean {
  const [network = ''] = to.split('/')
  const list = new BlockList()
  list.addSubnet(network, prefixOf(to), familyOf(network))
  return list.check(address, familyOf(address))
}

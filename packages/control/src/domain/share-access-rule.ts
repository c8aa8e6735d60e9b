import { isIP, isIPv4, SocketAddress } from 'node:net'
import { DomainError } from '@volant/contract'

/**
 * An address or a network in CIDR notation, in canonical form: an IPv6 address in its shortest writing, a network of one
 * address as that address. Throws `invalid` with what is wrong, as Python's `ipaddress`, by which Manila decides; and for
 * what the NFS server can't be told.
 */
export function canonicalAccessTo(text: string): string {
  const shown = text.length > 80 ? `${text.slice(0, 80)}…` : text
  const refuse = (why: string): never => {
    throw new DomainError('invalid', `Invalid access rule: ${why}`)
  }
  const [address = '', prefixText, ...rest] = text.split('/')
  if (rest.length > 0 || isIP(address) === 0 || address.includes('%')) {
    return refuse(
      `'${shown}' does not appear to be an IPv4 or IPv6 network. Give an address such as 192.0.2.7, or a network such ` +
        'as 192.0.2.0/24.',
    )
  }
  const bits = isIPv4(address) ? 32 : 128
  const prefix = prefixText === undefined ? bits : prefixOf(prefixText, bits)
  if (prefix === undefined) {
    return refuse(`'${shown}': the length of a network's prefix is a whole number from 0 to ${bits}.`)
  }
  const value = numberOf(address, bits)
  if ((value & hostMask(bits - prefix)) !== 0n) {
    return refuse(
      `${shown} has host bits set. The network is ${textOf(value & ~hostMask(bits - prefix), bits)}/${prefix}.`,
    )
  }
  const canonical = textOf(value, bits)
  // The NFS server takes 0.0.0.0 for everybody.
  if (value === 0n && prefix === bits) {
    return refuse(`'${shown}' is no client's address. Everybody is ${canonical}/0.`)
  }
  if (bits === 128 && value >> 32n === 0xffffn && prefix >= longestNetwork6) {
    return refuse(`'${shown}' is an IPv4 address in the form of IPv6; write it as IPv4.`)
  }
  if (bits === 128 && prefix > longestNetwork6 && prefix < bits) {
    return refuse(
      `'${shown}' is too small a network for the NFS server; use one up to /96, or single addresses.`,
    )
  }
  return prefix === bits ? canonical : `${canonical}/${prefix}`
}

/** The NFS server has no words for IPv6 networks with a longer prefix. */
const longestNetwork6 = 96

const prefixOf = (text: string, bits: number): number | undefined =>
  /^\d{1,3}$/.test(text) && Number(text) <= bits ? Number(text) : undefined

const hostMask = (bits: number): bigint => (1n << BigInt(bits)) - 1n

function numberOf(address: string, bits: number): bigint {
  if (bits === 32) return address.split('.').reduce((sum, part) => sum * 256n + BigInt(part), 0n)
  return groupsOf(address).reduce((sum, group) => sum * 65536n + BigInt(group), 0n)
}

/** The eight groups of an IPv6 address. */
function groupsOf(address: string): number[] {
  const dotted = /^(.*:)(\d+\.\d+\.\d+\.\d+)$/.exec(address)
  const plain = dotted === null ? address : `${dotted[1]}${hexOf(numberOf(dotted[2] ?? '', 32))}`
  const [head = '', tail] = plain.split('::')
  const groups = (part: string): number[] =>
    part === '' ? [] : part.split(':').map((group) => Number.parseInt(group, 16))
  const first = groups(head)
  const last = tail === undefined ? [] : groups(tail)
  return [...first, ...Array.from({ length: 8 - first.length - last.length }, () => 0), ...last]
}

const hexOf = (value: bigint): string => `${(value >> 16n).toString(16)}:${(value & 0xffffn).toString(16)}`

function textOf(value: bigint, bits: number): string {
  if (bits === 32) return [24n, 16n, 8n, 0n].map((shift) => (value >> shift) & 255n).join('.')
  const groups = Array.from({ length: 8 }, (_, index) =>
    ((value >> BigInt(112 - 16 * index)) & 0xffffn).toString(16),
  )
  return new SocketAddress({ address: groups.join(':'), family: 'ipv6' }).address
}

import { isIP } from 'node:net'
import { DomainError } from '@volant/contract'
import type { ExportClient, NfsServerSpec, ShareExportSpec } from '@volant/contract'
import { requireSafeId, requireUuid } from '../daemon/names.ts'

/** What is on record of an export, and how it is told to the NFS server. Nothing here does anything. */

export type NfsProtocol = 3 | 4

const invalid = (message: string): DomainError => new DomainError('invalid', message)

export function requireServerSpec({ svm, lif }: NfsServerSpec): void {
  requireSafeId('SVM name', svm)
  if (isIP(lif) === 0) throw invalid(`"${lif}" is no address of a LIF.`)
}

/** Throws `invalid`, and says what is. What passes is safe to stand in the server's configuration. */
export function requireExportSpec(spec: ShareExportSpec): void {
  requireUuid('share id', spec.shareId)
  requireServerSpec(spec.server)
  const { exportId, junctionPath, clients } = spec
  if (!Number.isInteger(exportId) || exportId < 1 || exportId > 65_535) {
    throw invalid(`${exportId} is no export id; use a whole number from 1 to 65535.`)
  }
  const names = junctionPath.split('/').slice(1)
  const isName = (name: string): boolean => /^[A-Za-z0-9_][A-Za-z0-9._-]{0,202}$/.test(name)
  if (!junctionPath.startsWith('/') || !names.every(isName)) {
    throw invalid(`"${junctionPath}" is no junction path; use names of letters, digits, ".", "_" and "-".`)
  }
  const seen = new Set<string>()
  for (const { to, level } of clients) {
    const { key } = networkOf(to)
    if (level !== 'rw' && level !== 'ro')
      throw invalid(`"${String(level)}" is no access level; use rw or ro.`)
    if (seen.has(key)) throw invalid(`There are two access rules for ${to}.`)
    seen.add(key)
  }
}

/**
 * Throws `conflict` where the share is exported otherwise, or another has its id or its junction path on this server:
 * clients know a file system by them.
 */
export function requireConsistent(spec: ShareExportSpec, present: readonly ShareExportSpec[]): void {
  const { shareId, exportId, junctionPath } = spec
  for (const other of present) {
    const [sameId, samePath] = [other.exportId === exportId, other.junctionPath === junctionPath]
    if (other.shareId === shareId ? sameId && samePath : !sameId && !samePath) continue
    const has = `is exported at ${other.junctionPath} with the export id ${other.exportId}`
    const why = other.shareId === shareId ? '; neither changes' : ''
    throw new DomainError('conflict', `Share ${other.shareId} ${has}${why}.`)
  }
}

interface Network {
  family: 4 | 6
  prefix: number
  /** Two ways to write the same network have the same one. */
  key: string
  /** As the server reads it. */
  words: string[]
}

/** The server's own language has no IPv6 network with more groups before its prefix than six. */
const longestPrefix6 = 96

/** Throws `invalid` for what is no address and no network, and for a network with bits set behind its prefix. */
function networkOf(to: string): Network {
  const [address = '', length, ...more] = to.split('/')
  const family = isIP(address)
  const bits = family === 4 ? 32 : 128
  const prefix = length === undefined ? bits : Number(length)
  const isLength = length === undefined || (/^\d{1,3}$/.test(length) && prefix <= bits)
  if (family === 0 || address.includes('%') || !isLength || more.length > 0) {
    throw invalid(`"${to}" is no address and no network; write 192.0.2.7, 192.0.2.0/24 or 2001:db8::/32.`)
  }
  const value = valueOf(address)
  const behind = BigInt(bits - prefix)
  if ((value >> behind) << behind !== value) {
    throw invalid(
      `"${to}" is an address within a network; write the network's first address, or no /${prefix}.`,
    )
  }
  // The server takes 0.0.0.0 for everybody, IPv6 and all.
  if (value === 0n && prefix === bits) {
    throw invalid(`"${to}" is no client's address; everybody is ${address}/0.`)
  }
  if (family === 6 && value >> 32n === 0xffffn && prefix >= longestPrefix6) {
    throw invalid(`"${to}" is an IPv4 address in the form of IPv6; write it as IPv4.`)
  }
  if (family === 6 && prefix > longestPrefix6 && prefix < bits) {
    throw invalid(
      `"${to}" is too small a network for the NFS server; use one up to /96, or single addresses.`,
    )
  }
  const key = `${family}/${value}/${prefix}`
  return { family: family === 4 ? 4 : 6, prefix, key, words: wordsOf(address, prefix, bits) }
}

/** Nor has it an address with a prefix that says nothing, nor a network that is everything. */
function wordsOf(address: string, prefix: number, bits: number): string[] {
  const plain = bits === 128 ? new URL(`http://[${address}]`).hostname.slice(1, -1) : address
  if (prefix === bits) return [plain]
  if (prefix > 0) return [`${plain}/${prefix}`]
  return bits === 128 ? ['::/1', '8000::/1'] : ['0.0.0.0/1', '128.0.0.0/1']
}

/** An address as a number. */
function valueOf(address: string): bigint {
  if (isIP(address) === 4) return address.split('.').reduce((sum, part) => sum * 256n + BigInt(part), 0n)
  const dotted = /^(.*:)(\d+\.\d+\.\d+\.\d+)$/.exec(address)
  if (dotted) {
    const low = valueOf(dotted[2] ?? '')
    return valueOf(`${dotted[1]}0:0`) + low
  }
  const [head = '', tail] = address.split('::')
  const words = (text: string): string[] => (text === '' ? [] : text.split(':'))
  const [front, back] = [words(head), words(tail ?? '')]
  const between = Array.from({ length: tail === undefined ? 0 : 8 - front.length - back.length }, () => '0')
  return [...front, ...between, ...back].reduce((sum, word) => sum * 65_536n + BigInt(`0x${word}`), 0n)
}

/** An address before every network, a longer prefix before a shorter: the server takes the first that matches. */
function inOrder(clients: readonly ExportClient[]): ExportClient[] {
  const rank = ({ to }: ExportClient): number => {
    const { family, prefix } = networkOf(to)
    return (family === 4 ? 32 : 128) - prefix
  }
  return clients.toSorted((a, b) => rank(a) - rank(b) || (a.to < b.to ? -1 : 1))
}

/** Fixed for a share, on whatever server it is: a client knows its file system by it. */
function filesystemId(shareId: string): string {
  const digits = shareId.replaceAll('-', '')
  const half = (from: number): number => Number.parseInt(digits.slice(from, from + 8), 16)
  const [major, minor] = [half(0), half(8)]
  if (Number.isNaN(major) || Number.isNaN(minor))
    throw invalid(`"${shareId}" is no share id; it must be a UUID.`)
  // 0.0 and 152.152 are the server's own.
  return `${major + 1000}.${minor}`
}

const nobody = 65_534

/** The export as the server reads it. Nobody has access but by a rule. */
export function exportText(
  spec: ShareExportSpec,
  mountPath: string,
  protocols: readonly NfsProtocol[],
): string {
  requireExportSpec(spec)
  if (/["\\\n\r]/.test(mountPath)) throw invalid(`The path "${mountPath}" can't stand in a configuration.`)
  const squash = spec.rootSquash ? 'Root_Squash' : 'No_Root_Squash'
  const served = protocols.join(', ')
  const clients = inOrder(spec.clients).map(({ to, level }) => {
    const access = level === 'rw' && spec.readOnly !== true ? 'RW' : 'RO'
    const { words } = networkOf(to)
    return `  CLIENT { Clients = ${words.join(', ')}; Access_Type = ${access}; Squash = ${squash}; Protocols = ${served}; }\n`
  })
  return `EXPORT {
  Export_Id = ${spec.exportId};
  Filesystem_Id = ${filesystemId(spec.shareId)};
  Path = "${mountPath}";
  Pseudo = "${spec.junctionPath}";
  Access_Type = NONE;
  Protocols = ${served};
  Transports = TCP;
  SecType = sys;
  Squash = ${squash};
  Anonymous_Uid = ${nobody};
  Anonymous_Gid = ${nobody};
  FSAL { Name = VFS; }
${clients.join('')}}
`
}

/** The server's own settings, and the exports that it begins with. Times in seconds. */
export function serverText(options: {
  svm: string
  lif: string
  recoveryRoot: string
  protocols: readonly NfsProtocol[]
  /** Files with one export each. */
  exportFiles: readonly string[]
}): string {
  const { svm, lif, recoveryRoot, protocols, exportFiles } = options
  // Scope and owner are the SVM's, wherever it runs: a client that finds others there takes its locks for lost.
  // Graceless would refuse a client its locks after each restart.
  return `NFS_CORE_PARAM {
  Protocols = ${protocols.join(', ')};
  Bind_addr = ${lif};
  NFS_Port = 2049;
  MNT_Port = 20048;
  Enable_NLM = false;
  Enable_RQUOTA = false;
  Enable_UDP = false;
  # A request waits for its share's head in a thread: with 200, as by default, one share that waits keeps all waiting.
  RPC_Ioq_ThrdMax = 4000;
  # Version 3, too, is mounted by the junction path.
  Mount_Path_Pseudo = true;
}
NFSV4 {
  Minor_Versions = 1, 2;
  Graceless = false;
  Grace_Period = ${graceSeconds};
  Lease_Lifetime = ${graceSeconds};
  RecoveryBackend = fs;
  RecoveryRoot = "${recoveryRoot}";
  Server_Scope = "${svm}";
  Server_Owner = "${svm}";
  Delegations = false;
  Only_Numeric_Owners = true;
}
NFS_KRB5 { Active_krb5 = false; }
LOG { Default_Log_Level = EVENT; }
${exportFiles.map((path) => `%include "${path}"\n`).join('')}`
}

/** A server that begins waits so long for clients of the one before to claim their locks. */
const graceSeconds = 10

import { execFile } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { isIP } from 'node:net'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { DomainError, messageOf } from '@volant/contract'
import type { NbdTls } from '../nbd-client.ts'

const run = promisify(execFile)

/** Days that certificates are valid. */
const validDays = 3650
const organization = 'volant'

/**
 * The certificate authority of one installation. Everything is made when it is first needed, by GnuTLS's
 * `certtool`, in folders that only the service's user may read. A folder holds what QEMU's `tls-creds-x509`
 * looks for: `ca-cert.pem` and `server-…` or `client-…` certificate and key.
 */
export interface TlsAuthority {
  /** Folder of a storage node's server certificate, good for `name` as DNS name and for the address. */
  serverFolder(name: string, address?: string): Promise<string>
  /** Folder of a host's client certificate; the host's name is its CN. */
  clientFolder(name: string): Promise<string>
  /** Folder of the certificate with which a process of agents serves their calls; `server-…` in it. */
  agentFolder(name: string): Promise<string>
  /** Folder of the certificate with which the control plane calls agents; `client-…` in it. No host has one. */
  controlPlaneFolder(): Promise<string>
}

/** What marks the certificates of the agents' calls: those of the data plane's hosts have no such unit. */
const units = { agent: 'agent', controlPlane: 'control plane' } as const

/** What Node says of a peer's certificate, as far as it concerns us. */
export interface PeerName {
  subject?: { O?: string | string[]; OU?: string | string[]; CN?: string | string[] }
}

/** Whether a verified certificate is the control plane's. */
export const isControlPlane = ({ subject }: PeerName): boolean =>
  subject?.O === organization && subject.OU === units.controlPlane

/** Whether a verified certificate is that of the agents' process `name`. */
export const isAgent = ({ subject }: PeerName, name: string): boolean =>
  subject?.O === organization && subject.OU === units.agent && subject.CN === name

/** The distinguished name of a host's client certificate, in DER order as QEMU's `authz-list` compares it. */
export const clientDistinguishedName = (name: string): string => `O=${organization},CN=${name}`

export function createTlsAuthority(folder: string): TlsAuthority {
  const making = new Map<string, Promise<string>>()
  const once = (path: string, make: (temporary: string) => Promise<void>): Promise<string> => {
    if (existsSync(path)) return Promise.resolve(path)
    const found = making.get(path)
    if (found) return found
    const made = makeFolder(path, make).finally(() => making.delete(path))
    making.set(path, made)
    return made
  }
  const authority = (): Promise<string> => once(join(folder, 'ca'), makeAuthority)
  const issue = async (
    kind: 'server' | 'client',
    name: string,
    lines: string[],
    folderName = `${kind}-${name}`,
  ): Promise<string> => {
    if (!/^[A-Za-z0-9]([A-Za-z0-9.-]{0,62}[A-Za-z0-9])?$/.test(name)) {
      throw new DomainError(
        'invalid',
        `"${name}" cannot stand in a certificate; use letters, digits, "-" and ".".`,
      )
    }
    const ca = await authority()
    return once(join(folder, folderName), (path) => issueCertificate(ca, path, kind, name, lines))
  }
  return {
    serverFolder: (name, address) =>
      issue('server', name, [
        'tls_www_server',
        `dns_name = ${name}`,
        ...(address !== undefined && isIP(address) ? [`ip_address = ${address}`] : []),
      ]),
    clientFolder: (name) => issue('client', name, ['tls_www_client']),
    agentFolder: (name) =>
      issue('server', name, ['tls_www_server', `unit = ${units.agent}`], `agent-${name}`),
    controlPlaneFolder: () =>
      issue('client', 'volant', ['tls_www_client', `unit = "${units.controlPlane}"`], 'control-plane'),
  }
}

/** A folder's contents, for Node's own TLS. */
export function readTls(
  folder: string,
  kind: 'server' | 'client',
): { ca: Buffer; cert: Buffer; key: Buffer } {
  const read = (name: string): Buffer => readFileSync(join(folder, name))
  return { ca: read('ca-cert.pem'), cert: read(`${kind}-cert.pem`), key: read(`${kind}-key.pem`) }
}

/** A client folder's contents, for NBD. */
export function readClientTls(folder: string, hostname: string): NbdTls {
  return { ...readTls(folder, 'client'), hostname }
}

/** Makes all of a folder or nothing: it gets its name when it is complete. */
async function makeFolder(path: string, make: (temporary: string) => Promise<void>): Promise<string> {
  const temporary = `${path}.new`
  rmSync(temporary, { recursive: true, force: true })
  mkdirSync(temporary, { recursive: true, mode: 0o700 })
  await make(temporary)
  renameSync(temporary, path)
  return path
}

async function makeAuthority(path: string): Promise<void> {
  await generateKey(join(path, 'ca-key.pem'))
  const template = [
    `cn = Volant`,
    `organization = ${organization}`,
    'ca',
    'cert_signing_key',
    `expiration_days = ${validDays}`,
  ]
  const key = join(path, 'ca-key.pem')
  await certtool(path, template, [
    '--generate-self-signed',
    '--load-privkey',
    key,
    '--outfile',
    join(path, 'ca-cert.pem'),
  ])
}

async function issueCertificate(
  ca: string,
  path: string,
  kind: 'server' | 'client',
  name: string,
  lines: string[],
): Promise<void> {
  const key = join(path, `${kind}-key.pem`)
  await generateKey(key)
  const template = [
    `organization = ${organization}`,
    `cn = ${name}`,
    'signing_key',
    `expiration_days = ${validDays}`,
    ...lines,
  ]
  await certtool(path, template, [
    '--generate-certificate',
    '--load-ca-certificate',
    join(ca, 'ca-cert.pem'),
    '--load-ca-privkey',
    join(ca, 'ca-key.pem'),
    '--load-privkey',
    key,
    '--outfile',
    join(path, `${kind}-cert.pem`),
  ])
  // Without these QEMU's server makes its own at each start, which takes longer than all else in it.
  const dhParams = join(path, 'dh-params.pem')
  if (kind === 'server') await runCerttool(['--get-dh-params', '--sec-param=medium', '--outfile', dhParams])
  writeFileSync(join(path, 'ca-cert.pem'), readFileSync(join(ca, 'ca-cert.pem')), { mode: 0o600 })
}

/** An elliptic-curve key: made in milliseconds, and cheap in each handshake. */
async function generateKey(path: string): Promise<void> {
  writeFileSync(path, '', { mode: 0o600 })
  await runCerttool(['--generate-privkey', '--key-type=ecdsa', '--curve=secp256r1', '--outfile', path])
}

async function certtool(path: string, template: string[], args: string[]): Promise<void> {
  const templatePath = join(path, 'template')
  writeFileSync(templatePath, `${template.join('\n')}\n`, { mode: 0o600 })
  await runCerttool([...args, '--template', templatePath])
  rmSync(templatePath)
}

async function runCerttool(args: string[]): Promise<void> {
  try {
    await run('certtool', args, { timeout: 30_000 })
  } catch (error) {
    throw new DomainError(
      'unavailable',
      'Making a certificate failed; certtool (Debian: gnutls-bin) is needed.',
      {
        cause: error,
        detail: messageOf(error),
      },
    )
  }
}

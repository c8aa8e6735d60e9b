import { createHash, generateKeyPairSync } from 'node:crypto'
import { DomainError } from '@volant/contract'
import { defaultComputeQuotas } from '../domain/compute-quota.ts'
import { enforce } from '../domain/policy.ts'
import { isAdmin, type Principal } from '../domain/principal.ts'
import type { Clock } from '../ports/clock.ts'
import type { Keypair, KeypairRecords } from '../ports/servers.ts'

export interface NewKeypair {
  name: string
  type: 'ssh' | 'x509'
  /** Absent: a pair is made, and its private key returned once. */
  publicKey?: string
}

/** Public keys of users. `userId` absent: the caller's own; another's is an administrator's. */
export interface Keypairs {
  list(principal: Principal, userId?: string): Promise<Keypair[]>
  show(principal: Principal, name: string, userId?: string): Promise<Keypair>
  create(
    principal: Principal,
    keypair: NewKeypair,
    userId?: string,
  ): Promise<{ keypair: Keypair; privateKey?: string }>
  remove(principal: Principal, name: string, userId?: string): Promise<void>
}

export function createKeypairs({ keypairs, clock }: { keypairs: KeypairRecords; clock: Clock }): Keypairs {
  const ownerOf = (principal: Principal, action: string, userId: string | undefined): string => {
    if (userId === undefined || userId === principal.userId) return principal.userId
    enforce(principal, `os_compute_api:os-keypairs:${action}`, 'admin')
    return userId
  }
  const show: Keypairs['show'] = async (principal, name, userId) => {
    const owner = ownerOf(principal, 'show', userId)
    const keypair = await keypairs.find(owner, name)
    if (keypair !== undefined) return keypair
    throw new DomainError('notFound', `Keypair ${name} not found for user ${owner}`)
  }
  return {
    show,
    list: async (principal, userId) => keypairs.list(ownerOf(principal, 'index', userId)),
    async create(principal, request, userId) {
      const owner = ownerOf(principal, 'create', userId)
      const existing = await keypairs.list(owner)
      if (existing.length >= defaultComputeQuotas.key_pairs && !isAdmin(principal)) {
        throw new DomainError('overQuota', 'Quota exceeded, too many key pairs.', { httpStatus: 403 })
      }
      const made = request.publicKey === undefined ? makeSshKey(request.name) : undefined
      const publicKey = request.publicKey ?? made?.publicKey ?? ''
      const created = await keypairs.create({
        userId: owner,
        name: request.name,
        type: request.type,
        publicKey,
        fingerprint: fingerprintOf(publicKey, request.type),
        createdAt: clock.now().toISOString(),
      })
      if (!created) throw new DomainError('conflict', `Key pair '${request.name}' already exists.`)
      const keypair = await show(principal, request.name, owner)
      return made === undefined ? { keypair } : { keypair, privateKey: made.privateKey }
    },
    async remove(principal, name, userId) {
      const owner = ownerOf(principal, 'delete', userId)
      if (await keypairs.remove(owner, name)) return
      throw new DomainError('notFound', `Keypair ${name} not found for user ${owner}`)
    },
  }
}

/** The MD5 of the key's bytes, as OpenSSH showed it and Nova still does. */
function fingerprintOf(publicKey: string, type: 'ssh' | 'x509'): string {
  const body = type === 'ssh' ? /^[\w@.-]+ ([A-Za-z0-9+/]+=*)( .*)?\s*$/.exec(publicKey)?.[1] : publicKey
  if (body === undefined || body.length < 16) {
    throw new DomainError('invalid', 'Keypair data is invalid: failed to generate fingerprint')
  }
  const bytes = type === 'ssh' ? Buffer.from(body, 'base64') : Buffer.from(body)
  const digest = createHash('md5').update(bytes).digest('hex')
  return (digest.match(/../g) ?? []).join(':')
}

/** An Ed25519 pair in OpenSSH's formats (PROTOCOL.key). */
function makeSshKey(comment: string): { publicKey: string; privateKey: string } {
  const pair = generateKeyPairSync('ed25519')
  const jwk = pair.privateKey.export({ format: 'jwk' })
  const publicBytes = Buffer.from(jwk.x ?? '', 'base64url')
  const secretBytes = Buffer.from(jwk.d ?? '', 'base64url')
  const name = Buffer.from('ssh-ed25519')
  const blob = Buffer.concat([sized(name), sized(publicBytes)])
  const check = crypto.getRandomValues(Buffer.alloc(4))
  const secret = Buffer.concat([
    check,
    check,
    sized(name),
    sized(publicBytes),
    sized(Buffer.concat([secretBytes, publicBytes])),
    sized(Buffer.from(comment)),
  ])
  const padding = Buffer.from(Array.from({ length: (8 - (secret.length % 8)) % 8 }, (_, i) => i + 1))
  const none = sized(Buffer.from('none'))
  const one = Buffer.from([0, 0, 0, 1])
  const body = Buffer.concat([
    Buffer.from('openssh-key-v1\0'),
    none,
    none,
    sized(Buffer.alloc(0)),
    one,
    sized(blob),
    sized(Buffer.concat([secret, padding])),
  ]).toString('base64')
  const lines = body.match(/.{1,70}/g) ?? []
  return {
    publicKey: `ssh-ed25519 ${blob.toString('base64')} Generated-by-Volant`,
    privateKey: `-----BEGIN OPENSSH PRIVATE KEY-----\n${lines.join('\n')}\n-----END OPENSSH PRIVATE KEY-----\n`,
  }
}

function sized(bytes: Buffer): Buffer {
  const length = Buffer.alloc(4)
  length.writeUInt32BE(bytes.length)
  return Buffer.concat([length, bytes])
}

import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import type { Scope } from '../../domain/identity.ts'
import type { AuthMethod, TokenClaims } from '../../domain/token.ts'

/** Longer is no token of ours. */
const longest = 1024
const version = 'v1'

export interface TokenSigner {
  sign(claims: TokenClaims): string
  /** undefined for anything that this key did not sign. Says nothing about expiry. */
  open(token: string): TokenClaims | undefined
}

/** Short names: a token travels with every request. */
interface Wire {
  a: string
  b?: string
  u: string
  m: string
  s: 'u' | 's' | `p${string}` | `d${string}`
  c?: string
  i: number
  e: number
}

const methodLetters: Record<AuthMethod, string> = { password: 'p', token: 't', application_credential: 'a' }

/** Tokens are `v1.CLAIMS.HMAC-SHA256`, in base64url. */
export function tokenSigner(key: Buffer): TokenSigner {
  const seal = (text: string): Buffer => createHmac('sha256', key).update(text).digest()
  return {
    sign(claims) {
      const text = `${version}.${Buffer.from(JSON.stringify(toWire(claims))).toString('base64url')}`
      return `${text}.${seal(text).toString('base64url')}`
    },
    open(token) {
      if (token.length > longest) return undefined
      const end = token.lastIndexOf('.')
      const text = token.slice(0, end)
      if (end < 0 || !text.startsWith(`${version}.`)) return undefined
      const given = Buffer.from(token.slice(end + 1), 'base64url')
      const right = seal(text)
      if (given.length !== right.length || !timingSafeEqual(given, right)) return undefined
      const claims = Buffer.from(text.slice(version.length + 1), 'base64url').toString('utf8')
      return fromWire(JSON.parse(claims) as Wire)
    },
  }
}

/** 22 characters of base64url, as Keystone's audit ids. */
export const newAuditId = (): string => randomBytes(16).toString('base64url')

const toWire = (claims: TokenClaims): Wire => ({
  a: claims.auditId,
  ...(claims.parentAuditId === null ? {} : { b: claims.parentAuditId }),
  u: claims.userId,
  m: claims.methods.map((method) => methodLetters[method]).join(''),
  s: scopeToWire(claims.scope),
  ...(claims.applicationCredentialId === null ? {} : { c: claims.applicationCredentialId }),
  i: claims.issuedAt,
  e: claims.expiresAt,
})

const fromWire = (wire: Wire): TokenClaims => ({
  auditId: wire.a,
  parentAuditId: wire.b ?? null,
  userId: wire.u,
  methods: (Object.keys(methodLetters) as AuthMethod[]).filter((method) =>
    wire.m.includes(methodLetters[method]),
  ),
  scope: scopeFromWire(wire.s),
  applicationCredentialId: wire.c ?? null,
  issuedAt: wire.i,
  expiresAt: wire.e,
})

function scopeToWire(scope: Scope): Wire['s'] {
  if (scope.kind === 'project') return `p${scope.id}`
  if (scope.kind === 'domain') return `d${scope.id}`
  return scope.kind === 'system' ? 's' : 'u'
}

function scopeFromWire(text: Wire['s']): Scope {
  if (text === 'u') return { kind: 'unscoped' }
  if (text === 's') return { kind: 'system' }
  return { kind: text.startsWith('p') ? 'project' : 'domain', id: text.slice(1) }
}

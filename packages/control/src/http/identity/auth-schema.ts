import { DomainError } from '@volant/contract'
import { Type, type Static } from 'typebox'
import type { AuthRequest, DomainName, ScopedName } from '../../app/identity/authentication.ts'
import type { AuthMethod } from '../../domain/token.ts'
import { idText, nameText, parser } from '../parse.ts'

const domainName = Type.Object({ id: Type.Optional(idText()), name: Type.Optional(nameText()) })
const scopedName = Type.Object({
  id: Type.Optional(idText()),
  name: Type.Optional(nameText()),
  domain: Type.Optional(domainName),
})
/** Longer passwords would only cost time; Keystone stops at 4096 bytes. */
export const passwordText = () => Type.String({ maxLength: 4096 })
export const newPasswordText = () => Type.String({ minLength: 1, maxLength: 4096 })

const identity = Type.Object({
  methods: Type.Array(Type.String({ maxLength: 64 }), { minItems: 1, maxItems: 8 }),
  password: Type.Optional(
    Type.Object({
      user: Type.Intersect([scopedName, Type.Object({ password: passwordText() })]),
    }),
  ),
  token: Type.Optional(Type.Object({ id: Type.String({ maxLength: 4096 }) })),
  application_credential: Type.Optional(
    Type.Object({
      id: Type.Optional(idText()),
      name: Type.Optional(nameText()),
      user: Type.Optional(scopedName),
      secret: passwordText(),
    }),
  ),
})

const scope = Type.Union([
  Type.Literal('unscoped'),
  Type.Object({
    project: Type.Optional(scopedName),
    domain: Type.Optional(domainName),
    system: Type.Optional(Type.Object({ all: Type.Literal(true) })),
    unscoped: Type.Optional(Type.Object({})),
  }),
])

const parseBody = parser(
  Type.Object({ auth: Type.Object({ identity, scope: Type.Optional(Type.Unknown()) }) }),
)
const parseScope = parser(scope, "'scope' in the request body")

const known: readonly string[] = ['password', 'token', 'application_credential']

/** Reads the body of `POST /v3/auth/tokens`. */
export function parseAuthRequest(body: unknown): AuthRequest {
  const { auth } = parseBody(body)
  const methods = [...new Set(auth.identity.methods)]
  const unknown = methods.find((method) => !known.includes(method))
  if (unknown !== undefined) {
    throw new DomainError(
      'unauthenticated',
      `Attempted to authenticate with an unsupported method: ${unknown}.`,
    )
  }
  const credential = auth.identity.application_credential
  return {
    methods: methods as AuthMethod[],
    password:
      auth.identity.password === undefined
        ? undefined
        : {
            user: checkName('user', auth.identity.password.user),
            password: auth.identity.password.user.password,
          },
    token: auth.identity.token?.id,
    applicationCredential: credential as AuthRequest['applicationCredential'],
    scope: auth.scope === undefined || auth.scope === null ? undefined : readScope(parseScope(auth.scope)),
  }
}

function readScope(given: Static<typeof scope>): AuthRequest['scope'] {
  if (given === 'unscoped') return { kind: 'unscoped' }
  const kinds = Object.keys(given)
  if (kinds.length > 1) {
    throw new DomainError('invalid', `A token has one scope, not several: ${kinds.slice(0, 4).join(', ')}.`)
  }
  if (given.project !== undefined) return { kind: 'project', project: checkName('project', given.project) }
  if (given.domain !== undefined) {
    if (given.domain.id === undefined && given.domain.name === undefined) {
      throw new DomainError('invalid', "Expecting to find 'id' or 'name' in domain.")
    }
    return { kind: 'domain', domain: given.domain satisfies DomainName }
  }
  if (given.system !== undefined) return { kind: 'system' }
  if (given.unscoped !== undefined) return { kind: 'unscoped' }
  throw new DomainError('invalid', "A scope is one of 'project', 'domain', 'system' and 'unscoped'.")
}

function checkName(kind: string, by: ScopedName): ScopedName {
  if (by.id === undefined && by.name === undefined) {
    throw new DomainError('invalid', `Expecting to find 'id' or 'name' in ${kind}.`)
  }
  if (by.id === undefined && by.domain?.id === undefined && by.domain?.name === undefined) {
    throw new DomainError('invalid', `Expecting to find 'domain' with 'id' or 'name' in ${kind}.`)
  }
  return by
}

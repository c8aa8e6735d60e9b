import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { withImplied } from '../../domain/identity.ts'
import type { TokenClaims } from '../../domain/token.ts'
import { openDatabase } from '../../db/open.ts'
import { systemClock } from '../../ports/clock.ts'
import { createIdentityApp } from './index.ts'
import { createPasswords } from './password.ts'
import { ensureSecretFile, ensureTokenKey } from './secret-files.ts'
import { tokenSigner } from './token-signer.ts'

let stateDir: string
before(async () => {
  stateDir = await mkdtemp(join(tmpdir(), 'volant-'))
})
after(() => rm(stateDir, { recursive: true }))

const claims: TokenClaims = {
  auditId: 'audit',
  parentAuditId: null,
  userId: 'u'.repeat(32),
  methods: ['password', 'token'],
  scope: { kind: 'project', id: 'p'.repeat(32) },
  applicationCredentialId: null,
  issuedAt: 1,
  expiresAt: 2,
}

test('tokens: what was signed is read back, what was touched or signed with another key is not', () => {
  const signer = tokenSigner(Buffer.alloc(32, 1))
  for (const scope of [
    claims.scope,
    { kind: 'domain', id: 'd' },
    { kind: 'system' },
    { kind: 'unscoped' },
  ] as const) {
    const full = { ...claims, scope, parentAuditId: 'parent', applicationCredentialId: 'ac' }
    assert.deepEqual(signer.open(signer.sign(full)), full)
  }
  const token = signer.sign(claims)
  assert.ok(token.length < 400, `${token.length}`)
  assert.equal(tokenSigner(Buffer.alloc(32, 2)).open(token), undefined)
  for (let at = 0; at < token.length; at += 7) {
    const touched = token.slice(0, at) + (token[at] === 'B' ? 'C' : 'B') + token.slice(at + 1)
    assert.equal(signer.open(touched), undefined, `character ${at}`)
  }
  for (const text of ['', '.', 'v1', 'v1.', 'v1..', 'v1.e30', 'x'.repeat(5000)]) {
    assert.equal(signer.open(text), undefined, text.slice(0, 20))
  }
})

test('passwords: salted, compared whole, and no more than a few at a time', async () => {
  const passwords = createPasswords()
  const [one, two] = await Promise.all([passwords.hash('pässword'), passwords.hash('pässword')])
  assert.notEqual(one, two)
  assert.equal(await passwords.matches('pässword', one), true)
  assert.equal(await passwords.matches('password', one), false)
  assert.equal(await passwords.matches('pässword', null), false)
  assert.equal(await passwords.matches('', 'not a hash'), false)
  // Two hundred at full price would take seconds; who may be how many is asked before the price is looked at.
  const cheap = `scrypt$2$1$1$${Buffer.alloc(16).toString('base64url')}$${Buffer.alloc(32).toString('base64url')}`
  const flood = await Promise.allSettled(Array.from({ length: 230 }, () => passwords.matches('x', cheap)))
  const turnedAway = flood.filter((each) => each.status === 'rejected')
  assert.equal(turnedAway.length, 230 - 202)
  assert.equal((turnedAway[0] as PromiseRejectedResult).reason.code, 'unavailable')
  assert.equal(await passwords.matches('pässword', one), true)
})

test('secret files: private, made once even by two at a time, refused when damaged', async () => {
  let made = 0
  const make = () => ensureSecretFile(stateDir, 'secret', () => `secret number ${++made}`)
  const [one, two] = await Promise.all([make(), make()])
  assert.equal(one.secret, two.secret)
  assert.deepEqual([one.made, two.made].sort(), [false, true])
  assert.equal((await stat(join(stateDir, 'secret'))).mode & 0o777, 0o600)
  await writeFile(join(stateDir, 'secret'), '')
  await assert.rejects(make(), { code: 'unavailable', message: /Remove it/ })
  await writeFile(join(stateDir, 'token-key'), 'not hexadecimal at all')
  await assert.rejects(ensureTokenKey(stateDir), { code: 'unavailable', message: /64 hexadecimal/ })
  await rm(join(stateDir, 'token-key'))
})

test('a token outlives a restart; a lost password file gives a new password', async () => {
  const path = join(stateDir, 'db')
  const start = async () => {
    const db = await openDatabase(path)
    const app = await createIdentityApp({ db, stateDir, clock: systemClock })
    return { db, app, access: await app.bootstrap() }
  }
  const login = (app: Awaited<ReturnType<typeof start>>['app'], password: string) =>
    app.authentication.authenticate({
      methods: ['password'],
      password: { user: { name: 'admin', domain: { name: 'Default' } }, password },
    })
  const first = await start()
  const { token } = await login(first.app, first.access.password)
  await first.db.destroy()

  const second = await start()
  assert.deepEqual(second.access, first.access)
  assert.equal((await second.app.tokens.verify(token)).projectName, 'admin')
  await second.db.destroy()

  await rm(join(stateDir, 'admin-password'))
  const third = await start()
  assert.notEqual(third.access.password, first.access.password)
  assert.equal((await readFile(join(stateDir, 'admin-password'), 'utf8')).trim(), third.access.password)
  await login(third.app, third.access.password)
  await assert.rejects(login(third.app, first.access.password), { code: 'unauthenticated' })
  await assert.rejects(third.app.tokens.verify(token), { code: 'unauthenticated' })
  await third.db.destroy()
})

test('implied roles reach as far as they go, circles included', () => {
  const rules = [
    { priorRoleId: 'a', impliedRoleId: 'b' },
    { priorRoleId: 'b', impliedRoleId: 'c' },
    { priorRoleId: 'c', impliedRoleId: 'a' },
  ]
  assert.deepEqual([...withImplied(['b'], rules)].sort(), ['a', 'b', 'c'])
  assert.deepEqual([...withImplied(['x'], rules)], ['x'])
})

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { FastifyInstance } from 'fastify'
import { pino } from 'pino'
import type { Kysely } from 'kysely'
import type { AdminAccess } from '../../app/identity/bootstrap.ts'
import { openMemoryDatabase } from '../../testing/database.ts'
import type { Database } from '../../db/schema.ts'
import { buildServer, type HttpService } from '../server.ts'
import { createIdentity, type Identity } from './service.ts'

export interface Answer<T = Record<string, never>> {
  status: number
  headers: Record<string, unknown>
  body: T
}

/** A server in memory with identity, and a clock that the test turns. */
export interface IdentityRig {
  app: FastifyInstance
  db: Kysely<Database>
  identity: Identity
  access: AdminAccess
  stateDir: string
  clock: { now(): Date; forward(seconds: number): void }
  /** A request below `/identity/v3`, or of another service's path in full. */
  call<T>(
    method: string,
    path: string,
    options?: { token?: string; body?: unknown; subject?: string },
  ): Promise<Answer<T>>
  /** A token for a user of the default domain; throws unless the answer is 201. */
  login(user: string, password: string, project?: string): Promise<string>
  adminToken(): Promise<string>
  close(): Promise<void>
}

type Others = (parts: {
  db: Kysely<Database>
  identity: Identity
  stateDir: string
  clock: { now(): Date }
}) => Promise<HttpService[]>

const none: Others = () => Promise.resolve([])

export async function identityRig(others: Others = none): Promise<IdentityRig> {
  const stateDir = await mkdtemp(join(tmpdir(), 'volant-'))
  const db = await openMemoryDatabase()
  let skew = 0
  const clock = {
    now: () => new Date(Date.now() + skew),
    forward: (seconds: number) => {
      skew += seconds * 1000
    },
  }
  const log = pino({ level: 'silent' })
  const identity = await createIdentity({ db, stateDir, clock, log })
  const access = await identity.bootstrap()
  const app = await buildServer({
    log,
    services: [identity.service, ...(await others({ db, identity, stateDir, clock }))],
  })
  const call: IdentityRig['call'] = async <T>(
    method: string,
    path: string,
    options: { token?: string; body?: unknown; subject?: string } = {},
  ) => {
    const response = await app.inject({
      method: method as 'GET',
      url: /^\/(image|volume|compute|identity)(\/|$)/.test(path) ? path : `/identity/v3${path}`,
      headers: {
        accept: 'application/json',
        ...(options.token === undefined ? {} : { 'x-auth-token': options.token }),
        ...(options.subject === undefined ? {} : { 'x-subject-token': options.subject }),
        ...(options.body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(options.body === undefined ? {} : { payload: JSON.stringify(options.body) }),
    })
    const body = response.body === '' ? ({} as T) : (response.json() as T)
    return { status: response.statusCode, headers: response.headers, body }
  }
  const login = async (user: string, password: string, project?: string): Promise<string> => {
    const answer = await call('POST', '/auth/tokens', { body: passwordAuth(user, password, project) })
    if (answer.status !== 201) throw new Error(`login: ${answer.status} ${JSON.stringify(answer.body)}`)
    return answer.headers['x-subject-token'] as string
  }
  return {
    app,
    db,
    identity,
    access,
    stateDir,
    clock,
    call,
    login,
    adminToken: () => login('admin', access.password, 'admin'),
    async close() {
      await app.close()
      await db.destroy()
      await rm(stateDir, { recursive: true, force: true })
    },
  }
}

/** The body of `POST /v3/auth/tokens`. */
export const passwordAuth = (user: string, password: string, project?: string) => ({
  auth: {
    identity: {
      methods: ['password'],
      password: { user: { name: user, domain: { id: 'default' }, password } },
    },
    ...(project === undefined ? {} : { scope: { project: { name: project, domain: { id: 'default' } } } }),
  },
})

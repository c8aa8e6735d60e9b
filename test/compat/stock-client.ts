import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { FastifyInstance } from 'fastify'
import { pino } from 'pino'
import { openMemoryDatabase } from '../../packages/control/src/testing/database.ts'
import { createIdentity, type Identity } from '../../packages/control/src/http/identity/service.ts'
import { buildServer, type HttpService } from '../../packages/control/src/http/server.ts'
import { systemClock } from '../../packages/control/src/ports/clock.ts'
import { runClient, type ClientRun } from './client-processes.ts'

export interface Cloud {
  app: FastifyInstance
  identity: Identity
  origin: string
  stateDir: string
  /** The variables of an `openrc` of the administrator. */
  environment: Record<string, string>
  /** Runs one of Debian's clients, unmodified. */
  run(program: string, args: string[], environment?: Record<string, string>): Promise<ClientRun>
  /** The same, with its standard output as JSON; throws where the client fails. */
  json<T>(program: string, args: string[], environment?: Record<string, string>): Promise<T>
  stop(): Promise<void>
}

type Database = Awaited<ReturnType<typeof openMemoryDatabase>>

/** Identity, and the given services, on a free port of the loopback address. */
export async function startCloud(
  others: (parts: {
    db: Database
    identity: Identity
    stateDir: string
  }) => Promise<HttpService[]> = async () => [],
): Promise<Cloud> {
  const stateDir = await mkdtemp(join(tmpdir(), 'volant-'))
  const db = await openMemoryDatabase()
  const log = pino({ level: 'error' })
  const identity = await createIdentity({ db, stateDir, clock: systemClock, log })
  const access = await identity.bootstrap()
  const services = [identity.service, ...(await others({ db, identity, stateDir }))]
  const app = await buildServer({ log, services })
  const origin = await app.listen({ host: '127.0.0.1', port: 0 })
  const environment = {
    OS_AUTH_URL: `${origin}/identity`,
    OS_USERNAME: access.userName,
    OS_PASSWORD: access.password,
    OS_PROJECT_NAME: access.projectName,
    OS_USER_DOMAIN_NAME: access.userDomainName,
    OS_PROJECT_DOMAIN_NAME: access.projectDomainName,
    OS_IDENTITY_API_VERSION: '3',
  }
  const run: Cloud['run'] = (program, args, changed = {}) =>
    runClient(program, args, { ...environment, ...changed })
  return {
    app,
    identity,
    origin,
    stateDir,
    environment,
    run,
    async json<T>(program: string, args: string[], changed?: Record<string, string>) {
      const result = await run(program, [...args, '-f', 'json'], changed)
      if (result.code !== 0) throw new Error(`${program} ${args.join(' ')}: ${result.stderr}`)
      return JSON.parse(result.stdout) as T
    },
    async stop() {
      await app.close()
      await db.destroy()
      await rm(stateDir, { recursive: true, force: true })
    },
  }
}

import { isIPv6 } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import type { QmpClient } from './qmp.ts'

/** What `query-migrate` says, at either end; only what is used. */
export interface MigrationInfo {
  status?:
    | 'none'
    | 'setup'
    | 'active'
    | 'wait-unplug'
    | 'pre-switchover'
    | 'device'
    | 'completed'
    | 'failed'
    | 'cancelling'
    | 'cancelled'
    | (string & {})
  ram?: {
    total: number
    transferred: number
    remaining: number
    'dirty-pages-rate'?: number
    'page-size'?: number
    /** Megabits per second. */
    mbps?: number
  }
  downtime?: number
  'expected-downtime'?: number
  'cpu-throttle-percentage'?: number
  'error-desc'?: string
  /** At the destination, where it listens. */
  'socket-address'?: { type: string; host?: string; port?: string }[]
}

export const queryMigration = async (qmp: QmpClient, timeoutMs?: number): Promise<MigrationInfo> =>
  (await qmp.execute('query-migrate', {}, timeoutMs)) as MigrationInfo

/** Ends the connection to the destination, whatever QEMU is at; a migration over it fails then. */
export const yankMigration = (qmp: QmpClient): Promise<unknown> =>
  qmp.executeOutOfBand('yank', { instances: [{ type: 'migration' }] })

const settleTimeoutMs = 2000
const settlePauseMs = 2

/**
 * The same at the source. QEMU says `completed` a moment before it has measured the downtime and left its run state
 * `finish-migrate`, in which the guest cannot be continued.
 */
export const querySourceMigration = async (qmp: QmpClient): Promise<MigrationInfo> => {
  for (const end = performance.now() + settleTimeoutMs; ; await sleep(settlePauseMs)) {
    const info = await queryMigration(qmp)
    if (info.status !== 'completed' || performance.now() > end) return info
    const { status } = (await qmp.execute('query-status')) as { status: string }
    if (status !== 'finish-migrate') return queryMigration(qmp)
  }
}

/** Whether QEMU still works at it, so that another one cannot begin. */
export const isUnderWay = ({ status }: MigrationInfo): boolean =>
  status !== undefined && !['none', 'completed', 'failed', 'cancelled'].includes(status)

const tlsId = 'migration-tls'
const authzId = 'migration-authz'

/** Objects of an earlier attempt are replaced: its certificates may be older. */
const ensureObject = async (
  qmp: QmpClient,
  id: string,
  properties: Record<string, unknown>,
): Promise<void> => {
  const present = (await qmp.execute('qom-list', { path: '/objects' })) as { name: string }[]
  if (present.some(({ name }) => name === id)) await qmp.execute('object-del', { id })
  await qmp.execute('object-add', { id, ...properties })
}

const ensureTls = (qmp: QmpClient, folder: string, endpoint: 'client' | 'server'): Promise<void> =>
  ensureObject(qmp, tlsId, { 'qom-type': 'tls-creds-x509', dir: folder, endpoint, 'verify-peer': true })

/**
 * Never post-copy: a destination that dies in it takes the guest with it. No XBZRLE: it spends processor time to save
 * a network that has enough. `events`, so that nobody has to ask.
 */
const setCapabilities = (
  qmp: QmpClient,
  { channels, source }: { channels: number; source?: { autoConverge: boolean } },
): Promise<unknown> => {
  const capabilities = {
    events: true,
    multifd: channels > 1,
    xbzrle: false,
    'postcopy-ram': false,
    ...(source === undefined
      ? {}
      : { 'pause-before-switchover': true, 'auto-converge': source.autoConverge }),
  }
  return qmp.execute('migrate-set-capabilities', {
    capabilities: Object.entries(capabilities).map(([capability, state]) => ({ capability, state })),
  })
}

const channelsParameter = (channels: number) => (channels > 1 ? { 'multifd-channels': channels } : {})

const uriOf = (host: string, port: number): string => `tcp:${isIPv6(host) ? `[${host}]` : host}:${port}`

/** Lets a QEMU that was started with `-incoming defer` listen; returns its port. */
export const listenForMigration = async (
  qmp: QmpClient,
  options: { host: string; channels: number; tlsFolder: string; clientName: string },
): Promise<number> => {
  await ensureTls(qmp, options.tlsFolder, 'server')
  await ensureObject(qmp, authzId, {
    'qom-type': 'authz-list',
    policy: 'deny',
    rules: [{ match: options.clientName, policy: 'allow', format: 'exact' }],
  })
  await setCapabilities(qmp, options)
  await qmp.execute('migrate-set-parameters', {
    'tls-creds': tlsId,
    'tls-authz': authzId,
    ...channelsParameter(options.channels),
  })
  await qmp.execute('migrate-incoming', { uri: uriOf(options.host, 0) })
  return listeningPort(await queryMigration(qmp)) ?? Promise.reject(new Error('QEMU names no port.'))
}

export const listeningPort = (info: MigrationInfo): number | undefined => {
  const port = Number(info['socket-address']?.[0]?.port)
  return Number.isInteger(port) && port > 0 ? port : undefined
}

/** 0 would be no limit for some of QEMU's streams and none at all for others: a terabyte per second is none. */
const unlimited = 2 ** 40

export interface MigrationParameters {
  downtimeMs?: number
  /** Bytes per second; 0: unlimited. */
  bandwidth?: number
}

export const setMigrationParameters = async (
  qmp: QmpClient,
  { downtimeMs, bandwidth }: MigrationParameters,
): Promise<void> => {
  await qmp.execute('migrate-set-parameters', {
    ...(downtimeMs === undefined ? {} : { 'downtime-limit': downtimeMs }),
    ...(bandwidth === undefined ? {} : { 'max-bandwidth': bandwidth === 0 ? unlimited : bandwidth }),
  })
}

/** Begins to send the guest's memory. */
export const beginMigration = async (
  qmp: QmpClient,
  options: {
    host: string
    port: number
    channels: number
    tlsFolder: string
    tlsHostname: string
    autoConverge: boolean
  } & Required<MigrationParameters>,
): Promise<void> => {
  const { host, port, channels, tlsFolder, tlsHostname, autoConverge } = options
  await ensureTls(qmp, tlsFolder, 'client')
  await setCapabilities(qmp, { channels, source: { autoConverge } })
  await setMigrationParameters(qmp, options)
  await qmp.execute('migrate-set-parameters', {
    'tls-creds': tlsId,
    'tls-hostname': tlsHostname,
    ...channelsParameter(channels),
  })
  await qmp.execute('migrate', { uri: uriOf(host, port) })
}

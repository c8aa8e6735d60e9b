import { defaultSilenceSeconds, type EvacuationGroup } from '../domain/automatic-evacuation.ts'
import { messageOf } from '@volant/contract'
import { LineCounter, parseDocument } from 'yaml'
import { parsePace } from '@volant/contract/ndo/pace.ts'
import { shareBackendOf, type Aggregate, type ShareService, type Topology } from '../domain/topology.ts'
import { defaultSettings, type Settings, type VolantConfig } from './config.ts'
import { ConfigError, problemCollector, type ConfigPath, type ProblemCollector } from './problem.ts'
import { readDuration, readRate, readShortDuration, readSize, type QuantityResult } from './quantities.ts'
import { checkTopology } from './references.ts'
import type { ConfigFile } from './schema.ts'
import { checkShape } from './shape.ts'

const mib = 1024 ** 2

/**
 * Reads the text of a `volant.yaml`. Throws `ConfigError` with every problem, its line and column. `file` is
 * only named in messages; `hostname` is the `host` where the file gives none.
 */
export function parseConfig(text: string, options: { file: string; hostname: string }): VolantConfig {
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, uniqueKeys: true })
  if (document.errors.length > 0) {
    const problems = document.errors.map((error) => {
      const { line, col } = lines.linePos(error.pos[0])
      return { line, column: col, where: '', message: `not valid YAML: ${error.message}` }
    })
    throw new ConfigError(options.file, text, problems)
  }
  const problems = problemCollector(document, lines)
  const value: unknown = document.toJS({ maxAliasCount: 100 })
  let config: VolantConfig | undefined
  if (checkShape(value, problems)) {
    const quantity = quantityReader(problems)
    config = {
      topology: topologyOf(value, options.hostname, quantity),
      settings: settingsOf(value, quantity),
    }
    checkTopology(config.topology, problems)
  }
  if (config === undefined || problems.problems.length > 0) {
    const sorted = problems.problems.toSorted((a, b) => a.line - b.line || a.column - b.column)
    throw new ConfigError(options.file, text, sorted)
  }
  return config
}

interface Bounds {
  min: number
  max: number
  /** How the bounds read in a message. */
  range: string
}

function quantityReader(problems: ProblemCollector) {
  return (
    read: (input: unknown) => QuantityResult,
    input: unknown,
    path: ConfigPath,
    bounds: Bounds,
  ): number => {
    const result = read(input)
    if ('problem' in result) {
      problems.add(path, result.problem)
      return bounds.min
    }
    if (result.value < bounds.min || result.value > bounds.max) {
      problems.add(path, `${String(input)} must be ${bounds.range}`)
    }
    return result.value
  }
}
type ReadQuantity = ReturnType<typeof quantityReader>

const sizeBounds: Bounds = { min: 64 * mib, max: 2 ** 53, range: 'at least 64MiB' }

function topologyOf(file: ConfigFile, hostname: string, quantity: ReadQuantity): Topology {
  const host = file.host ?? hostname
  return {
    host,
    availabilityZone: file.availability_zone ?? 'nova',
    ...(file.agents === 'processes' ? { agents: 'processes' } : {}),
    ...(file.evacuation === undefined
      ? {}
      : { evacuation: file.evacuation.map((group, g) => evacuationOf(group, ['evacuation', g], quantity)) }),
    clusters: file.clusters.map((cluster, c) => ({
      name: cluster.name,
      ...(cluster.management === undefined ? {} : { management: addressOf(cluster.management) }),
      nodes: cluster.nodes.map((node, n) => ({
        name: node.name,
        machine: node.machine ?? host,
        dataAddress: node.data_address,
        ...(node.netns === undefined ? {} : { netns: node.netns }),
        ...(node.agent === undefined ? {} : { agent: node.agent }),
        aggregates: node.aggregates.map((aggregate, a) =>
          aggregateOf(aggregate, ['clusters', c, 'nodes', n, 'aggregates', a], quantity),
        ),
      })),
      flexvols: cluster.flexvols.map((flexvol) => ({
        name: flexvol.name,
        lif: flexvol.lif,
        junctionPath: flexvol.junction_path ?? `/${flexvol.name}`,
        node: flexvol.node,
        aggregate: flexvol.aggregate,
      })),
      ...(cluster.shares === undefined ? {} : { shares: sharesOf(cluster) }),
    })),
    computeHosts: file.compute_hosts.map((computeHost, index) => ({
      name: computeHost.name,
      machine: computeHost.machine ?? host,
      ...(computeHost.data_address === undefined ? {} : { dataAddress: computeHost.data_address }),
      ...(computeHost.netns === undefined ? {} : { netns: computeHost.netns }),
      ...(computeHost.agent === undefined ? {} : { agent: computeHost.agent }),
      ...(computeHost.availability_zone === undefined
        ? {}
        : { availabilityZone: computeHost.availability_zone }),
      ...(computeHost.vcpus === undefined ? {} : { vcpus: computeHost.vcpus }),
      ...(computeHost.memory === undefined
        ? {}
        : { memoryMiB: memoryOf(computeHost.memory, ['compute_hosts', index, 'memory'], quantity) }),
    })),
  }
}

/** The backend's name is the cluster's, as Manila's: `manila-lma` of `cinder-lma`. */
function sharesOf({ name, nodes, shares }: ConfigFile['clusters'][number]): ShareService {
  return {
    backend: shares?.backend ?? shareBackendOf(name),
    lif: shares?.lif ?? '',
    node: shares?.node ?? nodes[0]?.name ?? '',
  }
}

/** `HOST:PORT`; what it may be is checked with the rest of the topology. */
function addressOf(text: string): { host: string; port: number } {
  const [, host = text, port = ''] = /^\[?(.*?)\]?:(\d{1,5})$/.exec(text) ?? []
  return { host, port: port === '' ? -1 : Number(port) }
}

const xfsBounds: Bounds = {
  min: 512 * mib,
  max: 2 ** 53,
  range: "at least 512MiB where 'filesystem' is 'xfs'",
}
const blockBytes = 4096

type AggregateOfFile = ConfigFile['clusters'][number]['nodes'][number]['aggregates'][number]

function aggregateOf(
  { name, path, size, filesystem }: AggregateOfFile,
  at: ConfigPath,
  quantity: ReadQuantity,
): Aggregate {
  if (filesystem !== 'xfs') {
    const limit =
      size === undefined ? {} : { sizeBytes: quantity(readSize, size, [...at, 'size'], sizeBounds) }
    return { name, path, ...limit }
  }
  // Missing, it is said by `checkTopology`, with all else that keys say of one another.
  if (size === undefined) return { name, path, filesystem }
  const bytes = quantity(readSize, size, [...at, 'size'], xfsBounds)
  return { name, path, filesystem, sizeBytes: Math.floor(bytes / blockBytes) * blockBytes }
}

function evacuationOf(
  { name, hosts, after, witnesses = 1, at_once: atOnce = 1 }: NonNullable<ConfigFile['evacuation']>[number],
  at: ConfigPath,
  quantity: ReadQuantity,
): EvacuationGroup {
  const bounds = { min: 10, max: 3600, range: 'between 10s and 1h' }
  const afterSeconds =
    after === undefined ? defaultSilenceSeconds : quantity(readDuration, after, [...at, 'after'], bounds)
  return { name, hosts, afterSeconds, witnesses, atOnce }
}

const memoryOf = (input: unknown, path: ConfigPath, quantity: ReadQuantity): number =>
  Math.floor(quantity(readSize, input, path, sizeBounds) / mib)

const day = 86_400

type OrDefault = (
  read: (input: unknown) => QuantityResult,
  path: [keyof ConfigFile, string],
  otherwise: number,
  bounds: Bounds,
) => number

function liveMigrationOf(
  { live_migration: given }: ConfigFile,
  orDefault: OrDefault,
): Settings['liveMigration'] {
  const preset = defaultSettings.liveMigration
  const short = { min: 1, max: 2_000_000, range: 'between 1ms and 2000s' }
  const longest = orDefault(
    readShortDuration,
    ['live_migration', 'downtime'],
    preset.longestDowntimeMs,
    short,
  )
  return {
    ...preset,
    longestDowntimeMs: longest,
    firstDowntimeMs: orDefault(
      readShortDuration,
      ['live_migration', 'first_downtime'],
      Math.min(preset.firstDowntimeMs, longest),
      { min: 1, max: longest, range: "at least 1ms, and no longer than 'downtime'" },
    ),
    patienceMs: orDefault(readShortDuration, ['live_migration', 'patience'], preset.patienceMs, {
      min: 100,
      max: 3_600_000,
      range: 'between 100ms and 60m',
    }),
    bandwidth: orDefault(readRate, ['live_migration', 'rate'], preset.bandwidth, {
      min: 0,
      max: 1024 ** 4,
      range: 'between 0 (unlimited) and 1TiB/s',
    }),
    autoConverge: given?.auto_converge ?? preset.autoConverge,
    channels: given?.connections ?? preset.channels,
    secondsPerGib: orDefault(readDuration, ['live_migration', 'completion_timeout'], preset.secondsPerGib, {
      min: 10,
      max: day,
      range: 'between 10s and 1d',
    }),
    timeoutAction: given?.timeout_action === 'force_complete' ? 'force_complete' : preset.timeoutAction,
  }
}

const anyRate = { min: 0, max: 1024 ** 4, range: 'between 0 (unlimited) and 1TiB/s' }
const leastRate = { min: 64 * 1024, max: 1024 ** 4, range: 'between 64KiB/s and 1TiB/s' }

function copyOf({ copy }: ConfigFile, orDefault: OrDefault, quantity: ReadQuantity): Settings['copy'] {
  const preset = defaultSettings.copy
  let { pace } = preset
  const readPace = (input: unknown): QuantityResult => {
    try {
      pace = parsePace(String(input))
      return { value: 0 }
    } catch (error) {
      return { problem: messageOf(error) }
    }
  }
  if (copy?.pace !== undefined) quantity(readPace, copy.pace, ['copy', 'pace'], anyRate)
  return {
    pace,
    floorBps: orDefault(readRate, ['copy', 'floor'], preset.floorBps, leastRate),
    blindBps: orDefault(readRate, ['copy', 'unknown_rate'], preset.blindBps, leastRate),
    catchUpBps: orDefault(readRate, ['copy', 'catch_up'], preset.catchUpBps, leastRate),
    nodeBudgetBps: orDefault(readRate, ['copy', 'node_budget'], preset.nodeBudgetBps, anyRate),
  }
}

function settingsOf(file: ConfigFile, quantity: ReadQuantity): Settings {
  const orDefault: OrDefault = (read, path, otherwise, bounds) => {
    const input = (file[path[0]] as Record<string, unknown> | undefined)?.[path[1]]
    return input === undefined ? otherwise : quantity(read, input, path, bounds)
  }
  const { migration, identity, images, compute } = defaultSettings
  return {
    migration: {
      rateBytesPerSecond: orDefault(readRate, ['migration', 'rate'], migration.rateBytesPerSecond, {
        min: 0,
        max: 1024 ** 4,
        range: 'between 0 (unlimited) and 1TiB/s',
      }),
      cutoverWindowSeconds: orDefault(
        readDuration,
        ['migration', 'cutover_window'],
        migration.cutoverWindowSeconds,
        { min: 1, max: 3600, range: 'between 1s and 1h' },
      ),
      cutoverAttempts: file.migration?.cutover_attempts ?? migration.cutoverAttempts,
      clientFloorBytesPerSecond: orDefault(
        readRate,
        ['migration', 'client_floor'],
        migration.clientFloorBytesPerSecond,
        { min: 4096, max: 1024 ** 4, range: 'between 4KiB/s and 1TiB/s' },
      ),
      retentionSeconds: orDefault(readDuration, ['migration', 'retention'], migration.retentionSeconds, {
        min: 0,
        max: 365 * day,
        range: 'between 0 (the source is removed at once) and 365d',
      }),
    },
    copy: copyOf(file, orDefault, quantity),
    identity: {
      tokenLifetimeSeconds: orDefault(
        readDuration,
        ['identity', 'token_lifetime'],
        identity.tokenLifetimeSeconds,
        { min: 60, max: 30 * day, range: 'between 1m and 30d' },
      ),
    },
    images: {
      maxSizeBytes: orDefault(readSize, ['images', 'max_size'], images.maxSizeBytes, {
        min: mib,
        max: 2 ** 53,
        range: 'at least 1MiB',
      }),
    },
    compute: {
      rootDisks: file.compute?.root_disks === 'local' ? 'local' : compute.rootDisks,
      resizeConfirmWindowSeconds: orDefault(
        readDuration,
        ['compute', 'resize_confirm_window'],
        compute.resizeConfirmWindowSeconds,
        { min: 0, max: 365 * day, range: 'between 0 (never) and 365d' },
      ),
    },
    liveMigration: liveMigrationOf(file, orDefault),
  }
}

import { defaultLiveMigrationPolicy, type LiveMigrationPolicy } from '../domain/live-migration.ts'
import { defaultCopySettings, type CopySettings } from '../domain/copy-settings.ts'
import { shareBackendOf, type Topology } from '../domain/topology.ts'

/** All that `volant.yaml` says. */
export interface VolantConfig {
  topology: Topology
  settings: Settings
}

export interface Settings {
  migration: {
    /** Bytes per second for a migration that asks for no other; 0: unlimited. */
    rateBytesPerSecond: number
    /** How long one cutover may take to make both copies equal, before it is given up and tried again. */
    cutoverWindowSeconds: number
    cutoverAttempts: number
    /** The least that a client which outruns its copy may go on writing, in bytes per second. */
    clientFloorBytesPerSecond: number
    /** How long a source is kept read-only after its volume has moved; 0: not at all. */
    retentionSeconds: number
  }
  copy: CopySettings
  identity: { tokenLifetimeSeconds: number }
  images: { maxSizeBytes: number }
  compute: {
    /** What the root disks of servers are that boot from an image: hidden volumes, or files on their compute hosts. */
    rootDisks: 'volumes' | 'local'
    /** After how long a resized or migrated server is confirmed that nobody confirmed; 0: never. */
    resizeConfirmWindowSeconds: number
  }
  liveMigration: LiveMigrationPolicy
}

export const defaultSettings: Settings = {
  migration: {
    rateBytesPerSecond: 0,
    cutoverWindowSeconds: 30,
    cutoverAttempts: 5,
    clientFloorBytesPerSecond: 1024 * 1024,
    retentionSeconds: 600,
  },
  copy: defaultCopySettings,
  identity: { tokenLifetimeSeconds: 3600 },
  images: { maxSizeBytes: 64 * 1024 ** 3 },
  compute: { rootDisks: 'volumes', resizeConfirmWindowSeconds: 0 },
  liveMigration: defaultLiveMigrationPolicy,
}

/** The topology and settings without a configuration file: two clusters and two compute hosts on this machine. */
export function defaultConfig(options: { stateDir: string; hostname: string }): VolantConfig {
  const { stateDir, hostname } = options
  const cluster = (name: string, node: string, lif: string, flexvol: string) => ({
    name,
    nodes: [
      {
        name: node,
        machine: hostname,
        dataAddress: lif,
        aggregates: ['aggr1', 'aggr2'].map((aggregate) => ({
          name: aggregate,
          path: `${stateDir}/clusters/${name}/${aggregate}`,
        })),
      },
    ],
    flexvols: [{ name: flexvol, lif, junctionPath: `/${flexvol}`, node, aggregate: 'aggr1' }],
    shares: { backend: shareBackendOf(name), lif, node },
  })
  return {
    topology: {
      host: hostname,
      availabilityZone: 'nova',
      clusters: [
        cluster('cinder-lma', 'lma-01', '127.250.118.49', 'cinder_flexvol_OSTK02'),
        cluster('cinder-lmb', 'lmb-01', '127.250.118.51', 'cinder_flexvol_OSTK09'),
      ],
      computeHosts: ['compute-1', 'compute-2'].map((name) => ({ name, machine: hostname })),
    },
    settings: defaultSettings,
  }
}

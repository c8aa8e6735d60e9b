import { Type, type Static } from 'typebox'
import { ComputeHostState } from './plan.ts'

/** `GET /ndo/v1/status`, for administrators. Sizes in bytes. */
const Space = {
  total_bytes: Type.Integer({ minimum: 0 }),
  used_bytes: Type.Integer({ minimum: 0 }),
  free_bytes: Type.Integer({ minimum: 0 }),
}

export const PoolStatus = Type.Object({
  /** `HOST@BACKEND#POOL`. */
  host: Type.String(),
  flexvol: Type.String(),
  node: Type.String(),
  aggregate: Type.String(),
  volumes: Type.Integer({ minimum: 0 }),
  snapshots: Type.Integer({ minimum: 0 }),
  ...Space,
})
export type PoolStatus = Static<typeof PoolStatus>

/** How a cluster serves shares. */
export const ShareServiceStatus = Type.Object({
  /** The Manila backend. */
  backend: Type.String(),
  lif: Type.String(),
  node: Type.String(),
  /** On record, in whatever state. */
  shares: Type.Integer({ minimum: 0 }),
  /** The node's agent of shares answers. */
  up: Type.Boolean(),
  reason: Type.Union([Type.String(), Type.Null()]),
  /** What the node's machine lacks for shares, each with its remedy. */
  missing: Type.Array(Type.String()),
  /** Those that should run now: a server is there while it has exports. */
  servers: Type.Array(
    Type.Object({
      svm: Type.String(),
      lif: Type.String(),
      pid: Type.Integer(),
      exports: Type.Integer({ minimum: 0 }),
      /** Connected. */
      clients: Type.Integer({ minimum: 0 }),
      /** Why it does not serve now; null: it does. */
      trouble: Type.Union([Type.String(), Type.Null()]),
    }),
  ),
  /** File systems that are being mended, by their shares' ids. */
  troubles: Type.Array(Type.Object({ share: Type.String(), reason: Type.String() })),
})
export type ShareServiceStatus = Static<typeof ShareServiceStatus>

export const ClusterStatus = Type.Object({
  name: Type.String(),
  /** Of its ONTAP REST API, without a path; who may is in `STATE/clusters.json`. Null: it does not listen. */
  management_url: Type.Union([Type.String(), Type.Null()]),
  nodes: Type.Array(
    Type.Object({
      name: Type.String(),
      machine: Type.String(),
      up: Type.Boolean(),
      /** Why it is not up. */
      reason: Type.Union([Type.String(), Type.Null()]),
      aggregates: Type.Array(Type.Object({ name: Type.String(), ...Space })),
    }),
  ),
  pools: Type.Array(PoolStatus),
  /** Null: it serves none, by the configuration. */
  shares: Type.Union([ShareServiceStatus, Type.Null()]),
})
export type ClusterStatus = Static<typeof ClusterStatus>

export const ComputeHostStatus = Type.Object({
  name: Type.String(),
  machine: Type.String(),
  up: Type.Boolean(),
  reason: Type.Union([Type.String(), Type.Null()]),
  /** kvm or tcg; null while it is not up. */
  accelerator: Type.Union([Type.String(), Type.Null()]),
  vcpus: Type.Integer({ minimum: 0 }),
  memory_mib: Type.Integer({ minimum: 0 }),
  free_memory_mib: Type.Integer({ minimum: 0 }),
  /** Guests that run. */
  servers: Type.Integer({ minimum: 0 }),
})
export type ComputeHostStatus = Static<typeof ComputeHostStatus>

/** One process of agents. */
export const AgentStatus = Type.Object({
  name: Type.String(),
  /** In the control plane's process; in one that it starts; or in one elsewhere. */
  place: Type.Union([Type.Literal('inside'), Type.Literal('process'), Type.Literal('remote')]),
  pid: Type.Union([Type.Integer(), Type.Null()]),
  url: Type.Union([Type.String(), Type.Null()]),
  up: Type.Boolean(),
  /** Since when it is up, or away. */
  since: Type.String(),
  /** Why it is away. */
  reason: Type.Union([Type.String(), Type.Null()]),
  /** Storage nodes, machines whose holders, and compute hosts that it has the agents of. */
  nodes: Type.Array(Type.String()),
  machines: Type.Array(Type.String()),
  compute_hosts: Type.Array(Type.String()),
})
export type AgentStatus = Static<typeof AgentStatus>

export const SystemStatus = Type.Object({
  version: Type.String(),
  /** The first part of every host string. */
  host: Type.String(),
  started_at: Type.String(),
  fence: Type.Integer(),
  clusters: Type.Array(ClusterStatus),
  compute_hosts: Type.Array(ComputeHostStatus),
  /** The same hosts by what is on record of them: their service, servers, and whether they are drained. */
  hosts: Type.Array(ComputeHostState),
  agents: Type.Array(AgentStatus),
  /** Whether the database takes writes; while it does not, operations wait and go on by themselves afterwards. */
  database: Type.Object({
    ok: Type.Boolean(),
    /** Since when it does not, and why. */
    since: Type.Union([Type.String(), Type.Null()]),
    reason: Type.Union([Type.String(), Type.Null()]),
    /** Operations that wait for it. */
    waiting: Type.Integer({ minimum: 0 }),
  }),
  /** Counts of operations that are not settled, by state; parts of others only where they need attention. */
  operations: Type.Record(Type.String(), Type.Integer({ minimum: 0 })),
  /** What the last sweep found and left; null before the first. */
  strays: Type.Union([Type.Integer({ minimum: 0 }), Type.Null()]),
})
export type SystemStatus = Static<typeof SystemStatus>

export interface SystemStatusDocument {
  status: SystemStatus
}

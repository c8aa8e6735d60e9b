import { Type, type Static, type TProperties } from 'typebox'

/**
 * The form of `volant.yaml`. `description` is what a message says where a pattern does not match. Quantities and
 * what one key says about another are checked in `parse.ts`.
 */
const Name = Type.String({
  pattern: '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$',
  description:
    "must be 1 to 64 letters, digits, '.', '_' or '-', beginning with a letter or digit: '@', '#', ':', '/' and blanks divide host strings and paths",
})

const AgentUrl = Type.String({
  pattern: '^https://([A-Za-z0-9.-]+|\\[[0-9a-fA-F:]+\\]):[0-9]{1,5}$',
  description: 'must be an address such as https://10.250.118.49:8781',
})

const strict = { additionalProperties: false } as const
const section = <Fields extends TProperties>(fields: Fields) => Type.Optional(Type.Object(fields, strict))
const quantity = Type.Optional(Type.Unknown())

const Aggregate = Type.Object(
  {
    name: Name,
    path: Type.String(),
    size: quantity,
    filesystem: Type.Optional(
      Type.String({ pattern: '^(folder|xfs)$', description: "must be 'folder' or 'xfs'" }),
    ),
  },
  strict,
)

const Node = Type.Object(
  {
    name: Name,
    machine: Type.Optional(Name),
    data_address: Type.String(),
    netns: Type.Optional(Name),
    agent: Type.Optional(AgentUrl),
    aggregates: Type.Array(Aggregate, { minItems: 1 }),
  },
  strict,
)

const FlexVol = Type.Object(
  {
    name: Name,
    lif: Type.String(),
    junction_path: Type.Optional(
      Type.String({
        pattern: '^(/[A-Za-z0-9][A-Za-z0-9._-]*)+$',
        maxLength: 200,
        description: "must begin with '/' and hold only letters, digits, '.', '_', '-' between slashes",
      }),
    ),
    node: Type.String(),
    aggregate: Type.String(),
  },
  strict,
)

const Shares = Type.Object(
  { backend: Type.Optional(Name), lif: Type.String(), node: Type.Optional(Type.String()) },
  strict,
)

const Cluster = Type.Object(
  {
    name: Name,
    management: Type.Optional(Type.String()),
    nodes: Type.Array(Node, { minItems: 1 }),
    flexvols: Type.Array(FlexVol),
    shares: Type.Optional(Shares),
  },
  strict,
)

const ComputeHost = Type.Object(
  {
    name: Name,
    machine: Type.Optional(Name),
    data_address: Type.Optional(Type.String()),
    netns: Type.Optional(Name),
    agent: Type.Optional(AgentUrl),
    availability_zone: Type.Optional(Name),
    vcpus: Type.Optional(Type.Integer({ minimum: 1, maximum: 4096 })),
    memory: quantity,
  },
  strict,
)

const EvacuationGroup = Type.Object(
  {
    name: Name,
    hosts: Type.Array(Name, { minItems: 1 }),
    after: quantity,
    witnesses: Type.Optional(Type.Integer({ minimum: 1, maximum: 100 })),
    at_once: Type.Optional(Type.Integer({ minimum: 1, maximum: 100 })),
  },
  strict,
)

export const ConfigFile = Type.Object(
  {
    host: Type.Optional(Name),
    availability_zone: Type.Optional(Name),
    agents: Type.Optional(
      Type.String({ pattern: '^(inside|processes)$', description: "must be 'inside' or 'processes'" }),
    ),
    clusters: Type.Array(Cluster, { minItems: 1 }),
    compute_hosts: Type.Array(ComputeHost),
    evacuation: Type.Optional(Type.Array(EvacuationGroup)),
    migration: section({
      rate: quantity,
      cutover_window: quantity,
      client_floor: quantity,
      cutover_attempts: Type.Optional(Type.Integer({ minimum: 1, maximum: 100 })),
      retention: quantity,
    }),
    copy: section({
      pace: quantity,
      floor: quantity,
      unknown_rate: quantity,
      catch_up: quantity,
      node_budget: quantity,
    }),
    identity: section({ token_lifetime: quantity }),
    compute: section({
      root_disks: Type.Optional(
        Type.String({ pattern: '^(volumes|local)$', description: "must be 'volumes' or 'local'" }),
      ),
      resize_confirm_window: quantity,
    }),
    live_migration: section({
      first_downtime: quantity,
      downtime: quantity,
      patience: quantity,
      rate: quantity,
      auto_converge: Type.Optional(Type.Boolean()),
      connections: Type.Optional(Type.Integer({ minimum: 1, maximum: 16 })),
      completion_timeout: quantity,
      timeout_action: Type.Optional(
        Type.String({
          pattern: '^(abort|force_complete)$',
          description: "must be 'abort' or 'force_complete'",
        }),
      ),
    }),
    images: section({ max_size: quantity }),
  },
  strict,
)
export type ConfigFile = Static<typeof ConfigFile>

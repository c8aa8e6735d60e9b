import { Type, type Static } from 'typebox'
import { Rate, type Operation } from './operation.ts'

/** Wire shapes of `/ndo/v1/plans`: a compute host is emptied for maintenance, and filled again, or evacuated where it is down; and of `/ndo/v1/hosts`. */

const nullable = <T extends Type.TSchema>(schema: T) => Type.Union([schema, Type.Null()])
const bytes = Type.Integer({ minimum: 0 })
const seconds = Type.Number({ minimum: 0 })
const name = Type.String({ minLength: 1, maxLength: 255 })

export const planKinds = ['drain', 'restore', 'evacuate'] as const
export type PlanKind = (typeof planKinds)[number]

/** What is done with a server that has no `volant:drain` in its metadata. */
export const planPolicies = ['live', 'cold', 'stop', 'hold'] as const
export type PlanPolicy = (typeof planPolicies)[number]

/**
 * `POST /ndo/v1/plans`. With `dry_run` it answers 200 with `{plan}` and changes nothing; without it 202 with
 * `{operation, plan}`: what can go goes. Refused with 404 where there is no such host; with 409 where it is down, is being
 * drained or restored already, is the last one that servers could go to, or, for a restore, was not drained.
 */
export const PlanRequest = Type.Object(
  {
    kind: Type.Union(planKinds.map((kind) => Type.Literal(kind))),
    host: name,
    /** Of a drain; absent: live. */
    policy: Type.Optional(Type.Union(planPolicies.map((policy) => Type.Literal(policy)))),
    /** Servers under way at once, and to each destination; absent: 2. */
    parallel: Type.Optional(Type.Integer({ minimum: 1, maximum: 32 })),
    /** Of a drain: only to these compute hosts. Absent: to any other. */
    to: Type.Optional(Type.Array(name, { minItems: 1, maxItems: 100 })),
    /** Of each server's memory, in bytes per second; 0 or absent: unlimited. */
    rate: Type.Optional(Rate),
    dry_run: Type.Optional(Type.Boolean()),
  },
  { additionalProperties: false },
)
export type PlanRequest = Omit<Static<typeof PlanRequest>, 'kind' | 'policy'> & {
  kind: PlanKind
  policy?: PlanPolicy
}

export const PlannedServer = Type.Object({
  id: Type.String(),
  name: Type.String(),
  /** As the Compute API has it: ACTIVE, SHUTOFF, PAUSED… */
  status: Type.String(),
  /** live, cold, stop, start or evacuate; null: nothing is done with it. */
  way: nullable(Type.String()),
  from: Type.String(),
  /** Null where it stays on its host. */
  to: nullable(Type.String()),
  memory_bytes: bytes,
  /** Of its memory, that are copied. */
  bytes,
  seconds,
  /** Why nothing is done with it, or what it waits for. */
  reason: nullable(Type.String()),
})
export type PlannedServer = Static<typeof PlannedServer>

export const HostPlan = Type.Object({
  kind: Type.String(),
  host: Type.String(),
  /** Of a drain: nothing would run on the host any more. Of a restore: everything would be back. */
  ok: Type.Boolean(),
  policy: nullable(Type.String()),
  parallel: Type.Integer({ minimum: 1 }),
  /** In the order in which they begin. */
  moves: Type.Array(PlannedServer),
  /** What stays, and why. Stopped servers that may stay are not among them. */
  stays: Type.Array(PlannedServer),
  /** Stopped servers that may stay on the host. */
  rests: Type.Array(PlannedServer),
  /** Other hosts that servers go to. */
  hosts: Type.Array(Type.Object({ host: Type.String(), free_bytes: bytes, free_after_bytes: bytes })),
  estimate: Type.Object({
    bytes,
    seconds,
    /** Bytes of memory per second that `seconds` is reckoned with. */
    rate: Type.Number({ minimum: 0 }),
    /** By the last live migrations; else assumed. */
    measured: Type.Boolean(),
  }),
})
export type HostPlan = Static<typeof HostPlan>

export interface PlanStarted {
  operation: Operation
  plan: HostPlan
}

export interface PlanPlanned {
  plan: HostPlan
}

/** `GET /ndo/v1/plans`: the last ones, newest first, with those under way. */
export interface PlanList {
  plans: Operation[]
}

/** A compute host in `GET /ndo/v1/hosts`. */
export const ComputeHostState = Type.Object({
  name: Type.String(),
  machine: Type.String(),
  /** Its agent answers, and nobody forced it down. */
  up: Type.Boolean(),
  /** Whether new servers may come, and why not. */
  enabled: Type.Boolean(),
  disabled_reason: nullable(Type.String()),
  /** A drain emptied it, or tried to, and it was not restored. */
  drained: Type.Boolean(),
  /** Servers that a restore would bring back, or start. */
  away: Type.Integer({ minimum: 0 }),
  /** On record, running or not. */
  servers: Type.Integer({ minimum: 0 }),
  running: Type.Integer({ minimum: 0 }),
  memory_bytes: bytes,
  /** That servers on record have, and that is held back for those on their way. */
  used_memory_bytes: bytes,
  /** The drain or restore that is under way. */
  operation: nullable(Type.Object({ id: Type.String(), kind: Type.String() })),
})
export type ComputeHostState = Static<typeof ComputeHostState>

export interface ComputeHostList {
  hosts: ComputeHostState[]
}

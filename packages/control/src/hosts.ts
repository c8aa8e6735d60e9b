import { bind, type BoundOperation } from '@volant/saga'
import type { Kysely } from 'kysely'
import type { ComputeServices } from './app/compute-service.ts'
import { createColdMoves, type ColdMoveOptions } from './app/cold-migration.ts'
import { createHostOccupants } from './app/host-occupants.ts'
import { createHostPlans, type HostPlans } from './app/host-plan.ts'
import { createHypervisors } from './app/hypervisor.ts'
import { createServerRelocations } from './app/server-relocations.ts'
import { computeServiceRecords } from './db/repositories/compute-service.ts'
import { drainedServerRecords } from './db/repositories/drained-server.ts'
import type { Database } from './db/schema.ts'
import type { Topology } from './domain/topology.ts'
import { drainHost } from './operations/drain-host.ts'
import { evacuateHost } from './operations/evacuate-host.ts'
import { restoreHost } from './operations/restore-host.ts'
import type { Agents } from './ports/agents.ts'
import type { Evacuations } from './ports/evacuations.ts'
import type { HostViews } from './ports/hosts.ts'
import type { LiveMigrations } from './ports/live-migrations.ts'
import type { OperationEngine } from './ports/operations.ts'
import type { Places } from './ports/places.ts'
import type { AttachmentRecords } from './ports/records.ts'
import type { ServerGroupRecords } from './ports/server-groups.ts'
import type { InstanceActionRecords, ServerRecords } from './ports/servers.ts'

export interface HostsOptions extends Pick<ColdMoveOptions, 'migrations' | 'destinations' | 'clock'> {
  db: Kysely<Database>
  servers: ServerRecords
  attachments: AttachmentRecords
  actions: InstanceActionRecords
  groups: ServerGroupRecords
  services: ComputeServices
  liveMigrations: LiveMigrations
  evacuations: Evacuations
  watch: HostViews
  agents: Agents
  places: Places
  engine: OperationEngine
  topology: Topology
}

/** The emptying of compute hosts for maintenance, and their filling: a part of the Compute service. */
export function createHosts(options: HostsOptions): { operations: BoundOperation[]; plans: HostPlans } {
  const { db, servers, services, engine, places, topology, watch } = options
  const relocations = createServerRelocations({
    ...options,
    live: options.liveMigrations,
    cold: createColdMoves(options),
  })
  const ports = { ...options, drained: drainedServerRecords(db) }
  const running = {
    ...ports,
    relocations,
    services: computeServiceRecords(db),
    occupants: createHostOccupants(options),
  }
  return {
    operations: [bind(drainHost, running), bind(restoreHost, running), bind(evacuateHost, running)],
    plans: createHostPlans({
      ports,
      relocations,
      engine,
      services,
      evacuation: options,
      hypervisors: createHypervisors({
        services,
        servers,
        migrations: options.migrations,
        hosts: watch,
        topology,
      }),
      machineOf: places.machineOfHost,
    }),
  }
}

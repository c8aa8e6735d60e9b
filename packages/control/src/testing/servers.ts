import { instanceActionRecords } from '../db/repositories/instance-action.ts'
import { serverMigrationRecords } from '../db/repositories/server-migration.ts'
import { serverMoves } from '../db/repositories/server-move.ts'
import { serverRecords } from '../db/repositories/server.ts'
import type { Server } from '../domain/server.ts'
import type { World } from './world.ts'

const serverId = '5e4e4e4e-0000-4000-8000-000000000001'

/** A server as the request to create it leaves it: building, without a place. */
export const buildingServer = (fields: Partial<Server> = {}): Omit<Server, 'number'> => ({
  id: serverId,
  projectId: 'p',
  userId: 'u',
  name: 's',
  description: null,
  hostname: 's',
  vmState: 'building',
  taskState: 'scheduling',
  powerState: 0,
  fault: null,
  host: null,
  pinnedZone: null,
  flavorId: '1',
  flavor: {
    name: 'm1.tiny',
    vcpus: 1,
    memoryMib: 512,
    diskGib: 1,
    ephemeralGib: 0,
    swapMib: 0,
    extraSpecs: {},
  },
  imageId: 'image',
  kernelId: null,
  ramdiskId: null,
  boot: { rootDisk: { format: 'raw', sizeBytes: 2 ** 30 } },
  keyName: null,
  userData: null,
  configDrive: '',
  metadata: {},
  tags: [],
  nics: [],
  securityGroups: [],
  trustedCerts: null,
  rootDeviceName: '/dev/vda',
  reservationId: 'r-1',
  launchIndex: 0,
  lockedBy: null,
  lockedReason: null,
  launchedAt: null,
  terminatedAt: null,
  deletedAt: null,
  createdAt: '2026-11-22T10:00:00.000Z',
  updatedAt: '2026-11-22T10:00:00.000Z',
  ...fields,
})

/** The ports of the operations on servers, over a world; the scheduler always says compute-1. */
export function serverPorts(world: World) {
  const servers = serverRecords(world.db)
  const removed: string[] = []
  return {
    ...world.ports,
    servers,
    removed,
    actions: instanceActionRecords(world.db),
    serverMigrations: serverMigrationRecords(world.db),
    moves: serverMoves(world.db),
    pools: { candidates: async () => [] },
    images: { filePath: async (imageId: string) => `/images/${imageId}` },
    scheduler: {
      async place(id: string) {
        await servers.update(id, { host: 'compute-1' })
        return 'compute-1'
      },
    },
    migrations: { cancelMigration: async () => {} },
    engine: { holderOf: async () => undefined, cancel: async () => {} },
    remover: { removeVolume: async (volumeId: string) => void removed.push(volumeId) },
  }
}

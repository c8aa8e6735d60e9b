import { createPools } from '../app/pool.ts'
import { aggregateContents } from '../db/repositories/aggregate-contents.ts'
import { blockQuotaRecords } from '../db/repositories/block-quota.ts'
import { blockServiceRecords } from '../db/repositories/block-service.ts'
import { instanceActionRecords } from '../db/repositories/instance-action.ts'
import { poolSums } from '../db/repositories/pool-sum.ts'
import { shareMessageRecords } from '../db/repositories/share-message.ts'
import { shownSnapshotRecords } from '../db/repositories/shown-snapshot.ts'
import { snapshotCreation } from '../db/repositories/snapshot-creation.ts'
import { snapshotLists } from '../db/repositories/snapshot-list.ts'
import { vacatingAggregates } from '../db/repositories/vacating.ts'
import { volumeCreation } from '../db/repositories/volume-creation.ts'
import { volumeMessageRecords } from '../db/repositories/volume-message.ts'
import type { World } from './world.ts'

/** What the operations of Block Storage need, over a world of simulated nodes. */
export function blockStoragePorts(world: World) {
  const services = blockServiceRecords(world.db)
  return {
    ...world.ports,
    creation: volumeCreation(world.db),
    births: snapshotCreation(world.db),
    shown: shownSnapshotRecords(world.db),
    snapshotLists: snapshotLists(world.db),
    quotas: blockQuotaRecords(world.db),
    messages: volumeMessageRecords(world.db),
    shareMessages: shareMessageRecords(world.db),
    instanceActions: instanceActionRecords(world.db),
    pools: createPools({
      ...world.ports,
      topology: world.topology,
      services,
      sums: poolSums(world.db),
      contents: aggregateContents(world.db),
      vacating: vacatingAggregates(world.db),
    }),
    images: {
      file: async (imageId: string) => ({ path: `/images/${imageId}`, format: 'qcow2' as const }),
    },
  }
}

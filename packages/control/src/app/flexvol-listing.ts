import type { FlexVol as FlexVolView } from '@volant/contract/ndo/flexvol.ts'
import { placeText } from '../domain/aggregate-name.ts'
import { isUnderWay } from '../domain/flexvol-move.ts'
import { enforce } from '../domain/policy.ts'
import type { Principal } from '../domain/principal.ts'
import type { FlexVol } from '../domain/volume.ts'
import type { Backend } from '../ports/backend.ts'
import type { FlexVolMoves, Movement } from '../ports/flexvol-moves.ts'
import type { FlexVolRecords, SnapshotRecords } from '../ports/records.ts'
import { poolHost } from './volume-facts.ts'

/** FlexVols for administrators: where they are, and whether they move. */
export interface FlexVolListing {
  list(principal: Principal): Promise<FlexVolView[]>
  /** Throws `notFound`. */
  show(principal: Principal, flexvolId: string): Promise<FlexVolView>
}

export function createFlexVolListing(options: {
  flexvols: Pick<FlexVolRecords, 'list' | 'get' | 'countVolumes'>
  snapshots: Pick<SnapshotRecords, 'ofFlexVol'>
  moves: Pick<FlexVolMoves, 'movements' | 'movementOf'>
  backend: Pick<Backend, 'usageAt'>
  host: string
}): FlexVolListing {
  const { flexvols, snapshots, moves, backend } = options

  /** While it moves it occupies blocks on two aggregates. Null: a node does not answer. */
  const usedBytes = async (flexvol: FlexVol): Promise<number | null> => {
    const home = { node: flexvol.node, aggregate: flexvol.aggregate }
    const places = flexvol.destination === null ? [home] : [home, flexvol.destination]
    try {
      const usages = await Promise.all(places.map((place) => backend.usageAt(flexvol, place)))
      return usages.reduce((sum, usage) => sum + usage.uniqueBytes, 0)
    } catch {
      return null
    }
  }
  const view = async (flexvol: FlexVol, movement: Movement | undefined): Promise<FlexVolView> => ({
    id: flexvol.id,
    cluster: flexvol.cluster,
    name: flexvol.name,
    host: poolHost(options.host, flexvol),
    node: flexvol.node,
    aggregate: flexvol.aggregate,
    size_bytes: flexvol.sizeBytes,
    used_bytes: await usedBytes(flexvol),
    volumes: await flexvols.countVolumes(flexvol.id),
    snapshots: (await snapshots.ofFlexVol(flexvol.id)).length,
    move:
      movement !== undefined && isUnderWay(movement.move)
        ? {
            id: movement.move.id,
            state: movement.state,
            percent: movement.percentComplete,
            to: placeText(movement.move.to),
          }
        : null,
  })
  return {
    async list(principal) {
      enforce(principal, 'ndo:flexvols', 'admin')
      const [all, movements] = await Promise.all([flexvols.list(), moves.movements()])
      return Promise.all(all.map((flexvol) => view(flexvol, movements.get(flexvol.id))))
    },
    async show(principal, flexvolId) {
      enforce(principal, 'ndo:flexvols', 'admin')
      const flexvol = await flexvols.get(flexvolId)
      return view(flexvol, await moves.movementOf(flexvolId))
    },
  }
}

import type {
  FlexVolRequest,
  FlexVolResizeRequest,
  FlexVol as FlexVolView,
} from '@volant/contract/ndo/flexvol.ts'
import { placeText } from '../domain/aggregate-name.ts'
import { isUnderWay } from '../domain/flexvol-move.ts'
import { enforce } from '../domain/policy.ts'
import type { Principal } from '../domain/principal.ts'
import { exportLocationOf } from '../domain/share.ts'
import type { FlexVol } from '../domain/volume.ts'
import type { Backend } from '../ports/backend.ts'
import type { FlexVolMoves, Movement } from '../ports/flexvol-moves.ts'
import type { FlexVolRecords, SnapshotRecords } from '../ports/records.ts'
import type { ShareRecords } from '../ports/shares.ts'
import type { FlexVols } from './flexvol.ts'
import { poolHost } from './volume-facts.ts'

/** FlexVols for administrators: where they are, and whether they move; made, resized and removed. */
export interface FlexVolAdministration {
  list(principal: Principal): Promise<FlexVolView[]>
  /** Throws `notFound`. */
  show(principal: Principal, flexvolId: string): Promise<FlexVolView>
  /** As `FlexVols.create`, `resize` and `remove`. */
  create(principal: Principal, request: FlexVolRequest): Promise<{ operationId: string }>
  resize(principal: Principal, flexvolId: string, request: FlexVolResizeRequest): Promise<FlexVolView>
  remove(principal: Principal, flexvolId: string): Promise<{ operationId: string }>
}

export function createFlexVolAdministration(options: {
  application: Pick<FlexVols, 'create' | 'resize' | 'remove'>
  flexvols: Pick<FlexVolRecords, 'list' | 'get' | 'countVolumes'>
  snapshots: Pick<SnapshotRecords, 'ofFlexVol'>
  moves: Pick<FlexVolMoves, 'movements' | 'movementOf'>
  backend: Pick<Backend, 'usageAt'>
  shares: Pick<ShareRecords, 'find'>
  host: string
}): FlexVolAdministration {
  const { application, flexvols, snapshots, moves, backend } = options
  const admin = (principal: Principal): void => enforce(principal, 'ndo:flexvols', 'admin')

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
    ...(await poolOrShare(options.shares, options.host, flexvol)),
    node: flexvol.node,
    aggregate: flexvol.aggregate,
    size_bytes: flexvol.sizeBytes,
    used_bytes: await usedBytes(flexvol),
    // What a share consists of is nobody's volume.
    volumes: flexvol.shareId === null ? await flexvols.countVolumes(flexvol.id) : 0,
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
  const viewOf = async (flexvolId: string): Promise<FlexVolView> =>
    view(await flexvols.get(flexvolId), await moves.movementOf(flexvolId))
  return {
    async list(principal) {
      admin(principal)
      const [all, movements] = await Promise.all([flexvols.list(), moves.movements()])
      return Promise.all(all.map((flexvol) => view(flexvol, movements.get(flexvol.id))))
    },
    async show(principal, flexvolId) {
      admin(principal)
      return viewOf(flexvolId)
    },
    async create(principal, { cluster, name, aggregate, lif, junction_path, size_bytes }) {
      admin(principal)
      return application.create({
        cluster,
        name,
        aggregate,
        ...(lif !== undefined && { lif }),
        ...(junction_path !== undefined && { junctionPath: junction_path }),
        ...(size_bytes !== undefined && { sizeBytes: size_bytes }),
      })
    },
    async resize(principal, flexvolId, { size_bytes }) {
      admin(principal)
      await application.resize(flexvolId, size_bytes)
      return viewOf(flexvolId)
    },
    async remove(principal, flexvolId) {
      admin(principal)
      return application.remove(flexvolId)
    },
  }
}

/** As a pool of volumes it has a host string; as a share an export location. */
async function poolOrShare(
  shares: Pick<ShareRecords, 'find'>,
  host: string,
  flexvol: FlexVol,
): Promise<Pick<FlexVolView, 'host' | 'share'>> {
  const { shareId: id } = flexvol
  if (id === null) return { host: poolHost(host, flexvol), share: null }
  const name = (await shares.find(id))?.name ?? null
  return { host: null, share: { id, name, export_location: exportLocationOf(flexvol) } }
}

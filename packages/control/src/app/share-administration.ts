import { messageOf, type NfsClient, type NfsServerStatus, type ShareStatus } from '@volant/contract'
import type { ShareDetail, ShareMount, Share as ShareView } from '@volant/contract/ndo/share.ts'
import { placeText } from '../domain/aggregate-name.ts'
import { isUnderWay } from '../domain/flexvol-move.ts'
import { enforce } from '../domain/policy.ts'
import type { Principal } from '../domain/principal.ts'
import { shareClients } from '../domain/share-clients.ts'
import { exportLocationOf, shareHostOf, type Share, type ShareAccessRule } from '../domain/share.ts'
import type { Topology } from '../domain/topology.ts'
import { gib, type FlexVol } from '../domain/volume.ts'
import type { Agents } from '../ports/agents.ts'
import type { FlexVolMoves, Movement } from '../ports/flexvol-moves.ts'
import type { Places } from '../ports/places.ts'
import type { AttachmentRecords, FlexVolRecords, SnapshotRecords, VolumeRecords } from '../ports/records.ts'
import type { ShareAccessRecords, ShareRecords } from '../ports/shares.ts'

/** Shares for administrators: where they are, who has them mounted, and what serves them. Changes nothing. */
export interface ShareAdministration {
  /** Of all projects, oldest first. A node that does not answer leaves out only what it alone knows. */
  list(principal: Principal): Promise<ShareView[]>
  /** Throws `notFound`. */
  show(principal: Principal, shareId: string): Promise<ShareDetail>
}

export interface ShareAdministrationSources {
  shares: Pick<ShareRecords, 'list' | 'get'>
  access: Pick<ShareAccessRecords, 'ofShare'>
  flexvols: Pick<FlexVolRecords, 'list' | 'find'>
  volumes: Pick<VolumeRecords, 'find'>
  snapshots: Pick<SnapshotRecords, 'ofFlexVol' | 'countInFlexVol'>
  attachments: Pick<AttachmentRecords, 'ofVolume'>
  moves: Pick<FlexVolMoves, 'movements' | 'movementOf'>
  agents: Pick<Agents, 'shares' | 'holders'>
  places: Pick<Places, 'machineOf'>
  topology: Topology
}

/** What a storage node says of the shares that it serves. */
interface NodeAnswer {
  shares: ReadonlyMap<string, ShareStatus>
  servers: readonly NfsServerStatus[]
  clients: readonly NfsClient[]
}

/** A node's answer, or why there is none. */
type Asked = NodeAnswer | { reason: string }

export function createShareAdministration(sources: ShareAdministrationSources): ShareAdministration {
  const { shares, flexvols, moves } = sources
  const admin = (principal: Principal): void => enforce(principal, 'ndo:shares', 'admin')
  return {
    async list(principal) {
      admin(principal)
      const all = await shares.list()
      const [known, movements] = await Promise.all([flexvols.list(), moves.movements()])
      const asked = await askNodes(sources, all)
      return Promise.all(
        all.map(async (share) => {
          const flexvol = known.find(({ id }) => id === share.flexvolId)
          const rules = await sources.access.ofShare(share.id)
          return shareView(sources, {
            share,
            flexvol,
            rules,
            movement: flexvol && movements.get(flexvol.id),
            asked: asked.get(nodeOf(sources, share) ?? ''),
          })
        }),
      )
    },
    async show(principal, shareId) {
      admin(principal)
      const share = await shares.get(shareId)
      const flexvol = share.flexvolId === null ? undefined : await flexvols.find(share.flexvolId)
      const rules = await sources.access.ofShare(shareId)
      const asked = (await askNodes(sources, [share])).get(nodeOf(sources, share) ?? '')
      const movement = flexvol && (await moves.movementOf(flexvol.id))
      const view = await shareView(sources, { share, flexvol, rules, movement, asked })
      return detailOf(sources, { share, flexvol, rules, asked }, view)
    },
  }
}

/** The configuration can't change it while the cluster has shares. */
const nodeOf = ({ topology }: ShareAdministrationSources, { cluster }: Share): string | undefined =>
  topology.clusters.find(({ name }) => name === cluster)?.shares?.node

async function askNodes(
  sources: ShareAdministrationSources,
  shares: readonly Share[],
): Promise<Map<string, Asked>> {
  const nodes = new Set(shares.flatMap((share) => nodeOf(sources, share) ?? []))
  return new Map(await Promise.all([...nodes].map(async (node) => [node, await ask(sources, node)] as const)))
}

async function ask({ agents }: ShareAdministrationSources, node: string): Promise<Asked> {
  try {
    const agent = agents.shares(node)
    const [shares, servers, clients] = await Promise.all([
      agent.listShares(),
      agent.listServers(),
      agent.listClients(),
    ])
    return { shares: new Map(shares.map((one) => [one.shareId, one])), servers, clients }
  } catch (error) {
    return { reason: messageOf(error) }
  }
}

interface Facts {
  share: Share
  flexvol: FlexVol | undefined
  rules: readonly ShareAccessRule[]
  asked: Asked | undefined
}

async function shareView(
  sources: ShareAdministrationSources,
  facts: Facts & { movement: Movement | undefined },
): Promise<ShareView> {
  const { share, flexvol, movement, asked } = facts
  const status = statusOf(facts)
  const isAnswered = asked !== undefined && 'shares' in asked
  return {
    id: share.id,
    name: share.name,
    project_id: share.projectId,
    cluster: share.cluster,
    host: flexvol === undefined ? null : shareHostOf(sources.topology, flexvol),
    node: flexvol === undefined ? null : (nodeOf(sources, share) ?? null),
    flexvol: flexvol === undefined ? null : { id: flexvol.id, name: flexvol.name },
    export_location: flexvol === undefined ? null : exportLocationOf(flexvol),
    status: share.status,
    task_state: share.taskState,
    access_rules_status: share.accessRulesStatus,
    size_bytes: status?.fileSystem?.sizeBytes ?? share.sizeGib * gib,
    used_bytes: status?.fileSystem?.usedBytes ?? null,
    snapshots: flexvol === undefined ? 0 : await sources.snapshots.countInFlexVol(flexvol.id),
    clients: isAnswered ? mountsOf(facts).length : null,
    is_served: status?.export === undefined ? null : status.export.isServed,
    trouble: troubleOf(facts, nodeOf(sources, share)),
    move:
      movement !== undefined && isUnderWay(movement.move)
        ? {
            id: movement.move.id,
            state: movement.state,
            percent: movement.percentComplete,
            to: placeText(movement.move.to),
          }
        : null,
    created_at: share.createdAt,
  }
}

function statusOf({ share, asked }: Facts): ShareStatus | undefined {
  return asked !== undefined && 'shares' in asked ? asked.shares.get(share.id) : undefined
}

/** While it has another status its file system and export may be gone, or not be there yet. */
const isBeingServed = ({ status }: Share): boolean =>
  !['creating', 'creating_from_snapshot', 'deleting', 'error', 'error_deleting'].includes(status)

function troubleOf(facts: Facts, node: string | undefined): string | null {
  const { share, flexvol, rules, asked } = facts
  if (flexvol === undefined) return null
  if (node === undefined || asked === undefined)
    return `cluster ${share.cluster} serves no shares by the configuration`
  if ('reason' in asked) return `node ${node} does not answer: ${asked.reason}`
  const status = asked.shares.get(share.id)
  if (status?.fileSystem?.trouble !== undefined) return status.fileSystem.trouble
  const server = asked.servers.find(({ svm }) => svm === status?.export?.server.svm)
  if (server?.trouble !== undefined) return `its NFS server: ${server.trouble}`
  if (!isBeingServed(share)) return null
  if (status?.fileSystem === undefined) return `it is not mounted on node ${node}`
  if (status.export === undefined) {
    return rules.some(({ state }) => state === 'active') ? `it is not exported on node ${node}` : null
  }
  return status.export.isServed ? null : 'its NFS server does not serve it now'
}

/** By what the server was told, which is what it does. */
function mountsOf({ share, asked }: Facts): ShareMount[] {
  if (asked === undefined || 'reason' in asked) return []
  const served = asked.shares.get(share.id)?.export
  if (served === undefined) return []
  const clients = asked.clients.filter(({ svm }) => svm === served.server.svm)
  return shareClients(share.id, served.clients, clients).map(({ client, access, isCertain }) => ({
    address: client.address,
    version: client.version,
    access,
    is_certain: isCertain,
    last_seen: client.lastSeen,
  }))
}

async function detailOf(
  sources: ShareAdministrationSources,
  facts: Facts,
  view: ShareView,
): Promise<ShareDetail> {
  const { share, flexvol, rules } = facts
  const snapshots = flexvol === undefined ? [] : await sources.snapshots.ofFlexVol(flexvol.id)
  const volume = share.volumeId === null ? undefined : await sources.volumes.find(share.volumeId)
  return {
    share: view,
    mount_path: statusOf(facts)?.fileSystem?.mountPath ?? null,
    root_squash: share.rootSquash,
    access_rules: rules.map(({ id, accessTo, accessLevel, state }) => ({
      id,
      to: accessTo,
      level: accessLevel,
      state,
    })),
    snapshots: snapshots.map(({ id, name, status, createdAt, method }) => ({
      id,
      name,
      status,
      created_at: createdAt,
      method,
    })),
    mounts: mountsOf(facts),
    processes: await processesOf(sources, facts),
    volume_id: share.volumeId,
    image_id: volume?.imageId ?? null,
  }
}

/** From the server to the image. */
async function processesOf(
  sources: ShareAdministrationSources,
  facts: Facts,
): Promise<ShareDetail['processes']> {
  const { share, asked } = facts
  const status = statusOf(facts)
  const servers = asked !== undefined && 'servers' in asked ? asked.servers : []
  const server = servers.filter(({ svm }) => svm === status?.export?.server.svm)
  return [
    ...server.map(({ svm, pid }) => ({ what: `NFS server of ${svm}`, pid })),
    ...(status?.fileSystem?.pids ?? []).map((pid) => ({ what: 'block device', pid })),
    ...(await headOf(sources, share)),
  ]
}

async function headOf(
  { attachments, places, agents }: ShareAdministrationSources,
  share: Share,
): Promise<ShareDetail['processes']> {
  const [attachment] = share.volumeId === null ? [] : await attachments.ofVolume(share.volumeId)
  if (attachment === undefined || attachment.host === null) return []
  try {
    const holders = await agents.holders(places.machineOf(attachment)).listHolders()
    const head = holders.filter(({ holderId }) => holderId === attachment.headId)
    return head.map(({ pid }) => ({ what: 'volume head', pid }))
  } catch {
    // The share's node is told of in the view; of its machine's holders there is then nothing to tell.
    return []
  }
}

import { setImmediate as othersTurn, setTimeout as sleep } from 'node:timers/promises'
import { messageOf, type Caller, type InventoryItem } from '@volant/contract'
import type { Stray, SweepReport } from '@volant/contract/ndo/sweep.ts'
import type { Logger } from 'pino'
import {
  inRemovalOrder,
  judge,
  type Found,
  type Judgement,
  type OwnerRecords,
  type SweepPlace,
  type SweepPolicy,
} from '../domain/sweep.ts'
import { operationOf } from '../domain/stray.ts'
import { svmName } from '../domain/ontap/identity.ts'
import type { Topology } from '../domain/topology.ts'
import type { Copy } from '../domain/volume.ts'
import type { Agents } from '../ports/agents.ts'
import type { Backend } from '../ports/backend.ts'
import type { Clock } from '../ports/clock.ts'
import type { CopyRecords, FlexVolRecords } from '../ports/records.ts'
import type { Sweep, SweepRecords, SweepWish } from '../ports/sweep.ts'
import { every } from './every.ts'

export interface SweepPorts {
  topology: Topology
  agents: Agents
  owners: SweepRecords
  copies: Pick<CopyRecords, 'remove' | 'find'>
  flexvols: Pick<FlexVolRecords, 'list'>
  backend: Pick<Backend, 'ensureNoImage'>
  clock: Clock
  log: Logger
}

export interface SweepOptions extends SweepPolicy {
  /** Seconds for which tombstones are kept: as long as ended operations are remembered. */
  historySeconds: number
}

/** Bounds for an agent's answer: to what exists, and to a removal. Milliseconds. */
const inventoryWithinMs = 30_000
const removalWithinMs = 60_000
/** A client's I/O may be held meanwhile: no turn of the event loop is to be long. */
const judgedAtOnce = 500

export function createSweep(ports: SweepPorts, caller: Caller, options: SweepOptions): Sweep {
  let last: SweepReport | undefined
  let turn: Promise<unknown> = Promise.resolve()
  const pass = async (wish: SweepWish): Promise<SweepReport> => {
    // A look with a grace time of its own is no measure of what is left over.
    if (wish.dryRun === true && wish.graceSeconds !== undefined) {
      return sweepOnce(ports, caller, { ...options, graceSeconds: wish.graceSeconds }, true)
    }
    const report = await sweepOnce(ports, caller, options, wish.dryRun === true)
    logStrays(ports.log, report, last)
    last = report
    return report
  }
  return {
    last: () => last,
    run(wish = {}) {
      const mine = turn.then(() => pass(wish))
      turn = mine.catch(() => {}) // the caller of that pass is told
      return mine
    },
  }
}

/** A stray that stays is logged when it is first seen, not each minute. */
function logStrays(log: Logger, report: SweepReport, before: SweepReport | undefined): void {
  const known = new Set(before?.strays.map(({ place, id, action }) => `${place} ${id} ${action}`))
  for (const stray of report.strays) {
    if (known.has(`${stray.place} ${stray.id} ${stray.action}`)) continue
    log.warn({ stray }, `a stray was ${stray.action}: ${stray.kind} ${stray.what}: ${stray.reason}`)
  }
}

async function sweepOnce(
  ports: SweepPorts,
  caller: Caller,
  options: SweepOptions,
  dryRun: boolean,
): Promise<SweepReport> {
  const started_at = ports.clock.now().toISOString()
  // First what exists, then the records: whatever is made has its record before it exists, so what is found and has no
  // record by then is not on its way.
  const { found, unreachable } = await takeInventories(ports)
  const targets = await ports.owners.targets()
  found.push(...targets.map(reservationItem(ports.clock.now())))
  const silent = unreachable.filter(({ agent }) => agent === 'holders').map(({ name }) => name)
  const records = await readOwners(ports, found, silent)
  const judged: Judged[] = []
  for (const one of found) {
    judged.push({ ...one, judgement: judge(one, records, options) })
    if (judged.length % judgedAtOnce === 0) await othersTurn()
  }
  const isStray = ({ judgement }: { judgement: Judgement }): boolean => judgement.verdict.startsWith('stray')
  const strays: Stray[] = []
  for (const one of inRemovalOrder(await stillThere(ports, judged.filter(isStray)))) {
    strays.push(await settle(ports, caller, one, dryRun))
  }
  const before = new Date(ports.clock.now().getTime() - options.historySeconds * 1000)
  if (!dryRun) await ports.owners.forgetTombstones(before.toISOString())
  const count = (verdict: Judgement['verdict']): number =>
    judged.filter(({ judgement }) => judgement.verdict === verdict).length
  return {
    started_at,
    finished_at: ports.clock.now().toISOString(),
    dry_run: dryRun,
    examined: found.length,
    owned: count('owned'),
    busy: count('busy'),
    strays,
    unreachable: unreachable.map(({ reason, ...place }) => ({ place: placeText(place), reason })),
  }
}

/** Every agent that the topology names, and what it is called. */
function placesOf({ topology, agents }: Pick<SweepPorts, 'topology' | 'agents'>) {
  const nodes = topology.clusters.flatMap((cluster) => cluster.nodes)
  const machines = [...new Set([...topology.computeHosts, ...nodes].map(({ machine }) => machine))]
  return [
    ...nodes.map(({ name }) => ({ agent: 'storage' as const, name, of: () => agents.storage(name) })),
    ...nodes.map(({ name }) => ({ agent: 'shares' as const, name, of: () => agents.shares(name) })),
    ...machines.map((name) => ({ agent: 'holders' as const, name, of: () => agents.holders(name) })),
    ...topology.computeHosts.map(({ name }) => ({
      agent: 'compute' as const,
      name,
      of: () => agents.compute(name),
    })),
  ]
}

async function takeInventories(
  ports: SweepPorts,
): Promise<{ found: Found[]; unreachable: (SweepPlace & { reason: string })[] }> {
  const found: Found[] = []
  const unreachable: (SweepPlace & { reason: string })[] = []
  const look = async ({ agent, name, of }: ReturnType<typeof placesOf>[number]): Promise<void> => {
    const place: SweepPlace = { agent, name }
    try {
      const items = await within(inventoryWithinMs, async () => of().inventory())
      for (const item of items) found.push({ place, item })
    } catch (error) {
      unreachable.push({ ...place, reason: messageOf(error) })
    }
  }
  await Promise.all(placesOf(ports).map(look))
  return { found, unreachable }
}

const reservationItem =
  (now: Date) =>
  (copy: Copy): Found => ({
    place: { agent: 'database', name: 'database' },
    item: {
      kind: 'reservation',
      id: copy.imageId,
      what: `copy ${copy.imageId} of volume ${copy.volumeId} in ${copy.node}/${copy.aggregate}`,
      identity: copy.imageId,
      ageSeconds: Math.max(0, (now.getTime() - Date.parse(copy.createdAt)) / 1000),
      sizeBytes: copy.reservedBytes,
      pids: [],
      imageId: copy.imageId,
      volumeId: copy.volumeId,
    },
  })

/** All that the records say of what was found. */
async function readOwners(
  ports: SweepPorts,
  found: readonly Found[],
  silentMachines: readonly string[],
): Promise<OwnerRecords> {
  const { owners } = ports
  const idsOf = (pick: (item: Found['item']) => string | undefined): string[] =>
    found.map(({ item }) => pick(item)).filter((id) => id !== undefined)
  const imageIds = idsOf((item) => item.imageId)
  const holderIds = idsOf((item) => item.holderId)
  const copies = await owners.copies(imageIds)
  const attachments = await owners.attachments(holderIds)
  const shareIds = idsOf((item) => item.shareId)
  const shares = await owners.shares(shareIds)
  const tombstones = await owners.tombstones([
    ...shareIds.filter((id) => !shares.has(id)),
    ...imageIds.filter((id) => !copies.has(id)),
    ...holderIds.filter((id) => !attachments.has(id)),
  ])
  const operationIds = [
    ...holderIds.filter((id) => !attachments.has(id)),
    ...idsOf((item) => operationOf(item.jobId)),
    ...[...copies.values(), ...tombstones.values()].map(({ operationId }) => operationId),
  ].filter((id) => id !== null)
  const targets = [...copies.values()].filter(({ state }) => state === 'target')
  const volumeIds = [...attachments.values(), ...targets].map(({ volumeId }) => volumeId)
  const aggregates = await owners.aggregates()
  return {
    copies,
    attachments,
    tombstones,
    shares,
    nfsServers: new Set(
      ports.topology.clusters.flatMap((cluster) =>
        cluster.shares === undefined ? [] : [`${cluster.shares.node}/${svmName(cluster.name)}`],
      ),
    ),
    servers: await owners.servers(idsOf((item) => item.serverId)),
    volumes: await owners.volumes(volumeIds),
    snapshots: await owners.snapshots(targets.flatMap(({ snapshotId }) => snapshotId ?? [])),
    operations: await owners.operations(operationIds),
    unfinished: await owners.unfinished(),
    flexvols: new Map((await ports.flexvols.list()).map((flexvol) => [flexvol.id, flexvol])),
    aggregates,
    aggregateFiles: aggregateFilesOf(ports.topology, aggregates),
    machineOfNode: machineOfNodeIn(ports.topology),
    machineOfHost: new Map(ports.topology.computeHosts.map(({ name, machine }) => [name, machine])),
    standing: standingOn(found),
    silentMachines,
  }
}

const machineOfNodeIn = ({ clusters }: Topology): Map<string, string> =>
  new Map(clusters.flatMap(({ nodes }) => nodes.map(({ name, machine }) => [name, machine])))

/** The file of each aggregate that is one, as an agent names it; of the others it is not there. */
function aggregateFilesOf(topology: Topology, made: ReadonlyMap<string, string>): Set<string> {
  const machineOf = machineOfNodeIn(topology)
  const files = new Set<string>()
  for (const { name: node, aggregates } of topology.clusters.flatMap(({ nodes }) => nodes)) {
    for (const { path } of aggregates) files.add(`${machineOf.get(node)}:${path}.xfs`)
  }
  for (const [key, path] of made) {
    files.add(`${machineOf.get(key.slice(0, key.indexOf('/')))}:${path}.xfs`)
  }
  return files
}

/** Which holders stand on which image, as their own records have it. */
function standingOn(found: readonly Found[]): Map<string, string[]> {
  const standing = new Map<string, string[]>()
  for (const { item } of found) {
    if (item.kind !== 'holder' || item.imageId === undefined || item.holderId === undefined) continue
    standing.set(item.imageId, [...(standing.get(item.imageId) ?? []), item.holderId])
  }
  return standing
}

type Judged = Found & { judgement: Judgement }

/** What an operation took away between the two looks is no stray, though its record is gone, too. */
async function stillThere(ports: SweepPorts, strays: readonly Judged[]): Promise<Judged[]> {
  const places = placesOf(ports).filter(({ agent, name }) =>
    strays.some(({ place }) => place.agent === agent && place.name === name),
  )
  const now = new Map<string, string>()
  for (const { agent, name, of } of places) {
    const items = await within(inventoryWithinMs, async () => of().inventory()).catch(
      (): InventoryItem[] => [],
    )
    for (const item of items) now.set(`${agent} ${name} ${item.kind} ${item.id}`, item.identity)
  }
  return strays.filter(
    ({ place: { agent, name }, item }) =>
      agent === 'database' || now.get(`${agent} ${name} ${item.kind} ${item.id}`) === item.identity,
  )
}

/** Removes what carries a proof, and tells of the rest. */
async function settle(
  ports: SweepPorts,
  caller: Caller,
  { place, item, judgement }: Judged,
  dryRun: boolean,
): Promise<Stray> {
  const stray = {
    kind: item.kind,
    place: placeText(place),
    id: item.id,
    what: item.what,
    age_seconds: Math.round(item.ageSeconds),
    size_bytes: item.sizeBytes,
    pids: item.pids,
    reason: judgement.reason,
  }
  if (judgement.verdict !== 'stray-removable') {
    const advice = judgement.verdict === 'stray-reported' ? judgement.advice : null
    return { ...stray, proof: null, action: 'reported', advice }
  }
  const { proof } = judgement
  if (dryRun) return { ...stray, proof, action: 'would be removed', advice: null }
  try {
    await within(removalWithinMs, () => remove(ports, caller, place, item))
    return { ...stray, proof, action: 'removed', advice: null }
  } catch (error) {
    return { ...stray, proof, action: 'failed', advice: `${messageOf(error)} It is tried again.` }
  }
}

async function remove(
  ports: SweepPorts,
  caller: Caller,
  place: SweepPlace,
  item: Found['item'],
): Promise<void> {
  const { kind, ...rest } = item
  if (kind === 'reservation') {
    const copy = await ports.copies.find(item.id)
    if (copy?.state !== 'target') return
    await ports.backend.ensureNoImage(caller, copy)
    return ports.copies.remove(copy.imageId)
  }
  if (place.agent === 'database') return
  // The proof is of the share: its export is as finished as its file system, which it would keep.
  if (kind === 'file-system' && item.shareId !== undefined) {
    await ports.agents.shares(place.name).ensureNoShareExport(caller, item.shareId)
  }
  await ports.agents[place.agent](place.name).removeStray(caller, { ...rest, kind })
}

const agentNames = {
  storage: 'storage node',
  shares: 'shares of node',
  holders: 'machine',
  compute: 'compute host',
} as const

const placeText = ({ agent, name }: SweepPlace): string =>
  agent === 'database' ? name : `${agentNames[agent]} ${name}`

async function within<T>(ms: number, work: () => Promise<T>): Promise<T> {
  const bound = new AbortController()
  const late = sleep(ms, undefined, { signal: bound.signal, ref: false }).then(() => {
    throw new Error(`no answer within ${ms / 1000} s`)
  })
  late.catch(() => {})
  try {
    return await Promise.race([work(), late])
  } finally {
    bound.abort()
  }
}

/** One pass now, in the background, and then again and again; the returned function ends that. */
export function sweepEvery(sweep: Sweep, ms: number, log: Logger): () => Promise<void> {
  const pass = (): Promise<unknown> =>
    sweep.run().catch((error: unknown) => log.warn({ err: error }, `the sweep failed: ${messageOf(error)}`))
  const first = pass()
  const stop = every(ms, pass)
  return async () => {
    await stop()
    await first
  }
}

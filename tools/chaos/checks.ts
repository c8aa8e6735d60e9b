/** What must hold: some of it at every moment, all of it once the system was left alone for a while. */
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout as sleep } from 'node:timers/promises'
import { runningInstance } from '@volant/cli/instance/record.ts'
import { verifyVolume } from '@volant/cli/commands/probe.ts'
import { messageOf } from '@volant/contract/errors.ts'
import { straysLeft } from '@volant/contract/ndo/sweep.ts'
import { isSettled } from '@volant/contract/ndo/operation.ts'
import { processesOf, type Kind } from '../../test/crash/processes.ts'
import { acknowledged, assertNothingLost, type Job } from '../../test/migration/plane.ts'
import { ownedImages, truthOf } from '../../test/crash/world.ts'
import type { Tell } from './faults.ts'
import type { Place } from './place.ts'

/** For the system to come to rest, on a machine that does other things, too. */
const settleMs = 300_000

/** What is wrong at this moment, whatever is broken: by the database alone, which always answers a reader. */
export function problemsNow({ plane, jobs, extra }: Place): string[] {
  const problems: string[] = []
  const db = new DatabaseSync(join(plane.stateDir, 'volant.db'), { readOnly: true, timeout: 2000 })
  try {
    for (const { id, kind } of db
      .prepare("select id, kind from operations where state = 'needs-attention'")
      .all()) {
      problems.push(`${String(kind)} ${String(id)} needs attention`)
    }
    for (const { volumeId } of [...jobs, extra]) {
      const truths = db
        .prepare(
          "select count(*) as n from volumes v join copies c on c.image_id = v.image_id where v.id = ? and c.state = 'live'",
        )
        .get(volumeId)
      if (truths?.['n'] !== 1) problems.push(`volume ${volumeId} has ${String(truths?.['n'])} truths`)
    }
  } finally {
    db.close()
  }
  return problems
}

/** How the migrations ended: a run in which none was decided would prove little. Why some failed is for a person to judge. */
export function migrationsOf({ plane }: Place): string {
  const db = new DatabaseSync(join(plane.stateDir, 'volant.db'), { readOnly: true, timeout: 2000 })
  try {
    const rows = db
      .prepare(
        "select state, count(*) as n from operations where kind = 'volume.migrate' group by state order by state",
      )
      .all()
    const reasons = db
      .prepare(
        "select distinct failure ->> 'message' as reason from operations where kind = 'volume.migrate' and state = 'failed'",
      )
      .all()
      .map(({ reason }) => `; failed: ${String(reason).slice(0, 200)}`)
    return `migrations: ${rows.map((row) => `${String(row['n'])} ${String(row['state'])}`).join(', ') || 'none'}${reasons.join('')}`
  } finally {
    db.close()
  }
}

/** Waits until nothing is found any more; throws what is still found at the end of the bound. */
async function settled(
  what: string,
  place: Place,
  look: () => Promise<string[]>,
  signal: AbortSignal,
): Promise<void> {
  let problems: string[] = []
  for (const end = performance.now() + settleMs; ; await sleep(500)) {
    signal.throwIfAborted()
    const now = problemsNow(place)
    if (now.length > 0) throw new Error(now.join('\n'))
    try {
      problems = await look()
    } catch (error) {
      problems = [messageOf(error)]
    }
    if (problems.length === 0) return
    if (performance.now() > end) {
      throw new Error(`${what}: not in ${settleMs / 1000} s:\n  ${problems.join('\n  ')}`)
    }
  }
}

/** Nothing breaks any more: everything ends, nothing is lost, nothing is left over. */
export async function assertRest(place: Place, tell: Tell, signal: AbortSignal): Promise<string> {
  const { plane, jobs, extra } = place
  await settled('the control plane runs', place, () => controlPlaneProblems(place, tell), signal)
  await settled('every operation ends', place, () => operationProblems(place), signal)
  await settled('servers and volumes are well', place, () => statusProblems(place, tell), signal)
  const { status } = await plane.client.volume.show(extra.volumeId)
  const used = status === 'in-use' ? [...jobs, extra] : jobs
  await settled('the probes write', place, () => probeProblems(place, used), signal)
  for (const job of jobs) await assertNothingLost(plane, job)
  if (status === 'in-use') await assertNothingLost(plane, extra)
  else await assertKept(place)
  await settled('only the truths are open', place, () => dataPlaneProblems(place), signal)
  await settled('only the truths are left', place, () => copyProblems(place), signal)
  let swept = 0
  await settled(
    'the sweep finds no strays',
    place,
    async () => {
      const report = await plane.client.ndo.sweep()
      swept += report.strays.filter(({ action }) => action === 'removed').length
      const problems = report.unreachable.map(({ place: where, reason }) => `${where}: ${reason}`)
      if (straysLeft(report) > 0) problems.push(...report.strays.map((stray) => JSON.stringify(stray)))
      return problems
    },
    signal,
  )
  return `nothing lost, nothing stuck, nothing left over${swept === 0 ? '' : ` (the sweep removed ${swept} strays)`}`
}

/** A guest that was started again counts its writes from zero: the last count of its former life is no measure. */
async function probeProblems({ plane }: Place, used: readonly Job[]): Promise<string[]> {
  const counts = (): Promise<number[]> => Promise.all(used.map((job) => acknowledged(plane, job)))
  const before = await counts()
  await sleep(2000)
  const after = await counts()
  return used.flatMap(({ volumeId }, i) =>
    (after[i] as number) > (before[i] as number)
      ? []
      : [`nothing is written to volume ${volumeId} after ${before[i]} writes`],
  )
}

async function controlPlaneProblems({ plane }: Place, tell: Tell): Promise<string[]> {
  if ((await runningInstance(plane.stateDir)) === undefined) {
    tell('starts the control plane')
    await plane.start()
  }
  await plane.client.ndo.status()
  return []
}

/** Those that an operator has paused or slowed down are let go. */
async function operationProblems({ plane }: Place): Promise<string[]> {
  const { operations } = await plane.client.ndo.operations({ limit: 100 })
  const active = operations.filter(({ state }) => !isSettled(state))
  for (const { id, controls, kind } of active) {
    if (controls.paused) await plane.client.ndo.resume(id)
    if (kind === 'volume.migrate' && controls.rate_limit !== 0) await plane.client.ndo.setRate(id, 0)
  }
  return active.map(({ id, kind, state, step, attempts }) => {
    return `${kind} ${id} is ${state} at ${step}: ${attempts.at(-1)?.reason ?? 'no attempt failed'}`
  })
}

/** A guest that was killed is not started by Volant, but by its owner. */
async function statusProblems({ plane, jobs, extra }: Place, tell: Tell): Promise<string[]> {
  const problems: string[] = []
  for (const { serverId } of jobs) {
    const server = await plane.client.compute.show(serverId)
    const power = server['OS-EXT-STS:power_state']
    if (server.status === 'ACTIVE' && power === 1) continue
    problems.push(`server ${serverId} is ${server.status}, power ${String(power)}`)
    if (server.status !== 'SHUTOFF') continue
    tell(`starts server ${serverId}`)
    await plane.client.compute.start(serverId)
  }
  for (const { volumeId } of [...jobs, extra]) {
    const volume = await plane.client.volume.show(volumeId)
    const right = volumeId === extra.volumeId ? ['in-use', 'available'] : ['in-use']
    if (!right.includes(volume.status)) problems.push(`volume ${volumeId} is ${volume.status}`)
    const migration = volume['os-vol-mig-status-attr:migstat'] ?? ''
    if (['starting', 'migrating', 'completing'].includes(migration)) {
      problems.push(`volume ${volumeId} has migration_status ${migration}, and no operation`)
    }
  }
  return problems
}

/** Of the volume that nobody uses: what the guest was told is there, by the guest's console. */
async function assertKept({ plane, jobs, extra }: Place): Promise<void> {
  const placement = await plane.client.ndo.placement(jobs[0]?.volumeId ?? '')
  const report = await verifyVolume(plane.client, extra.volumeId, [placement.console_log_path as string])
  if (!report.ok) throw new Error(`the extra volume is not right: ${JSON.stringify(report)}`)
}

/** Each truth is open once, in an export where its volume is in use; no other image is open at all. */
async function dataPlaneProblems({ plane, jobs, extra }: Place): Promise<string[]> {
  const { status } = await plane.client.volume.show(extra.volumeId)
  const used = [...jobs, ...(status === 'in-use' ? [extra] : [])]
  const truths = used.map(({ volumeId }) => truthOf(plane.stateDir, volumeId).imageId)
  const processes = await processesOf(plane.stateDir)
  const open = processes.flatMap(({ pid, kind, images }) => images.map((image) => ({ pid, kind, image })))
  const problems = open
    .filter(({ kind, image }) => kind !== 'export' || !truths.includes(image))
    .map(({ pid, kind, image }) => `${kind} ${pid} has image ${image} open`)
  for (const truth of truths) {
    const times = open.filter(({ image }) => image === truth).length
    if (times !== 1) problems.push(`the truth ${truth} is open ${times} times`)
  }
  const expected: Record<Kind, number> = {
    'control plane': 1,
    'storage agent': 2,
    'compute agent': 1,
    guest: jobs.length,
    holder: used.length,
    export: used.length,
    keeper: 2 * used.length,
    copy: 0,
    guard: 0,
    // There are no shares here.
    'NFS server': 0,
    'message bus': 0,
    'block device supervisor': 0,
    'block device worker': 0,
    unknown: 0,
  }
  for (const [kind, count] of Object.entries(expected)) {
    const found = processes.filter((process) => process.kind === kind)
    if (found.length === count) continue
    const commands = found.map(({ pid, command }) => `\n    ${pid} ${command.slice(0, 200)}`)
    problems.push(`${found.length} processes of kind '${kind}', not ${count}${commands.join('')}`)
  }
  return problems
}

/** Rows and files of images: of each volume one. */
async function copyProblems({ plane, disksDir, jobs, extra }: Place): Promise<string[]> {
  const problems: string[] = []
  for (const { volumeId } of [...jobs, extra]) {
    const { imageId, copies } = truthOf(plane.stateDir, volumeId)
    for (const copy of copies) {
      if (copy.imageId !== imageId) problems.push(`volume ${volumeId} has a copy that is ${copy.state}`)
    }
  }
  const owned = ownedImages(plane.stateDir)
  for (const cluster of ['lma', 'lmb']) {
    const folder = join(disksDir, cluster, 'aggr1')
    for (const file of await readdir(folder, { recursive: true, withFileTypes: true })) {
      if (file.isDirectory() || file.name === '.filler') continue
      if (!owned.some((image) => file.name.includes(image))) problems.push(`a file of nobody: ${file.name}`)
    }
  }
  return problems
}

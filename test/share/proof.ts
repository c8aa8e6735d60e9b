/**
 * The proof of shares: clients that hold a share mounted hard, and files of it open, locked, deleted and mapped, while it
 * changes its aggregate, grows, is snapshotted, while others get and lose access, and every process below them is killed.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { messageOf } from '@volant/contract/errors.ts'
import { until } from '../migration/plane.ts'
import { rowsOf } from '../move/place.ts'
import { chainRoles, type ChainRole } from './chain.ts'
import { openSharePlane, type AggregateName, type SharePlane } from './plane.ts'
import { aggregateNames } from './remains.ts'
import { newReport, type Report } from './report.ts'
import { killNow, openShareUser, type ShareUser } from './users.ts'

export interface ProofOptions {
  migrations: number
  /** How often each process is killed. */
  kills: number
  /** The aggregates are on two storage nodes. */
  apart?: boolean
  say(text: string): void
}

interface Proof {
  place: SharePlane
  user: ShareUser
  shareId: string
  report: Report
  sizeGiB: number
  say(text: string): void
}

const projectClients = ['10.97.0.101', '10.97.0.102']

export async function prove(options: ProofOptions): Promise<Report> {
  const { say } = options
  const report = newReport()
  const place = await openSharePlane({ ...(options.apart === true ? { apart: true } : {}), say })
  try {
    const { manila } = place
    const shareId = await manila.create({ name: 'proof', size: 1 })
    for (const client of projectClients) await manila.allow(shareId, client)
    const guests = [await place.addGuest('client-1'), await place.addGuest('client-2')] as const
    const user = await openShareUser(...guests, await manila.exportPath(shareId))
    const proof: Proof = { place, user, shareId, report, sizeGiB: 1, say }
    say('the share is mounted, and everything goes on')
    const quiet = Date.now()
    await sleep(2000)
    report.quietMs = (await user.goesOn(quiet)).pauseMs
    await live(proof, options)
    await atRest(proof)
  } catch (error) {
    report.problems.push(messageOf(error))
    say(`FAILED: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`)
  } finally {
    if (report.problems.length > 0) process.env['VOLANT_TEST_KEEP'] ??= '1'
    try {
      report.problems.push(...(await place.close()))
    } catch (error) {
      report.problems.push(messageOf(error))
    }
    if (report.problems.length > 0) say(`kept: ${place.plane.stateDir}`)
  }
  return report
}

/** One after the other, each with all that must hold afterwards; the first that goes wrong is the last. */
async function live(proof: Proof, { migrations, kills }: ProofOptions): Promise<void> {
  const kinds = [...chainRoles, 'control plane'] as const
  const all = Array.from({ length: kills }, () => kinds).flat()
  for (let round = 1; round <= migrations; round++) {
    if (round === 1) await eventOf(proof, 'extend', extend)
    const snapshots: string[] = []
    await eventOf(proof, 'take a snapshot', async ({ place: { manila }, shareId }) => {
      snapshots.push(await manila.snapshot(shareId, `snapshot-${round}`))
    })
    await eventOf(proof, 'rules of others', othersRules)
    const to = aggregateNames[round % 2] as AggregateName
    // Its share of the kills falls into the time while the copy waits for its second phase.
    const within = all.splice(0, Math.ceil(all.length / (migrations - round + 1)))
    await migrate(proof, to, within)
    await eventOf(proof, 'delete a snapshot', async ({ place: { manila } }) => {
      for (const id of snapshots) await manila.removeSnapshot(id)
    })
    await verify(proof)
  }
}

/** Runs it, waits until every work has gone on, and looks at all that must hold. */
async function eventOf(proof: Proof, kind: string, deed: (proof: Proof) => Promise<void>): Promise<void> {
  const { user, report, say } = proof
  const from = Date.now()
  await deed(proof)
  const took = Date.now() - from
  const { pauseMs, slowest } = await user.goesOn(from)
  say(`  ${kind}: ${took} ms; the client's longest record ${pauseMs} ms; slowest of all: ${slowest}`)
  report.pauses.set(kind, [...(report.pauses.get(kind) ?? []), pauseMs])
  report.took.set(kind, [...(report.took.get(kind) ?? []), took])
  const problems = await user.look()
  if (problems.length > 0) throw new Error(`after "${kind}": ${problems.join('\n')}`)
}

async function extend(proof: Proof): Promise<void> {
  await proof.place.manila.extend(proof.shareId, ++proof.sizeGiB)
  const { bytes } = await proof.user.guest.must('space', { folder: '/mnt/share' })
  const wanted = proof.sizeGiB * 2 ** 30
  // What the file system keeps of it for itself is not told as its size.
  if (Number(bytes) < 0.9 * wanted || Number(bytes) > wanted) {
    throw new Error(`the client sees ${String(bytes)} bytes of ${wanted}`)
  }
}

/** Rules for machines that are not these clients come and go. */
async function othersRules({ place: { manila }, shareId }: Proof): Promise<void> {
  const rules = [
    await manila.allow(shareId, '10.97.0.201', 'ro'),
    await manila.allow(shareId, '10.97.4.0/24', 'rw'),
  ]
  for (const rule of rules) await manila.deny(shareId, rule)
}

async function migrate(
  proof: Proof,
  to: AggregateName,
  kills: readonly (ChainRole | 'control plane')[],
): Promise<void> {
  const { place, shareId, say } = proof
  const { manila } = place
  say(`to ${to}`)
  const host = await place.poolOf(to)
  await eventOf(proof, 'migration, first phase', async () => {
    await manila.startMigration(shareId, host)
    await manila.untilPhase1(shareId)
  })
  for (const kind of kills) await eventOf(proof, `kill: ${kind}`, () => kill(place, kind))
  // What was killed may have made the copy begin anew.
  await manila.untilPhase1(shareId)
  await eventOf(proof, 'migration, cutover', () => manila.completeMigration(shareId))
  const at = await manila.hostOf(shareId)
  if (at !== host) throw new Error(`the share is at ${at}, not at ${host}`)
}

/** SIGKILL, and it is waited until another one does its work. */
async function kill(place: SharePlane, kind: ChainRole | 'control plane'): Promise<void> {
  if (kind === 'control plane') {
    await place.plane.kill()
    await place.plane.start()
    return
  }
  const pidsOf = (): number[] => place.chain().flatMap(({ role, pid }) => (role === kind ? [pid] : []))
  const before = pidsOf()
  if (before.length === 0) throw new Error(`there is no process that is the ${kind}`)
  for (const pid of before) killNow(pid)
  await until(`there is another ${kind}`, 60_000, () => {
    const now = pidsOf()
    return Promise.resolve(now.length >= before.length && !now.some((pid) => before.includes(pid)))
  })
}

async function verify({ user, report, say }: Proof): Promise<void> {
  const { problems, acknowledged } = await user.verify()
  report.acknowledged = acknowledged
  report.verified++
  say(`  ${acknowledged} records are looked for: ${problems.length} are lost`)
  if (acknowledged === 0) problems.push('nothing was written, so nothing is proved')
  if (problems.length > 0) throw new Error(problems.slice(0, 20).join('\n'))
}

/** The clients go; a share that is deleted leaves nothing; nothing is left for the sweep. */
async function atRest({ place, user, report, say }: Proof): Promise<void> {
  const { manila, plane } = place
  const spare = await manila.create({ name: 'spare', size: 1 })
  await manila.removeSnapshot(await manila.snapshot(spare, 'spare'))
  await manila.remove(spare)
  report.problems.push(...(await user.leave()))
  const { strays, unreachable } = await plane.client.ndo.sweep({ dryRun: true, graceSeconds: 0 })
  report.problems.push(
    ...strays.map(({ kind, what, reason }) => `the sweep finds ${kind} ${what}: ${reason}`),
    ...unreachable.map(({ place: name, reason }) => `the sweep cannot ask ${name}: ${reason}`),
  )
  const open = rowsOf(plane.stateDir, 'select kind, id, state from operations where ended_at is null')
  report.problems.push(...open.map((row) => `not ended: ${JSON.stringify(row)}`))
  // Each is looked through when all has ended.
  if (place.imageCount() !== 1) report.problems.push(`there are ${place.imageCount()} images, and not one`)
  say('the clients have gone')
}

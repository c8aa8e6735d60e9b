/**
 * The proof of drains: three compute hosts and a storage node on machines of their own; servers whose guests write all
 * along, one live-migrated with a port and two volumes, one moved cold, one stopped; the host they are on is emptied and
 * filled again and again, and the control plane killed meanwhile.
 */
import { messageOf } from '@volant/contract/errors.ts'
import { registerQuietProbe } from '../crash/world.ts'
import { carryOut } from './drain.ts'
import { assertSweptClean, placeProblems, settled } from './invariants.ts'
import { newReport, type Report } from './report.ts'
import { openHostRig, type HostRig } from './rig.ts'
import { assertNothingLost, bootWriter, hostOf, untilStatus, writesOn, type Writer } from './writers.ts'

export interface ProofOptions {
  rounds: number
  /** How often the control plane is killed under the drain of every other round. */
  kills: number
  say(text: string): void
}

interface Proof {
  rig: HostRig
  writers: Map<'live' | 'cold' | 'stop', Writer>
  report: Report
  say(text: string): void
}

const drained = 'compute-1'

export async function prove({ rounds, kills, say }: ProofOptions): Promise<Report> {
  const report = newReport()
  const rig = await openHostRig({ hosts: 3 })
  try {
    await registerQuietProbe(rig.plane)
    const proof: Proof = { rig, writers: new Map(), report, say }
    for (const policy of ['live', 'cold', 'stop'] as const) {
      const more = policy === 'live' ? { volumes: 2, hasPort: true } : {}
      const metadata = { 'volant:drain': policy }
      proof.writers.set(policy, await bootWriter(rig, { name: policy, host: drained, metadata, ...more }))
    }
    say('all guests write')
    for (let round = 1; round <= rounds; round++) {
      const killed = round % 2 === 0 ? kills : 0
      await emptied(proof, killed)
      await filled(proof, killed)
      report.rounds = round
      say(`round ${round}: ${report.acknowledged} writes, none lost`)
    }
    await assertSweptClean(rig)
  } catch (error) {
    report.problems.push(messageOf(error))
    say(`FAILED: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`)
    process.env['VOLANT_TEST_KEEP'] ??= '1'
  } finally {
    await rig.close().catch((error: unknown) => report.problems.push(messageOf(error)))
  }
  return report
}

async function emptied(proof: Proof, kills: number): Promise<void> {
  const { rig, writers } = proof
  await carriedOut(proof, 'drain', kills)
  for (const [policy, writer] of writers) {
    if (policy === 'stop') {
      await untilStatus(rig.plane, writer.serverId, 'SHUTOFF')
      continue
    }
    if (policy === 'cold') writer.boots++
    const host = await hostOf(rig.plane, writer)
    if (host === drained) throw new Error(`server ${writer.serverId} is still on ${drained}`)
    await writesOn(rig, writer)
  }
  await verified(proof)
}

async function filled(proof: Proof, kills: number): Promise<void> {
  const { rig, writers } = proof
  await carriedOut(proof, 'restore', kills)
  for (const [policy, writer] of writers) {
    if (policy !== 'live') writer.boots++
    const host = await hostOf(rig.plane, writer)
    if (host !== drained) throw new Error(`server ${writer.serverId} is on ${host}`)
    await untilStatus(rig.plane, writer.serverId, 'ACTIVE')
    await writesOn(rig, writer)
  }
  await settled(() => placeProblems(rig, [...writers.values()]))
  await verified(proof)
}

async function carriedOut(
  { rig, report, say }: Proof,
  kind: 'drain' | 'restore',
  kills: number,
): Promise<void> {
  const { ms, pauses, kills: killed } = await carryOut(rig, kind, drained, { kills })
  const name = kills > 0 ? `${kind}, the control plane killed` : kind
  report.took.set(name, [...(report.took.get(name) ?? []), ms])
  report.pauses.push(...pauses)
  report.kills += killed
  say(
    `  ${name} ${killed} times: ${(ms / 1000).toFixed(1)} s; guests stood still for ${pauses.join(', ')} ms`,
  )
}

async function verified({ rig, writers, report }: Proof): Promise<void> {
  let acknowledged = 0
  for (const writer of writers.values()) {
    for (const found of await assertNothingLost(rig, writer)) {
      acknowledged += found.acknowledgedWrites
      report.longestWriteMs = Math.max(report.longestWriteMs, found.maxLatencyMs)
    }
  }
  report.acknowledged = acknowledged
  report.verified++
}

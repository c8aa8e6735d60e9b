/** What must hold whenever nothing is under way: one place runs a server, one has access to its volumes, nothing is left over. */
import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { processesOf } from '../crash/processes.ts'
import { unfinishedOperations } from '../crash/world.ts'
import { rowsOf } from '../move/place.ts'
import type { HostRig, Machine } from './rig.ts'
import { hostOf, untilStatus, type Writer } from './writers.ts'

/** A bound for what background passes do: heads every 10 s, guests every 2 s. */
const settleMs = 60_000

/** Waits until nothing is found any more; what is found at the end of the bound is the failure. */
export async function settled(look: () => Promise<string[]>): Promise<void> {
  let problems = await look()
  for (const end = Date.now() + settleMs; problems.length > 0 && Date.now() < end; problems = await look()) {
    await sleep(200)
  }
  assert.deepEqual(problems, [])
}

/** Of all servers of the rig these are the ones that run, each on the host that its record names. */
export async function assertRunsOnlyAt(rig: HostRig, writer: Writer, host: string): Promise<void> {
  await untilStatus(rig.plane, writer.serverId, 'ACTIVE')
  assert.equal(await hostOf(rig.plane, writer), host)
  await settled(() => placeProblems(rig, [writer]))
}

/** By the processes of the machines and what they have open, not by what Volant says. */
export async function placeProblems(rig: HostRig, writers: readonly Writer[]): Promise<string[]> {
  const problems: string[] = []
  for (const machine of rig.hosts) problems.push(...(await hostProblems(rig, machine, writers)))
  problems.push(...(await storageProblems(rig, writers)))
  problems.push(...unfinishedOperations(rig.plane.stateDir).map((operation) => `not ended: ${operation}`))
  return problems
}

async function hostProblems(rig: HostRig, machine: Machine, writers: readonly Writer[]): Promise<string[]> {
  const servers = rowsOf(
    rig.plane.stateDir,
    'select id from servers where host = ? and deleted_at is null and vm_state in (?, ?)',
    machine.name,
    'active',
    'paused',
  ).map((row) => String(row['id']))
  const here = writers.filter(({ serverId }) => servers.includes(serverId))
  const processes = await processesOf(machine.stateDir)
  const guests = processes.filter(({ kind }) => kind === 'guest')
  const expected = {
    guest: servers.length,
    holder: here.reduce((sum, { volumeIds }) => sum + volumeIds.length, 0),
    'compute agent': 1,
    unknown: 0,
  }
  return [
    ...Object.entries(expected).flatMap(([kind, count]) => {
      const found = processes.filter((process) => process.kind === kind)
      if (found.length === count) return []
      return [
        `${found.length} of kind '${kind}' at ${machine.name}, not ${count}: ${found.map((p) => `${p.pid} ${p.command.slice(0, 120)}`).join('; ')}`,
      ]
    }),
    ...guests
      .filter(({ command }) => !servers.some((id) => command.includes(`guest=${id}`)))
      .map(
        ({ pid, command }) =>
          `${machine.name} runs ${pid} ${command.slice(0, 80)}, which is not there by the record`,
      ),
  ]
}

/** Each volume's image is open once. */
async function storageProblems(rig: HostRig, writers: readonly Writer[]): Promise<string[]> {
  const processes = await processesOf(rig.storage.stateDir)
  const exports = processes.filter(({ kind }) => kind === 'export')
  const volumes = writers.flatMap(({ volumeIds }) => volumeIds)
  const truths = volumes.map((id) =>
    String(rowsOf(rig.plane.stateDir, 'select image_id from volumes where id = ?', id)[0]?.['image_id']),
  )
  const problems =
    exports.length === volumes.length ? [] : [`${exports.length} exports of ${volumes.length} volumes`]
  for (const truth of truths) {
    const open = processes.filter(({ images }) => images.includes(truth))
    if (open.length !== 1)
      problems.push(`image ${truth} is open in ${open.length} processes of the storage node`)
  }
  return problems
}

/** What Volant itself would call a stray; nothing may be left for the sweep to find. */
export async function assertSweptClean({ plane }: HostRig): Promise<void> {
  await settled(async () => {
    const { strays, unreachable } = await plane.client.ndo.sweep({ dryRun: true, graceSeconds: 0 })
    return [
      ...strays.map(({ kind, what, reason }) => `the sweep finds ${kind} ${what}: ${reason}`),
      ...unreachable.map(({ place, reason }) => `the sweep cannot ask ${place}: ${reason}`),
    ]
  })
}

/** What must hold after every cell: the share is served as before, and nothing else is there. */
import assert from 'node:assert/strict'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { messageOf } from '@volant/contract/errors.ts'
import { rowsOf } from '../../move/place.ts'
import { processesOf, type Kind } from '../processes.ts'
import { unfinishedOperations } from '../world.ts'
import { shareRow } from './api.ts'
import { admittedProblems, refusedProblems, rootHandle } from './clients.ts'
import { aggregateNames, loopsBelow, mountsBelow } from '../../share/remains.ts'
import type { ShareWorld } from './world.ts'

/** A bound for what background passes do: retention every 2 s, heads every 10 s, agents that are started again. */
const settleMs = 60_000

export async function assertShareInvariants(world: ShareWorld): Promise<void> {
  const { served, admitted, stranger, handle, writer } = world
  await settled(() => recordProblems(world))
  await settled(() => processProblems(world))
  await writer.goesOn()
  assert.deepEqual(await writer.check(), [])
  assert.deepEqual(await admittedProblems(served, admitted), [])
  assert.deepEqual(await refusedProblems(served, stranger, handle), [])
  assert.deepEqual(await rootHandle(served, admitted), handle, 'the handle of the share has changed')
  await settled(() => litter(world))
  await settled(() => sweepProblems(world))
}

/** Waits until nothing is found any more; what is found at the end of the bound is the failure. */
async function settled(look: () => Promise<string[]>): Promise<void> {
  let problems = await look()
  for (const end = Date.now() + settleMs; problems.length > 0 && Date.now() < end; problems = await look()) {
    await sleep(200)
  }
  assert.deepEqual(problems, [])
}

/** One share, one FlexVol, one image, one rule. */
async function recordProblems({ plane, shareId }: ShareWorld): Promise<string[]> {
  const { stateDir } = plane
  const problems = unfinishedOperations(stateDir).map((operation) => `not ended: ${operation}`)
  const share = shareRow(stateDir, shareId)
  if (share?.['status'] !== 'available') problems.push(`the share is ${share?.['status']}`)
  if (share?.['access_rules_status'] !== 'active') {
    problems.push(`the share's rules are ${share?.['access_rules_status']}`)
  }
  const expected = { shares: 1, flexvols: 1, volumes: 1, copies: 1, attachments: 1, share_access_rules: 1 }
  for (const [table, count] of Object.entries(expected)) {
    const rows = rowsOf(stateDir, `select * from ${table}`)
    if (rows.length !== count) problems.push(`${rows.length} rows of ${table}: ${JSON.stringify(rows)}`)
  }
  const [copy] = rowsOf(stateDir, 'select * from copies')
  const [flexvol] = rowsOf(stateDir, 'select * from flexvols')
  const [volume] = rowsOf(stateDir, 'select * from volumes')
  if (volume?.['image_id'] !== copy?.['image_id'] || copy?.['state'] !== 'live') {
    problems.push(
      `the volume's image is ${volume?.['image_id']}, there is ${copy?.['state']} ${copy?.['image_id']}`,
    )
  }
  if (flexvol?.['aggregate'] !== copy?.['aggregate'] || flexvol?.['destination_aggregate'] !== null) {
    problems.push(
      `the FlexVol is at ${flexvol?.['aggregate']}, on its way to ${flexvol?.['destination_aggregate']}`,
    )
  }
  return problems
}

/** Each part of the chain is there once, and has the truth open; nothing else runs. */
async function processProblems({ plane }: ShareWorld): Promise<string[]> {
  const { stateDir } = plane
  const processes = await processesOf(stateDir)
  const expected: Partial<Record<Kind, number>> = {
    'control plane': 1,
    'storage agent': 1,
    'compute agent': 0,
    guest: 0,
    holder: 1,
    export: 0,
    guard: 0,
    copy: 0,
    'block device supervisor': 1,
    'block device worker': 1,
    'NFS server': 1,
    'message bus': 1,
    unknown: 0,
  }
  const problems = Object.entries(expected).flatMap(([kind, count]) => {
    const found = processes.filter((process) => process.kind === kind)
    if (found.length === count) return []
    return [
      `${found.length} processes of kind '${kind}', not ${count}: ${found.map((p) => p.command).join('; ')}`,
    ]
  })
  const truth = String(rowsOf(stateDir, 'select image_id from volumes')[0]?.['image_id'])
  const open = processes.flatMap(({ kind, images }) => images.map((image) => `${kind} ${image}`))
  if (open.join() !== `holder ${truth}`)
    problems.push(`open is ${open.join(', ') || 'nothing'}, not holder ${truth}`)
  return problems
}

/** Files of images, mounts, loop devices and records of agents that belong to nothing. */
async function litter({ plane, shareId, folderOf }: ShareWorld): Promise<string[]> {
  const { stateDir } = plane
  const problems: string[] = []
  const truth = String(rowsOf(stateDir, 'select image_id from copies')[0]?.['image_id'])
  for (const aggregate of aggregateNames) {
    for (const entry of await readdir(folderOf(aggregate), { recursive: true, withFileTypes: true })) {
      if (!entry.isDirectory() && entry.name !== truth) problems.push(`file ${entry.name} at ${aggregate}`)
    }
  }
  const ofShares = (paths: string[]): string[] => paths.filter((path) => path.includes('/file-systems/'))
  const mounts = ofShares(mountsBelow(stateDir))
  if (mounts.length !== 2 || mounts.some((path) => !path.includes(shareId))) {
    problems.push(`mounted: ${mounts.join(', ')}`)
  }
  const loops = ofShares(loopsBelow(stateDir))
  if (loops.length !== 1 || loops.some((path) => !path.includes(shareId))) {
    problems.push(`loop devices over: ${loops.join(', ')}`)
  }
  problems.push(...(await strayFiles(stateDir, [shareId, attachmentId(stateDir)])))
  return problems
}

const attachmentId = (stateDir: string): string =>
  String(rowsOf(stateDir, 'select id from attachments')[0]?.['id'])

/** What agents keep for something that is not there. */
async function strayFiles(stateDir: string, known: readonly string[]): Promise<string[]> {
  const problems: string[] = []
  for (const folder of ['run', 'machines', 'nodes', 'shares']) {
    const entries = await readdir(join(stateDir, folder), { recursive: true, withFileTypes: true }).catch(
      (error: unknown) => messageOf(error),
    )
    // What goes while it is looked at: it is looked at again.
    if (typeof entries === 'string') return [entries]
    for (const entry of entries) {
      const path = `${entry.parentPath}/${entry.name}`.slice(stateDir.length)
      // What clients wrote, and what the NFS server remembers of them.
      if (path.includes('/mount/') || path.includes('/recovery/')) continue
      if (!/[0-9a-f]{8}-[0-9a-f]{4}-/.test(entry.name)) continue
      if (!known.some((id) => entry.name.includes(id))) problems.push(`file ${path}`)
    }
  }
  return problems
}

/** What Volant itself would call a stray; nothing may be left for the sweep to find. */
async function sweepProblems({ plane }: ShareWorld): Promise<string[]> {
  const { strays, unreachable } = await plane.client.ndo.sweep({ dryRun: true, graceSeconds: 0 })
  return [
    ...strays.map(({ kind, what, reason }) => `the sweep finds ${kind} ${what}: ${reason}`),
    ...unreachable.map(({ place, reason }) => `the sweep cannot ask ${place}: ${reason}`),
  ]
}

/** What must hold after every crash of a move, once it has ended. */
import assert from 'node:assert/strict'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { check, guestsSaw, imagePath } from '../../move/cast.ts'
import { aggregateNames, flexvolName, rowsOf } from '../../move/place.ts'
import { processesOf, type Kind } from '../processes.ts'
import { unfinishedOperations } from '../world.ts'
import type { MoveWorld } from './world.ts'

/** A bound for what background passes do: retention every 2 s, heads every 10 s, agents that are started again. */
const settleMs = 60_000

/** Everything is at `aggregate`, holds what it held, is open where it is used, and nothing else is left. */
export async function assertMoveInvariants(world: MoveWorld, aggregate: string): Promise<void> {
  await settled(() => placeProblems(world, aggregate))
  await settled(() => processProblems(world))
  await settled(() => litter(world))
  const problems: string[] = []
  for (const volume of world.volumes) problems.push(...(await check(world.place, volume)).problems)
  const { errors } = await guestsSaw(world.place)
  if (errors > 0) problems.push(`the guest saw ${errors} errors or wrong blocks`)
  assert.deepEqual(problems, [])
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

/** The records: the FlexVol and every image of it are there, once. */
async function placeProblems({ place, volumes }: MoveWorld, aggregate: string): Promise<string[]> {
  const { stateDir } = place.plane
  const problems = unfinishedOperations(stateDir).map((operation) => `not ended: ${operation}`)
  for (const row of rowsOf(stateDir, 'select aggregate, destination_aggregate as d from flexvols')) {
    if (row['aggregate'] !== aggregate || row['d'] !== null) {
      problems.push(`the FlexVol is at ${row['aggregate']}, on its way to ${row['d']}`)
    }
  }
  const copies = rowsOf(stateDir, 'select image_id, state, aggregate from copies')
  for (const { image_id, state, aggregate: at } of copies) {
    if (state !== 'live' || at !== aggregate) problems.push(`image ${image_id} is ${state} at ${at}`)
  }
  const images = volumes.length + volumes.reduce((sum, volume) => sum + volume.snapshots.length, 0)
  if (copies.length !== images) problems.push(`${copies.length} images are on record, not ${images}`)
  return problems
}

/** The attached volume's image is open once, in its head; no other image is open at all, and nothing else runs. */
async function processProblems({ where, place, volumes }: MoveWorld): Promise<string[]> {
  const processes = await processesOf(place.plane.stateDir)
  const isApart = where === 'apart'
  const expected: Partial<Record<Kind, number>> = {
    'control plane': 1,
    'storage agent': isApart ? 2 : 1,
    'compute agent': 1,
    guest: 1,
    holder: 1,
    export: isApart ? 1 : 0,
    // Of each listening socket: the head's, and the export's.
    keeper: isApart ? 2 : 1,
    guard: 0,
    copy: 0,
    unknown: 0,
  }
  const problems = Object.entries(expected).flatMap(([kind, count]) => {
    const found = processes.filter((process) => process.kind === kind)
    if (found.length === count) return []
    return [
      `${found.length} processes of kind '${kind}', not ${count}: ${found.map((p) => p.command).join('; ')}`,
    ]
  })
  const live = volumes.filter(({ guest }) => guest !== null).map(({ id }) => imagePath(place, 'volume', id))
  const open = processes.flatMap(({ kind, images }) => images.map((image) => `${kind} ${image}`))
  const opener = isApart ? 'export' : 'holder'
  const right = live.map((path) => `${opener} ${path.slice(path.lastIndexOf('/') + 1)}`)
  if (open.toSorted().join() !== right.toSorted().join()) {
    problems.push(`open is ${open.join(', ') || 'nothing'}, not ${right.join(', ')}`)
  }
  return problems
}

/** Files of images that no record owns, and mirrors or registers on the head's record. */
async function litter({ place }: MoveWorld): Promise<string[]> {
  const owned = rowsOf(place.plane.stateDir, 'select image_id from copies').map((row) =>
    String(row['image_id']),
  )
  const problems: string[] = []
  for (const aggregate of aggregateNames) {
    const folder = join(place.folderOf(aggregate), flexvolName)
    for (const file of await readdir(folder).catch(() => [])) {
      if (!owned.includes(file)) problems.push(`file ${file} at ${aggregate}`)
    }
  }
  const moves = rowsOf(place.plane.stateDir, "select id, state from flexvol_moves where state = 'running'")
  return [...problems, ...moves.map(({ id }) => `the move ${id} is still running, on record`)]
}

/** What Volant itself would call a stray; nothing may be left for the sweep to find. */
async function sweepProblems({ place }: MoveWorld): Promise<string[]> {
  const { strays, unreachable } = await place.plane.client.ndo.sweep({ dryRun: true, graceSeconds: 0 })
  return [
    ...strays.map(({ kind, what, reason }) => `the sweep finds ${kind} ${what}: ${reason}`),
    ...unreachable.map(({ place: name, reason }) => `the sweep cannot ask ${name}: ${reason}`),
  ]
}

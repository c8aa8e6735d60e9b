/** What must hold after every crash, once the operation has ended: section by section, each with its own words. */
import assert from 'node:assert/strict'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { shortName } from '@volant/agent/daemon/names.ts'
import { verifyVolume } from '@volant/cli/commands/probe.ts'
import { exportIdOf } from '@volant/control/backends/aggregates.ts'
import { assertNothingLost, type Job } from '../migration/plane.ts'
import { processesOf, type Process } from './processes.ts'
import { ownedImages, truthOf, unfinishedOperations, type World } from './world.ts'

/** A bound for what background passes do: retention every 2 s, heads every 10 s. */
const settleMs = 40_000

/** All of it; throws at the first thing that is not so. */
export async function assertInvariants(world: World, job: Job): Promise<void> {
  const { plane, attached } = world
  await settled(() => awayProblems(world))
  await settled(() => statusProblems(world, job))
  // The guest writes on, and every acknowledged write is on the image that the record names.
  await assertNothingLost(plane, attached)
  if (job.volumeId !== attached.volumeId) await assertKept(world, job)
  await settled(() => dataPlaneProblems(world))
  await settled(() => litter(world))
  await settled(() => sweepProblems(world))
}

/** Waits until nothing is found any more; what is found at the end of the bound is the failure. */
async function settled(look: () => Promise<string[]>): Promise<void> {
  let problems = await look()
  for (const end = Date.now() + settleMs; problems.length > 0 && Date.now() < end; problems = await look()) {
    await new Promise((resolve) => setTimeout(resolve, 200))
  }
  assert.deepEqual(problems, [])
}

/** Agents that were killed are started again by the control plane; until then much is answered with 503. */
async function awayProblems({ plane }: World): Promise<string[]> {
  const { agents } = await plane.client.ndo.status()
  const expected = agents.filter(({ place }) => place === 'process').length
  const running = (await processesOf(plane.stateDir)).filter(({ kind }) => kind.endsWith(' agent')).length
  if (running !== expected) return [`${running} of ${expected} processes of agents run`]
  return agents.filter(({ up }) => !up).map(({ name, reason }) => `agent ${name} is away: ${reason}`)
}

/** What the stock APIs show. */
async function statusProblems({ plane, attached }: World, job: Job): Promise<string[]> {
  const problems: string[] = []
  const isAttached = job.volumeId === attached.volumeId
  const volume = await plane.client.volume.show(job.volumeId)
  const status = isAttached ? 'in-use' : 'available'
  if (volume.status !== status) problems.push(`the volume is ${volume.status}, not ${status}`)
  const migration = volume['os-vol-mig-status-attr:migstat'] ?? null
  if (migration !== null && migration !== 'success') problems.push(`migration_status is ${migration}`)
  const server = await plane.client.compute.show(attached.serverId)
  if (server.status !== 'ACTIVE') problems.push(`the server is ${server.status}`)
  const power = server['OS-EXT-STS:power_state']
  if (power !== 1) problems.push(`the server's power state is ${String(power)}, not 1 (running)`)
  return problems
}

/** Of a volume that nobody uses: what its guest was told is there, by the guest's console. */
async function assertKept({ plane, consoleLog }: World, job: Job): Promise<void> {
  const report = await verifyVolume(plane.client, job.volumeId, [consoleLog])
  assert.equal(report.ok, true, JSON.stringify(report))
}

/** The image that the record names is open once, for the one who serves it; no other image is open at all. */
async function dataPlaneProblems(world: World): Promise<string[]> {
  const { plane, attached, where } = world
  const problems: string[] = []
  const { imageId: truth } = truthOf(plane.stateDir, attached.volumeId)
  const processes = await processesOf(plane.stateDir)
  const open = processes.flatMap(({ pid, kind, images }) => images.map((image) => ({ pid, kind, image })))
  const opener = where === 'local' ? 'holder' : 'export'
  const right = open.filter(({ kind, image }) => kind === opener && image === truth)
  if (right.length !== 1) problems.push(`${right.length} of kind '${opener}' have the truth ${truth} open`)
  for (const { pid, kind, image } of open) {
    if (kind === opener && image === truth) continue
    problems.push(`${kind} ${pid} has image ${image} open`)
  }
  return [...problems, ...countProblems(world, processes)]
}

function countProblems({ where }: World, processes: readonly Process[]): string[] {
  const expected: Partial<Record<Process['kind'], number>> = {
    'control plane': 1,
    'storage agent': where === 'local' ? 0 : 2,
    'compute agent': where === 'local' ? 0 : 1,
    guest: 1,
    holder: 1,
    export: where === 'local' ? 0 : 1,
    keeper: where === 'local' ? 1 : 2,
    guard: 0,
    unknown: 0,
  }
  return Object.entries(expected).flatMap(([kind, count]) => {
    const found = processes.filter((process) => process.kind === kind)
    if (found.length === count) return []
    return [
      `${found.length} processes of kind '${kind}', not ${count}: ${found.map((p) => p.command).join('; ')}`,
    ]
  })
}

/** What no record owns: files of images, rows, records of daemons, sockets, logs. */
async function litter(world: World): Promise<string[]> {
  const { plane, attached } = world
  const { stateDir } = plane
  const problems = unfinishedOperations(stateDir).map((operation) => `not ended: ${operation}`)
  const volumes = [attached.volumeId, ...(world.spare === undefined ? [] : [world.spare.volumeId])]
  for (const volumeId of volumes) {
    const { imageId, copies } = truthOf(stateDir, volumeId)
    for (const copy of copies) {
      if (copy.imageId === imageId && copy.state === 'live') continue
      problems.push(`volume ${volumeId} has a copy ${copy.imageId} that is ${copy.state}`)
    }
  }
  const owned = ownedImages(stateDir)
  for (const folder of ['lma', 'lmb']) {
    for (const file of await filesBelow(join(stateDir, folder))) {
      if (!owned.some((image) => file.includes(image))) problems.push(`image file ${file}`)
    }
  }
  return [...problems, ...(await strayRecords(world))]
}

/** What Volant itself would call a stray; nothing may be left for the sweep to find. */
async function sweepProblems({ plane }: World): Promise<string[]> {
  const { strays, unreachable } = await plane.client.ndo.sweep({ dryRun: true, graceSeconds: 0 })
  return [
    ...strays.map(({ kind, what, reason }) => `the sweep finds ${kind} ${what}: ${reason}`),
    ...unreachable.map(({ place, reason }) => `the sweep cannot ask ${place}: ${reason}`),
  ]
}

const filesBelow = async (folder: string): Promise<string[]> =>
  (await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []))
    .filter((entry) => !entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name))

/** Files that are named after a holder or an export that should not be there. */
async function strayRecords(world: World): Promise<string[]> {
  const { plane, attached, where } = world
  const holderId = await attachmentId(world)
  const { imageId } = truthOf(plane.stateDir, attached.volumeId)
  const names = [holderId, attached.serverId]
  if (where === 'remote') names.push(exportIdOf({ imageId }, holderId))
  const known = names.flatMap((name) => [name, shortName(name)])
  const problems: string[] = []
  for (const folder of ['run', 'machines', 'nodes']) {
    for (const file of await filesBelow(join(plane.stateDir, folder))) {
      const name = file.slice(file.lastIndexOf('/') + 1)
      if (!/[0-9a-f]{8}-|[0-9a-f]{32}/.test(name)) continue
      if (!known.some((id) => name.includes(id))) problems.push(`file ${file}`)
      // An export is named after its holder, too: the longer name must be the right one.
      else if (/[0-9a-f]{12}\.[0-9a-f]{8}-/.test(name) && !name.includes(imageId))
        problems.push(`file ${file}`)
    }
  }
  return problems
}

async function attachmentId({ plane, attached }: World): Promise<string> {
  const { session } = plane.client
  const answer = (await session.json(
    'GET',
    `/volume/v3/${await session.projectId()}/attachments/detail?volume_id=${attached.volumeId}`,
    { headers: { 'openstack-api-version': 'volume 3.70' } },
  )) as { attachments: { id: string }[] }
  return String(answer.attachments[0]?.id)
}

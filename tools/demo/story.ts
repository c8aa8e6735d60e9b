import { setTimeout as sleep } from 'node:timers/promises'
import type { VolantClient, Volume } from '@volant/client'
import { createProgressView, outcomeText, verifyVolume } from '@volant/cli'
import { isSettled, type Operation } from '@volant/contract/ndo/operation.ts'
import type { Typist } from './clients.ts'
import { evidence, type Finding } from './evidence.ts'
import { heading, say, showCommand, waitFor } from './narrator.ts'

const serverName = 'ubuntu-instance'
const targetBackend = 'cinder-lmb'
/** What the probe writes before it settles to its steady rate, so that there is something to move. MiB. */
const fillMib = 96
const blocksPerMib = 256

/** `acked=` of the probe's last line on the console. */
async function acknowledgedWrites(client: VolantClient, serverId: string): Promise<number> {
  const output = await client.compute.consoleOutput(serverId, 20).catch(() => '')
  return Number([...output.matchAll(/ acked=(\d+) /g)].at(-1)?.[1] ?? 0)
}

async function poolOf(client: VolantClient, backend: string): Promise<string> {
  const pool = (await client.volume.pools()).find(({ name }) => name.includes(`@${backend}#`))
  if (pool === undefined) throw new Error(`there is no pool of ${backend}`)
  return pool.name
}

async function serverIs(client: VolantClient, id: string, status: string): Promise<void> {
  await waitFor(`${serverName}`, 60_000, async () => {
    const server = await client.compute.show(id)
    if (server.status === 'ERROR')
      throw new Error(`${serverName} is in ERROR: ${JSON.stringify(server['fault'])}`)
    return { done: server.status === status, now: server.status }
  })
}

/** Boots the guest and gives it a volume; returns when its probe writes at its steady rate. */
async function setTheScene(
  client: VolantClient,
  typist: Typist,
): Promise<{ serverId: string; volume: Volume }> {
  const type = async (...argv: string[]): Promise<void> => showCommand(argv, await typist.run(argv))
  const image = await client.image.named('volant-probe')
  await client.image.setProperty(
    image.id,
    'os_command_line',
    `${String(image['os_command_line'])} probe.iops=500 probe.span=256M probe.fill=${fillMib}M`,
  )
  await type('nova', 'boot', '--flavor', 'm1.tiny', '--image', 'volant-probe', '--nic', 'none', serverName)
  await type('cinder', 'create', '--name', 'data', '1')
  const server = (await client.compute.list()).find(({ name }) => name === serverName)
  const created = (await client.volume.list()).find(({ name }) => name === 'data')
  if (server === undefined || created === undefined) throw new Error('what was created is not listed')
  await waitFor('data', 30_000, async () => {
    const { status } = await client.volume.show(created.id)
    if (status.startsWith('error')) throw new Error(`the volume is in status ${status}`)
    return { done: status === 'available', now: status }
  })
  await serverIs(client, server.id, 'ACTIVE')
  await type('nova', 'volume-attach', serverName, created.id)
  await waitFor('data', 30_000, async () => {
    const { status } = await client.volume.show(created.id)
    return { done: status === 'in-use', now: status }
  })
  await type('nova', 'show', serverName)
  await type('cinder', 'show', created.id)
  heading("The guest's probe writes to the volume without pause")
  await waitFor('writes acknowledged', 120_000, async () => {
    const acked = await acknowledgedWrites(client, server.id)
    return { done: acked > fillMib * blocksPerMib + 500, now: String(acked) }
  })
  return { serverId: server.id, volume: await client.volume.show(created.id) }
}

/** Migrates with the client, and shows the progress of the operation that this starts, to its end. */
async function migrate(
  client: VolantClient,
  typist: Typist,
  volume: Volume,
  target: string,
): Promise<Operation> {
  const argv = ['cinder', 'migrate', volume.id, target]
  showCommand(argv, await typist.run(argv))
  const { operations } = await client.ndo.operations({
    kind: 'volume.migrate',
    resource: volume.id,
    limit: 1,
  })
  let last = operations[0]
  if (last === undefined) throw new Error('the migration is not among the operations')
  const view = createProgressView(process.stdout, 1000)
  try {
    for await (const operation of client.ndo.watch(last.id)) {
      last = operation
      view.update(operation)
    }
  } finally {
    view.end()
  }
  if (!isSettled(last.state)) throw new Error(`the migration did not end: ${last.state}`)
  say(outcomeText(last))
  return last
}

/** The whole main job; returns what must hold, each with what was found. */
export async function tellTheStory(client: VolantClient, typist: Typist): Promise<Finding[]> {
  heading(`A server with a volume in cinder-lma, through ${typist.name}`)
  const { serverId, volume: before } = await setTheScene(client, typist)
  const target = await poolOf(client, targetBackend)
  const atStart = await acknowledgedWrites(client, serverId)

  heading('It moves to the other cluster while the guest goes on writing')
  const operation = await migrate(client, typist, before, target)
  // The probe reports once a second: two reports later the last one is of the time after the move.
  await sleep(2200)
  const atEnd = await acknowledgedWrites(client, serverId)
  const show = ['cinder', 'show', before.id]
  showCommand(show, await typist.run(show))
  const after = await client.volume.show(before.id)

  heading('The guest is powered off, and the image on the target is read')
  const stop = ['nova', 'stop', serverName]
  showCommand(stop, await typist.run(stop))
  await serverIs(client, serverId, 'SHUTOFF')
  const verification = await verifyVolume(client, before.id)
  return evidence({ operation, before, after, target, acknowledged: { atStart, atEnd }, verification })
}

/** What the tests of agents in processes of their own share. */
import assert from 'node:assert/strict'
import { readFile, readdir } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { configDocument } from '@volant/control/config/index.ts'
import type { AgentStatus } from '@volant/contract/ndo/status.ts'
import type { Operation } from '@volant/contract/ndo/operation.ts'
import type { ProcessIdentity } from '@volant/qemu'
import { embeddedConfig, ended, startMigration, until, type Job, type Plane } from './plane.ts'

/** The embedded default otherwise, its agents as processes. */
export const asProcesses = (stateDir: string): string => {
  const { topology, settings } = embeddedConfig(stateDir)
  return configDocument({ topology: { ...topology, agents: 'processes' }, settings })
}

type Part = 'storage' | 'compute'

export const agentOf = async (plane: Plane, part: Part): Promise<AgentStatus> => {
  const { agents } = await plane.client.ndo.status()
  const found = agents.find(({ name }) => name.endsWith(`-${part}`))
  assert.ok(found, `there is a process with the ${part} agents`)
  return found
}

export async function pidOf(plane: Plane, part: Part): Promise<number> {
  const { pid } = await agentOf(plane, part)
  assert.ok(pid !== null, `the ${part} agents run`)
  return pid
}

export async function killAgent(plane: Plane, part: Part): Promise<number> {
  const pid = await pidOf(plane, part)
  process.kill(pid, 'SIGKILL')
  return pid
}

export async function isBack(plane: Plane, part: Part, before: number): Promise<void> {
  await until(`the ${part} agents are up again, in another process`, 60_000, async () => {
    const { pid, up } = await agentOf(plane, part)
    return up && pid !== null && pid !== before
  })
}

/** The storage daemons that hold images, as the records of the holders name them. */
async function holders({ stateDir }: Plane): Promise<ProcessIdentity[]> {
  const folder = join(stateDir, 'machines', hostname(), 'holders')
  const found: ProcessIdentity[] = []
  for (const name of await readdir(folder)) {
    if (!name.endsWith('.json')) continue
    const { daemon } = JSON.parse(await readFile(join(folder, name), 'utf8')) as {
      daemon: { process?: ProcessIdentity }
    }
    if (daemon.process !== undefined) found.push(daemon.process)
  }
  return found
}

export async function onlyHolder(plane: Plane): Promise<ProcessIdentity> {
  const all = await holders(plane)
  assert.equal(all.length, 1, 'there is one holder')
  return all[0] as ProcessIdentity
}

/** For the probe's guest: so much is there to copy that a slow migration lasts while agents die and come back. */
export const filled = { commandLine: 'probe.fill=8M' }

/** Starts a migration that copies slowly, and has begun to; its id. */
export async function slowMigration(plane: Plane, job: Job): Promise<string> {
  const { id } = await startMigration(plane, job, { rate: 200_000 })
  await until('the copy runs', 60_000, async () => (await plane.client.ndo.operation(id)).step === 'inSync')
  return id
}

/** Lets it go, and it succeeds; the copy was not started again. */
export async function succeeds(plane: Plane, id: string): Promise<Operation> {
  await plane.client.ndo.setRate(id, 0)
  const operation = await ended(plane, id)
  assert.equal(operation.state, 'succeeded', JSON.stringify(operation.attempts))
  return operation
}

export const assertCopiedOnce = (operation: Operation): void => {
  const again = operation.attempts.filter(({ reason }) => /The copy/.test(reason))
  assert.deepEqual(again, [], 'the copy went on; it did not start from zero')
}

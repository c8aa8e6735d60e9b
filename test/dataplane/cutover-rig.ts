/** For the tests of a cutover's guard. */
import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { TestContext } from 'node:test'
import type { HolderRecord } from '@volant/agent/holder/record.ts'
import { findByCommandWord } from '@volant/qemu/process.ts'
import { startAgentProcess } from './agent-process.ts'
import type { AgentProcess } from './agent-process.ts'
import { lostWrites } from './records.ts'
import { caller, openRig, startWriter, until } from './rig.ts'
import type { Writer } from './rig.ts'

export const holderId = 'att-1'
export const jobId = 'op-1'
export const windowMs = 10_000
/** Milliseconds from PENDING until the guard decides: where that is waited for, and where it must not come. */
export const [soon, never] = [6000, 120_000]

/** A head under load with its mirror ready, held by an agent in a process of its own. */
export async function openCutover(t: TestContext, decisionMs: number) {
  const agents: AgentProcess[] = []
  // Before the rig's own end: an agent that lives would start again what that ends.
  t.after(async () => {
    for (const agent of agents) await agent.kill()
  })
  const rig = await openRig(t)
  const [stateDir, runDir] = [join(rig.folder, 'h'), join(rig.folder, 'r')]
  const newAgent = async (): Promise<AgentProcess> => {
    const agent = await startAgentProcess(t, { host: 'host1', stateDir, runDir, decisionMs })
    agents.push(agent)
    return agent
  }
  const first = await newAgent()
  const [source, target] = [await rig.newImage(), await rig.newImage()]
  const spec = { holderId, volumeId: 'vol-1', image: source.access, serves: true }
  const head = await first.agent.ensureHolder(caller, spec)
  const writer = await startWriter(t, head, { perSecond: 300 })
  const mirror = { holderId, jobId, target: target.access, rate: 0 }
  const record = () =>
    JSON.parse(readFileSync(join(stateDir, 'holders', `${holderId}.json`), 'utf8')) as HolderRecord
  const attempt = () => {
    const { cutover } = record()
    assert.ok(cutover?.guard, 'the guard is written down before anything is held')
    const register = join(stateDir, 'cutovers', `${holderId}.${cutover.attempt}`)
    return {
      guard: cutover.guard,
      register,
      saying: () => existsSync(register) && readFileSync(register, 'utf8'),
    }
  }
  const ready = async (agent: AgentProcess['agent']) => {
    await agent.ensureMirror(caller, mirror)
    await until('ready', async () => (await agent.mirrorStatus(holderId, jobId)).phase === 'ready')
  }
  const noLitter = () => {
    assert.deepEqual(readdirSync(join(stateDir, 'cutovers')), [])
    assert.deepEqual(findByCommandWord(join(runDir, `${holderId}.g`)), [], 'no guard is left over')
  }
  /** Ends the client and the holder; every acknowledged write must be in the image. */
  const verify = async (last: AgentProcess, image: typeof source) => {
    noLitter()
    await goesOn(writer)
    const result = await writer.stop()
    assert.equal(result.errors, 0)
    assert.equal((await last.agent.holderStatus(holderId))?.imageId, image.ref.imageId)
    await last.agent.ensureNoHolder(caller, holderId)
    await last.kill()
    assert.ok(result.writes > 0)
    assert.deepEqual(await lostWrites(image.access.path, result), [])
  }
  await ready(first.agent)
  return { rig, first, newAgent, source, target, spec, head, writer, mirror, attempt, ready, record, verify }
}

/** New writes of the client are acknowledged. */
export async function goesOn(writer: Writer): Promise<void> {
  const before = await writer.writes()
  await until('the client goes on', async () => (await writer.writes()) > before + 20)
}

/** The client waits: what is in flight at PENDING is not acknowledged. */
export async function assertHeld(writer: Writer): Promise<void> {
  await sleep(200) // for answers that are still on their way
  const before = await writer.writes()
  await sleep(200)
  assert.equal(await writer.writes(), before, 'I/O is held')
}

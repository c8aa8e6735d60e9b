/** One attempt at a cutover after the other, and what dies in it, before its guard's time is over. */
import assert from 'node:assert/strict'
import { existsSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { writeJsonDurably } from '@volant/qemu/durable-file.ts'
import { identityOf, isAlive } from '@volant/qemu/process.ts'
import { assertHeld, holderId, jobId, never, openCutover, windowMs } from './cutover-rig.ts'
import { caller, until } from './rig.ts'

test('an agent that comes back while the guard lives goes on with the same attempt', async (t) => {
  const { first, newAgent, target, attempt, verify } = await openCutover(t, never)
  await first.agent.prepareCutover(caller, holderId, jobId, windowMs)
  const { register, guard } = attempt()
  await first.kill()
  const next = await newAgent()
  assert.ok(isAlive(guard))
  await next.agent.prepareCutover(caller, holderId, jobId, windowMs)
  assert.equal(attempt().register, register)
  await next.agent.commitCutover(caller, holderId, jobId)
  await next.agent.finalizeCutover(caller, holderId, jobId, target.access)
  await verify(next, target)
})

test('nothing is committed when the guard is dead', async (t) => {
  const { first, source, writer, attempt, verify } = await openCutover(t, never)
  await first.agent.prepareCutover(caller, holderId, jobId, windowMs)
  const { guard } = attempt()
  process.kill(guard.pid, 'SIGKILL')
  await until('the guard is gone', async () => !isAlive(guard))
  await assert.rejects(first.agent.commitCutover(caller, holderId, jobId), { code: 'conflict' })
  await assertHeld(writer)
  await first.agent.abandonCutover(caller, holderId, jobId)
  await verify(first, source)
})

test('guard and agent dead in PENDING: whoever comes back decides, with a new guard', async (t) => {
  const { first, newAgent, target, writer, attempt, verify } = await openCutover(t, never)
  await first.agent.prepareCutover(caller, holderId, jobId, windowMs)
  const { guard, register } = attempt()
  await first.kill()
  process.kill(guard.pid, 'SIGKILL')
  await assertHeld(writer)
  const next = await newAgent()
  await next.agent.prepareCutover(caller, holderId, jobId, windowMs)
  assert.notEqual(attempt().register, register)
  assert.equal(existsSync(register), false)
  await next.agent.commitCutover(caller, holderId, jobId)
  await next.agent.finalizeCutover(caller, holderId, jobId, target.access)
  await verify(next, target)
})

test('a guard that was stopped is ended before the next attempt, and harms it no more', async (t) => {
  const { first, target, attempt, ready, verify } = await openCutover(t, never)
  await first.agent.prepareCutover(caller, holderId, jobId, windowMs)
  const old = attempt()
  process.kill(old.guard.pid, 'SIGSTOP')
  await first.agent.abandonCutover(caller, holderId, jobId)
  assert.equal(isAlive(old.guard), false)
  assert.equal(existsSync(old.register), false)
  await ready(first.agent)
  await first.agent.prepareCutover(caller, holderId, jobId, windowMs)
  await first.agent.commitCutover(caller, holderId, jobId)
  await first.agent.finalizeCutover(caller, holderId, jobId, target.access)
  await verify(first, target)
})

for (const committed of [false, true]) {
  test(`the head dies in PENDING (${committed ? 'committed' : 'undecided'}): its guard ends, too`, async (t) => {
    const { first, source, target, spec, head, attempt, verify } = await openCutover(t, never)
    await first.agent.prepareCutover(caller, holderId, jobId, windowMs)
    const { guard } = attempt()
    if (committed) await first.agent.commitCutover(caller, holderId, jobId)
    const daemon = identityOf(head.pid)
    process.kill(daemon.pid, 'SIGKILL')
    await until('the guard has ended', async () => !isAlive(guard))
    // A process that ends closes its connections first, and is there a moment longer.
    await until('the head has ended', async () => !isAlive(daemon))
    assert.equal(await first.agent.holderStatus(holderId), undefined, 'nobody starts it but the caller')
    if (committed) {
      await assert.rejects(first.agent.ensureHolder(caller, spec), { code: 'conflict' })
      const report = await first.agent.finalizeCutover(caller, holderId, jobId, target.access)
      assert.equal(report.restarted, true)
    } else {
      await assert.rejects(first.agent.commitCutover(caller, holderId, jobId), { code: 'conflict' })
      await first.agent.abandonCutover(caller, holderId, jobId)
    }
    await verify(first, committed ? target : source)
  })
}

test('what a crash left of an attempt that is over is swept away at the next start', async (t) => {
  const { first, newAgent, source, attempt, record, verify, rig } = await openCutover(t, never)
  await first.agent.prepareCutover(caller, holderId, jobId, windowMs)
  const { guard } = attempt()
  process.kill(guard.pid, 'SIGSTOP') // as if it had not come to its end yet
  await first.kill()
  // The record as it is on disk between the mark's removal and the removal of register and guard.
  const { cutover: _, ...unmarked } = record()
  writeJsonDurably(join(rig.folder, 'h', 'holders', `${holderId}.json`), unmarked)
  const next = await newAgent()
  assert.equal(isAlive(guard), false)
  assert.deepEqual(readdirSync(join(rig.folder, 'h', 'cutovers')), [])
  await next.agent.ensureNoMirror(caller, holderId, jobId)
  await verify(next, source)
})

test('a head from before there were guards gets its second monitor when a copy begins', async (t) => {
  const { rig, first, target, head, mirror, ready, verify } = await openCutover(t, never)
  await first.agent.ensureNoMirror(caller, holderId, jobId)
  rmSync(join(rig.folder, 'r', `${holderId}.g`))
  await first.agent.ensureMirror(caller, mirror)
  assert.notEqual((await first.agent.holderStatus(holderId))?.pid, head.pid)
  await ready(first.agent)
  await first.agent.prepareCutover(caller, holderId, jobId, windowMs)
  await first.agent.commitCutover(caller, holderId, jobId)
  await first.agent.finalizeCutover(caller, holderId, jobId, target.access)
  await verify(first, target)
})

test('whoever was told that nothing is decided is not overtaken by an older control plane', async (t) => {
  const { first, source, attempt, verify } = await openCutover(t, never)
  await first.agent.prepareCutover(caller, holderId, jobId, windowMs)
  const newer = { fence: caller.fence + 1 }
  assert.equal(await first.agent.cutoverDecision(newer, holderId, jobId), 'undecided')
  await assert.rejects(first.agent.commitCutover(caller, holderId, jobId), { code: 'staleFence' })
  assert.equal(attempt().saying(), false)
  await first.agent.abandonCutover(newer, holderId, jobId)
  await first.agent.ensureNoMirror(newer, holderId, jobId)
  caller.fence = newer.fence
  t.after(() => (caller.fence -= 1))
  await verify(first, source)
})

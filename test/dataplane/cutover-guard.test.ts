/** Who ends PENDING where the agent that began it does not: real storage daemons, real guards, a client that writes. */
import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { test } from 'node:test'
import { identityOf, isAlive } from '@volant/qemu/process.ts'
import { assertHeld, goesOn, holderId, jobId, openCutover, soon, windowMs } from './cutover-rig.ts'
import { caller, until } from './rig.ts'

test('the agent dies in PENDING, undecided: the guard gives up and the client goes on at the source', async (t) => {
  const { first, newAgent, source, writer, attempt, verify, ready } = await openCutover(t, soon)
  await first.agent.prepareCutover(caller, holderId, jobId, windowMs)
  const { guard, saying } = attempt()
  await assertHeld(writer)
  await first.kill()
  assert.equal(saying(), false, 'undecided')
  await goesOn(writer)
  assert.equal(saying(), 'abandoned\n')
  await until('the guard has ended', async () => !isAlive(guard))

  const next = await newAgent()
  assert.equal(await next.agent.cutoverDecision(caller, holderId, jobId), 'abandoned')
  await assert.rejects(next.agent.commitCutover(caller, holderId, jobId), { code: 'conflict' })
  await assert.rejects(next.agent.prepareCutover(caller, holderId, jobId, windowMs), { code: 'conflict' })
  // And the next attempt has a register of its own.
  await next.agent.ensureNoMirror(caller, holderId, jobId)
  assert.equal(await next.agent.cutoverDecision(caller, holderId, jobId), 'none')
  await ready(next.agent)
  await next.agent.prepareCutover(caller, holderId, jobId, windowMs)
  assert.equal(await next.agent.cutoverDecision(caller, holderId, jobId), 'undecided')
  await next.agent.abandonCutover(caller, holderId, jobId)
  await verify(next, source)
})

test('the agent dies after the commit: the guard finalizes and the client goes on at the target', async (t) => {
  const { first, newAgent, target, spec, head, writer, attempt, verify } = await openCutover(t, soon)
  await first.agent.prepareCutover(caller, holderId, jobId, windowMs)
  const { guard, saying } = attempt()
  await first.agent.commitCutover(caller, holderId, jobId)
  await first.agent.commitCutover(caller, holderId, jobId)
  assert.equal(saying(), 'committed\n')
  await assertHeld(writer)
  await first.kill()
  await goesOn(writer)
  await until('the guard has ended', async () => !isAlive(guard))

  const next = await newAgent()
  assert.equal(await next.agent.cutoverDecision(caller, holderId, jobId), 'committed')
  await assert.rejects(next.agent.abandonCutover(caller, holderId, jobId), { code: 'conflict' })
  await assert.rejects(next.agent.ensureNoMirror(caller, holderId, jobId), { code: 'conflict' })
  await assert.rejects(next.agent.ensureHolder(caller, spec), { code: 'conflict' })
  const report = await next.agent.finalizeCutover(caller, holderId, jobId, target.access)
  assert.equal(report.restarted, undefined)
  assert.deepEqual(await next.agent.finalizeCutover(caller, holderId, jobId, target.access), report)
  assert.equal((await next.agent.holderStatus(holderId))?.pid, head.pid)
  assert.equal(
    await next.agent.cutoverDecision(caller, holderId, jobId),
    'committed',
    'also when all is tidied up',
  )
  await verify(next, target)
})

test('an agent that is stopped in PENDING, and wakes up later, cannot commit any more', async (t) => {
  const { first, source, writer, attempt, verify } = await openCutover(t, soon)
  await first.agent.prepareCutover(caller, holderId, jobId, windowMs)
  const { saying } = attempt()
  first.signal('SIGSTOP')
  const commit = first.agent.commitCutover(caller, holderId, jobId)
  commit.catch(() => {})
  await goesOn(writer)
  assert.equal(saying(), 'abandoned\n')
  first.signal('SIGCONT')
  await assert.rejects(commit, { code: 'conflict' })
  await first.agent.abandonCutover(caller, holderId, jobId)
  await verify(first, source)
})

test('an agent that is stopped before PENDING finds its attempt given up', async (t) => {
  const { first, source, writer, attempt, record, verify } = await openCutover(t, soon)
  const prepare = first.agent.prepareCutover(caller, holderId, jobId, 500)
  prepare.catch(() => {})
  while (record().cutover?.guard === undefined) await sleep(1)
  first.signal('SIGSTOP')
  const { saying } = attempt()
  await until('it is decided', async () => saying() !== false)
  assert.equal(saying(), 'abandoned\n')
  await goesOn(writer)
  first.signal('SIGCONT')
  // It may have been quicker than the signal, and at PENDING.
  await prepare.catch(() => {})
  await assert.rejects(first.agent.commitCutover(caller, holderId, jobId), { code: 'conflict' })
  await first.agent.abandonCutover(caller, holderId, jobId)
  await verify(first, source)
})

test('a dead head whose cutover was given up is not started on the target', async (t) => {
  const { first, newAgent, source, target, spec, head, writer, attempt, verify } = await openCutover(t, soon)
  await first.agent.prepareCutover(caller, holderId, jobId, windowMs)
  const { saying } = attempt()
  await first.kill()
  await goesOn(writer)
  assert.equal(saying(), 'abandoned\n')
  process.kill(head.pid, 'SIGKILL')
  await until('the head is gone', async () => !isAlive(identityOrNone(head.pid)))
  const next = await newAgent()
  await assert.rejects(next.agent.ensureHolder(caller, { ...spec, image: target.access }), {
    code: 'conflict',
  })
  await next.agent.ensureHolder(caller, spec)
  await verify(next, source)
})

function identityOrNone(pid: number) {
  try {
    return identityOf(pid)
  } catch {
    return undefined
  }
}

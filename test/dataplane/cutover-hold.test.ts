import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { statSync } from 'node:fs'
import { test, type TestContext } from 'node:test'
import type { ClientProcess, HolderStatus } from '@volant/contract'
import { identityOf, isAlive } from '@volant/qemu/process.ts'
import { caller, MiB, openRig, until } from './rig.ts'

/** A client in a process of its own that always has 64 writes in flight, all to the block at 32 MiB. */
function saturate(t: TestContext, head: HolderStatus): ClientProcess {
  const image = `nbd+unix:///${head.exportName ?? ''}?socket=${head.socketPath ?? ''}`
  const args = ['bench', '-w', '-c', '1000000000', '-d', '64', '-t', 'none', '-f', 'raw']
  const child = spawn('qemu-img', [...args, '-o', String(32 * MiB), '-S', String(64 * MiB), image], {
    stdio: 'ignore',
  })
  t.after(() => child.kill('SIGKILL'))
  return identityOf(child.pid ?? 0)
}

test('a client whose limit always has its writes queue is held for a moment, and the cutover comes', async (t) => {
  const rig = await openRig(t)
  const [source, target] = [await rig.newImage(), await rig.newImage()]
  const holderId = 'att-1'
  const spec = { holderId, volumeId: 'vol-1', image: source.access, serves: true }
  const status = await rig.holders.ensureHolder(caller, spec)
  const client = saturate(t, status)
  const goesOn = async (path: string): Promise<void> => {
    const { mtimeNs } = statSync(path, { bigint: true })
    await until('the client writes on', async () => statSync(path, { bigint: true }).mtimeNs > mtimeNs)
  }
  await goesOn(source.access.path)
  await rig.holders.ensureMirror(caller, { holderId, jobId: 'op', target: target.access, rate: 0 })
  await until('the mirror is ready', async () => {
    return (await rig.holders.mirrorStatus(holderId, 'op')).phase === 'ready'
  })
  // Whatever the limit lets through, there are always writes that wait in the throttle filter: they are in flight.
  await rig.holders.ensureLimits(caller, holderId, { iopsTotal: 100 })
  const { drainMs } = await rig.holders.prepareCutover(caller, holderId, 'op', 60_000, client)
  await rig.holders.commitCutover(caller, holderId, 'op')
  const report = await rig.holders.finalizeCutover(caller, holderId, 'op', target.access)
  t.diagnostic(`PENDING after ${drainMs.toFixed(0)} ms, pause ${report.quiescedMs?.toFixed(1)} ms`)
  await goesOn(target.access.path)
  assert.equal(isAlive(client), true)
})

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { identityOf, isAlive } from '@volant/qemu/process.ts'
import { lostWrites } from './records.ts'
import { caller, openRig, startWriter, until } from './rig.ts'

const holderId = 'att-1'

for (const watched of [true, false]) {
  const when = watched ? 'while it is watched' : 'while no agent runs'
  test(`a head that is stopped ${when} is killed and started again, and nothing is lost`, async (t) => {
    const rig = await openRig(t)
    const { access } = await rig.newImage()
    const spec = { holderId, volumeId: 'vol-1', image: access, serves: true }
    const head = await rig.holders.ensureHolder(caller, spec)
    const identity = identityOf(head.pid)
    const writer = await startWriter(t, head, { perSecond: 200 })
    await until('the client writes', async () => (await writer.writes()) > 50)
    if (!watched) rig.holders.detach()
    process.kill(head.pid, 'SIGSTOP')
    if (!watched) {
      const holders = rig.restartHolders()
      await until(
        'whoever asks again starts it',
        () =>
          holders.ensureHolder(caller, spec).then(
            () => true,
            () => false,
          ),
        120_000,
      )
    }
    await until('it is gone', async () => !isAlive(identity), 120_000)
    const before = await writer.writes()
    await until('the client goes on', async () => (await writer.writes()) > before + 50, 120_000)
    const result = await writer.stop()
    assert.equal(result.errors, 0)
    await rig.holders.ensureNoHolder(caller, holderId)
    assert.deepEqual(await lostWrites(access.path, result), [])
  })
}

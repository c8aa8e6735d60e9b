import assert from 'node:assert/strict'
import { everyStep, type Result } from '@volant/saga/testing/every-step.ts'
import { openEvacuation } from '../testing/evacuation.ts'
import { assertWorldSound } from '../testing/invariants.ts'
import { takeOverServer, type TakeOverServerInput, type TakeOverServerPorts } from './take-over-server.ts'

everyStep<TakeOverServerInput, TakeOverServerPorts>(takeOverServer, {
  fresh: async () => {
    const it = await openEvacuation()
    return {
      input: it.input,
      ports: it.ports,
      invariants: async ({ run }: Result) => {
        const ok = run.state === 'succeeded'
        const server = await it.now()
        assert.equal(server.host, ok ? 'compute-2' : 'compute-1')
        assert.equal(server.vmState, 'active')
        const [attachment] = await it.world.records.attachments.ofServer(server.id)
        assert.equal(attachment?.host, server.host)
        assert.equal(attachment?.headId === it.attachment.headId, !ok, 'a new host, a new head')
        assert.equal(await it.guestAt('compute-2'), ok ? 'running' : 'absent')
        assert.deepEqual(it.headsOn('m3'), ok ? [attachment?.headId] : [])
        // The guest that lives on at the silent host may write only where nothing was fenced yet, and the server is there.
        const clients = it.clients()
        assert.ok(!ok || clients.join() === 'm3', `who may write: ${clients.join()}`)
        assert.ok(ok || clients.every((client) => client === 'm2'), `who may write: ${clients.join()}`)
        const [migration] = await it.ports.serverMigrations.list({})
        assert.equal(migration?.reserves, null, 'nothing is held back any more')
        // When it answers, what is left there is ended, or goes on.
        assert.equal(await it.comesBack(), ok ? 1 : 0)
        assert.equal(await it.guestAt('compute-1'), ok ? 'absent' : 'running')
        assert.deepEqual(it.clients(), [ok ? 'm3' : 'm2'], 'one place may write')
        assert.deepEqual(it.headsOn('m2'), ok ? [] : [it.attachment.headId])
        await assertWorldSound(it.world)
      },
      close: it.close,
    }
  },
})

import assert from 'node:assert/strict'
import { everyStep, type Result } from '@volant/saga/testing/every-step.ts'
import { drainedReason, isTaken } from '../domain/host-drain.ts'
import { hostRig, type HostRig } from '../testing/hosts.ts'
import { drainHost, type DrainHostInput, type DrainHostPorts } from './drain-host.ts'
import { restoreHost, type RestoreHostInput, type RestoreHostPorts } from './restore-host.ts'

const by = { userId: 'u', projectId: 'p' }
const drain: DrainHostInput = { host: 'compute-1', policy: 'live', parallel: 2, to: null, by }
const restore: RestoreHostInput = { host: 'compute-1', parallel: 2, by }

function soundParts(rig: HostRig, runId: string): void {
  for (const part of rig.parts) assert.notEqual(part.endedAt, null, 'no part is left under way')
  for (const server of rig.servers.values()) assert.equal(server.taskState, null)
  for (const request of rig.started) assert.equal(request.parent, runId)
  const asked = rig.started.map(({ serverId }) => serverId)
  assert.deepEqual(asked, [...new Set(asked)], 'each is begun once, whatever happened in between')
  assert.ok(rig.most <= 2, `${rig.most} were under way at once`)
}

everyStep<DrainHostInput, DrainHostPorts>(drainHost, {
  fresh: async () => {
    const rig = hostRig()
    for (const name of ['a', 'b', 'c']) rig.add(name)
    rig.add('off', { vmState: 'stopped' })
    rig.add('still', { metadata: { 'volant:drain': 'stop' } })
    return {
      input: drain,
      ports: rig.ports,
      invariants: ({ run }: Result) => {
        soundParts(rig, run.id)
        const service = rig.services.get('compute-1')
        assert.equal(service?.disabled, run.state === 'succeeded' || service?.disabledReason !== null)
        if (run.state === 'cancelled') assert.equal(service?.disabled, false, 'it is in use again')
        if (run.state === 'succeeded') {
          assert.equal(service?.disabledReason, drainedReason(run.id))
          assert.deepEqual(rig.on('compute-1'), ['still'])
          assert.equal(rig.get('still').vmState, 'stopped')
        }
        for (const server of rig.servers.values()) {
          const taken = rig.drained.get(server.id)
          const left =
            server.host !== 'compute-1' || (server.name === 'still' && server.vmState === 'stopped')
          assert.equal(
            taken !== undefined && isTaken(server, taken),
            left,
            `${server.name} is known to have left`,
          )
        }
      },
      close: () => {},
    }
  },
})

everyStep<RestoreHostInput, RestoreHostPorts>(restoreHost, {
  fresh: async () => {
    const rig = hostRig()
    rig.disable('compute-1', drainedReason('before'))
    const taken = (name: string, how: 'live' | 'cold' | 'stop', host: string) => {
      const stopped = how === 'live' ? 'active' : 'stopped'
      const { id } = rig.add(name, { host, vmState: stopped })
      rig.drained.set(id, {
        serverId: id,
        home: 'compute-1',
        how,
        wasRunning: how !== 'cold',
        broughtTo: how === 'stop' ? 'compute-1' : 'compute-2',
        operationId: 'before',
        createdAt: '2026-11-22T10:00:00.000Z',
      })
    }
    taken('a', 'live', 'compute-2')
    taken('b', 'live', 'compute-2')
    taken('off', 'cold', 'compute-2')
    taken('still', 'stop', 'compute-1')
    taken('elsewhere', 'live', 'compute-3')
    return {
      input: restore,
      ports: rig.ports,
      invariants: ({ run }: Result) => {
        soundParts(rig, run.id)
        assert.equal(rig.get('elsewhere').host, 'compute-3')
        const service = rig.services.get('compute-1')
        if (run.state === 'cancelled') {
          assert.deepEqual([service?.disabled, service?.disabledReason], [true, drainedReason('before')])
        }
        const away = [...rig.servers.values()].filter((server) => {
          const row = rig.drained.get(server.id)
          return row !== undefined && isTaken(server, row)
        })
        if (run.state === 'succeeded') {
          assert.equal(service?.disabled, false)
          assert.deepEqual(rig.on('compute-1').toSorted(), ['a', 'b', 'off', 'still'])
          assert.deepEqual([rig.get('still').vmState, rig.get('off').vmState], ['active', 'stopped'])
          assert.deepEqual([...rig.drained.keys()], [])
        }
        for (const { name, host, vmState } of away) {
          assert.ok(
            host === 'compute-2' || host === 'compute-3' || vmState === 'stopped',
            `${name} is as it was`,
          )
        }
      },
      close: () => {},
    }
  },
})

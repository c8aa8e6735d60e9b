import assert from 'node:assert/strict'
import { test } from 'node:test'
import { silentLog } from '../daemon/log.ts'
import { GuestProcess } from './guest-process.ts'
import { OutgoingMigration } from './outgoing.ts'
import { openSilentQemu, unused } from './testing/silent-qemu.ts'

test('whoever waits for the standstill hears of it by the event: a QEMU that sends the rest may answer nobody', async (t) => {
  const outgoing = {
    request: {
      ...{ migrationId: 'm', channels: 1, to: { host: '127.0.0.1', port: 1, tlsHostname: 'm2' } },
      limits: { downtimeMs: 50, bandwidth: 0, autoConverge: true },
    },
    ...{ begun: true, switching: false },
  }
  let stopped = false
  const { context } = await openSilentQemu(t, { phase: 'started', outgoing }, ({ execute, id }, qemu) => {
    if (execute !== 'query-migrate') return qemu.say({ return: {}, id })
    // From the standstill on it hangs.
    if (stopped) return
    stopped = true
    qemu.say({ return: { status: 'active', ram: { total: 100, transferred: 60, remaining: 40 } }, id })
    const timestamp = { seconds: Math.floor(Date.now() / 1000), microseconds: 0 }
    setTimeout(() => qemu.say({ event: 'MIGRATION', data: { status: 'pre-switchover' }, timestamp }), 50)
  })
  const process = new GuestProcess(context, 's1', {
    onShutdown: () => {},
    onMigration: (status) => migration.note(status),
  })
  const migration = new OutgoingMigration(process, {
    ...{ serverId: 's1', log: silentLog, machine: 'm1', clientTlsFolder: unused, resume: unused },
  })
  t.after(() => {
    migration.close()
    process.close()
  })
  const { phase, transferredBytes } = await migration.awaitOther('m', 'copying', 5000)
  assert.deepEqual({ phase, transferredBytes }, { phase: 'pre-switchover', transferredBytes: 60 })
})

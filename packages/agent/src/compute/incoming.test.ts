import assert from 'node:assert/strict'
import { test } from 'node:test'
import { GuestProcess } from './guest-process.ts'
import { IncomingMigration } from './incoming.ts'
import { openSilentQemu, unused } from './testing/silent-qemu.ts'

test('a QEMU that waits for its guest and dies has failed, also while only its connection has ended', async (t) => {
  const incoming = {
    ...{ migrationId: 'm', sourceMachine: 'm2', channels: 1 },
    hardware: { machine: 'pc-i440fx-7.2', accelerator: 'tcg', memoryBytes: 0, pciAddresses: {} } as never,
  }
  const { context } = await openSilentQemu(
    t,
    { phase: 'incoming', incoming },
    ({ execute, id }, qemu, socket) => {
      if (execute === 'qmp_capabilities') return qemu.say({ return: {}, id })
      // As the kernel does it: the sockets of a process that is killed are closed before it is gone.
      setTimeout(() => qemu.kill(), 100)
      socket.destroy()
    },
  )
  const process = new GuestProcess(context, 's1', { onShutdown: () => {}, onMigration: () => {} })
  t.after(() => process.close())
  const migration = new IncomingMigration(process, {
    ...{ serverId: 's1', dataAddress: '127.0.0.1', tlsHostname: 'm1' },
    ...{ serverTlsFolder: unused, accelerator: unused },
  })
  const { phase } = await migration.status('m')
  assert.equal(phase, 'failed')
})

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { identityOf } from '@volant/qemu'
import { silentLog } from '../daemon/log.ts'
import { GuestProcess } from './guest-process.ts'
import { writeGuestRecord } from './guest-record.ts'
import { IncomingMigration } from './incoming.ts'
import { guestPaths } from './names.ts'

const unused = (): Promise<never> => Promise.reject(new Error('unused'))

test('a QEMU that waits for its guest and dies has failed, also while only its connection has ended', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'vi-'))
  const paths = guestPaths(folder, folder, 's1')
  mkdirSync(paths.folder, { recursive: true })
  const child = spawn('sleep', ['60'], { stdio: 'ignore' })
  // As the kernel does it: the sockets of a process that is killed are closed before it is gone.
  const monitor = createServer((socket) => {
    socket.write(
      '{"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 22}}, "capabilities": []}}\n',
    )
    socket.on('data', (bytes) => {
      const { execute, id } = JSON.parse(bytes.toString('utf8')) as { execute: string; id: number }
      if (execute === 'qmp_capabilities') return socket.write(`${JSON.stringify({ return: {}, id })}\n`)
      setTimeout(() => child.kill('SIGKILL'), 100)
      return socket.destroy()
    })
  })
  await new Promise<void>((resolve) => monitor.listen(paths.qmp, resolve))
  const context = {
    ...{ stateDir: folder, runDir: folder, log: silentLog, accelerator: unused, reconnectDelaySeconds: 30 },
    migration: {
      ...{ dataAddress: '127.0.0.1', machine: 'm2', serverTlsFolder: unused, clientTlsFolder: unused },
    },
  }
  writeGuestRecord(paths, {
    spec: { serverId: 's1', name: 's1', vcpus: 1, memoryMiB: 64, disks: [], nics: [] },
    accelerator: 'tcg',
    phase: 'incoming',
    process: identityOf(child.pid as number),
    pausedByUser: false,
    incoming: {
      ...{ migrationId: 'm', sourceMachine: 'm1', channels: 1 },
      hardware: { machine: 'pc-i440fx-7.2', accelerator: 'tcg', memoryBytes: 0, pciAddresses: {} } as never,
    },
  })
  const process = new GuestProcess(context, 's1', { onShutdown: () => {}, onMigration: () => {} })
  t.after(() => {
    process.close()
    child.kill('SIGKILL')
    monitor.close()
    rmSync(folder, { recursive: true, force: true })
  })
  const incoming = new IncomingMigration(process, {
    ...{ serverId: 's1', dataAddress: '127.0.0.1', tlsHostname: 'm2' },
    ...{ serverTlsFolder: unused, accelerator: unused },
  })
  const { phase } = await incoming.status('m')
  assert.equal(phase, 'failed')
})

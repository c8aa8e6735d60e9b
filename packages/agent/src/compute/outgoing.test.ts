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
import { guestPaths } from './names.ts'
import { OutgoingMigration } from './outgoing.ts'

const unused = (): Promise<never> => Promise.reject(new Error('unused'))

test('whoever waits for the standstill hears of it by the event: a QEMU that sends the rest may answer nobody', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'vo-'))
  const paths = guestPaths(folder, folder, 's1')
  mkdirSync(paths.folder, { recursive: true })
  const child = spawn('sleep', ['60'], { stdio: 'ignore' })
  let stopped = false
  const monitor = createServer((socket) => {
    const say = (message: object): boolean => socket.write(`${JSON.stringify(message)}\n`)
    say({ QMP: { version: { qemu: { major: 7, minor: 2, micro: 22 } }, capabilities: [] } })
    socket.on('data', (bytes) => {
      for (const line of bytes.toString('utf8').trim().split('\n')) {
        const { execute, id } = JSON.parse(line) as { execute: string; id: number }
        if (execute !== 'query-migrate') say({ return: {}, id })
        // From the standstill on it hangs.
        else if (!stopped) {
          stopped = true
          say({ return: { status: 'active', ram: { total: 100, transferred: 60, remaining: 40 } }, id })
          const timestamp = { seconds: Math.floor(Date.now() / 1000), microseconds: 0 }
          setTimeout(() => say({ event: 'MIGRATION', data: { status: 'pre-switchover' }, timestamp }), 50)
        }
      }
    })
  })
  await new Promise<void>((resolve) => monitor.listen(paths.qmp, resolve))
  const migration = {
    ...{ dataAddress: '127.0.0.1', machine: 'm1', serverTlsFolder: unused, clientTlsFolder: unused },
  }
  writeGuestRecord(paths, {
    spec: { serverId: 's1', name: 's1', vcpus: 1, memoryMiB: 64, disks: [], nics: [] },
    accelerator: 'tcg',
    phase: 'started',
    process: identityOf(child.pid as number),
    pausedByUser: false,
    outgoing: {
      request: {
        ...{ migrationId: 'm', channels: 1, to: { host: '127.0.0.1', port: 1, tlsHostname: 'm2' } },
        limits: { downtimeMs: 50, bandwidth: 0, autoConverge: true },
      },
      ...{ begun: true, switching: false },
    },
  })
  const process = new GuestProcess(
    {
      ...{ stateDir: folder, runDir: folder, log: silentLog, accelerator: unused, reconnectDelaySeconds: 30 },
      migration,
    },
    's1',
    { onShutdown: () => {}, onMigration: (status) => outgoing.note(status) },
  )
  const outgoing = new OutgoingMigration(process, {
    ...{ serverId: 's1', log: silentLog, machine: 'm1', clientTlsFolder: unused, resume: unused },
  })
  t.after(() => {
    outgoing.close()
    process.close()
    child.kill('SIGKILL')
    monitor.close()
    rmSync(folder, { recursive: true, force: true })
  })
  const { phase, transferredBytes } = await outgoing.awaitOther('m', 'copying', 5000)
  assert.deepEqual({ phase, transferredBytes }, { phase: 'pre-switchover', transferredBytes: 60 })
})

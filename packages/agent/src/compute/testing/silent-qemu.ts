import { spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { identityOf } from '@volant/qemu'
import { silentLog } from '../../daemon/log.ts'
import type { GuestContext } from '../guest-process.ts'
import { writeGuestRecord, type GuestRecord } from '../guest-record.ts'
import { guestPaths } from '../names.ts'

export const unused = (): Promise<never> => Promise.reject(new Error('unused'))

export interface SilentQemu {
  /** For a `GuestProcess` of server `s1` on machine `m1`. */
  context: GuestContext
  /** SIGKILL; its monitor's connections are not closed by that. */
  kill(): void
  say(message: object): void
}

/**
 * A process that stands for the QEMU of server `s1`, with a monitor that takes each connection and says what the test has
 * it say; its record is there. Gone when the test ends.
 */
export async function openSilentQemu(
  t: TestContext,
  record: Pick<GuestRecord, 'phase' | 'incoming' | 'outgoing'>,
  onCommand: (command: { execute: string; id: number }, qemu: SilentQemu, socket: Socket) => void,
): Promise<SilentQemu> {
  const folder = mkdtempSync(join(tmpdir(), 'vq-'))
  const paths = guestPaths(folder, folder, 's1')
  mkdirSync(paths.folder, { recursive: true })
  const child = spawn('sleep', ['60'], { stdio: 'ignore' })
  let client: Socket | undefined
  const qemu: SilentQemu = {
    context: {
      ...{ stateDir: folder, runDir: folder, log: silentLog, accelerator: unused, reconnectDelaySeconds: 30 },
      migration: {
        ...{ dataAddress: '127.0.0.1', machine: 'm1', serverTlsFolder: unused, clientTlsFolder: unused },
      },
    },
    kill: () => void child.kill('SIGKILL'),
    say: (message) => void client?.write(`${JSON.stringify(message)}\n`),
  }
  const monitor = createServer((socket) => {
    client = socket
    qemu.say({ QMP: { version: { qemu: { major: 7, minor: 2, micro: 22 } }, capabilities: [] } })
    socket.on('data', (bytes) => {
      for (const line of bytes.toString('utf8').trim().split('\n'))
        onCommand(JSON.parse(line) as { execute: string; id: number }, qemu, socket)
    })
  })
  t.after(() => {
    qemu.kill()
    monitor.close()
    rmSync(folder, { recursive: true, force: true })
  })
  await new Promise<void>((resolve) => monitor.listen(paths.qmp, resolve))
  writeGuestRecord(paths, {
    spec: { serverId: 's1', name: 's1', vcpus: 1, memoryMiB: 64, disks: [], nics: [] },
    accelerator: 'tcg',
    process: identityOf(child.pid as number),
    pausedByUser: false,
    ...record,
  })
  return qemu
}

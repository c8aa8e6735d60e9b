import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { DomainError, messageOf } from '@volant/contract'
import type { AioMode } from './storage-daemon.ts'
import { daemonArguments } from './storage-daemon.ts'
import { ensureGone, startDetached, type ProcessIdentity } from './process.ts'
import { QmpClient } from './qmp.ts'

const run = promisify(execFile)

/** What a storage daemon of this machine can do, for the preflight of operations. */
export interface DataPlaneCapabilities {
  storageDaemonVersion: string
  aio: AioMode
  /** Why io_uring is not used, where it is not. */
  aioReason?: string
  /** What a live relocation needs and this daemon lacks; empty: nothing. */
  missing: string[]
}

interface SchemaEntry {
  name: string
  'meta-type': string
  'arg-type'?: string
  members?: { name: string }[]
}

/** Commands with the arguments of theirs that relocations use. */
const needed: Record<string, string[]> = {
  'blockdev-mirror': [
    'replaces',
    'granularity',
    'buf-size',
    'copy-mode',
    'auto-finalize',
    'auto-dismiss',
    'speed',
  ],
  'job-complete': [],
  'job-finalize': [],
  'job-cancel': [],
  'job-dismiss': [],
  'query-jobs': [],
  'query-block-jobs': [],
  'block-job-set-speed': [],
  'blockdev-add': [],
  'blockdev-del': [],
  'blockdev-reopen': [],
  'block-export-add': [],
  'block-export-del': ['mode'],
  'object-add': [],
  'qom-set': [],
  'x-debug-query-block-graph': [],
}

/** How long a daemon may take to start and answer: on a machine that has just booted, with much to start. Milliseconds. */
const answersWithinMs = 30_000

/**
 * Starts a daemon without any image and reads its version and query-qmp-schema. Throws `unavailable` where it can't be
 * started, or does not answer.
 */
export async function probeCapabilities(
  storageDaemon = 'qemu-storage-daemon',
): Promise<DataPlaneCapabilities> {
  const folder = mkdtempSync(join(tmpdir(), 'vp-'))
  const qmpPath = join(folder, 'q')
  const args = daemonArguments({ qmpPath, blockdevs: [] })
  let daemon: ProcessIdentity | undefined
  try {
    daemon = startDetached({ command: storageDaemon, args, logPath: join(folder, 'log') })
    const qmp = await QmpClient.connect({ path: qmpPath, timeoutMs: answersWithinMs })
    const schema = (await qmp.execute('query-qmp-schema')) as SchemaEntry[]
    const storageDaemonVersion = qmp.version
    qmp.close()
    return { storageDaemonVersion, missing: missingFrom(schema), ...(await probeAio()) }
  } catch (error) {
    throw new DomainError(
      'unavailable',
      `What ${storageDaemon} can do here could not be asked: ${messageOf(error)} Try again; is it installed?`,
      { cause: error },
    )
  } finally {
    await ensureGone(daemon)
    rmSync(folder, { recursive: true, force: true })
  }
}

/** Names in the schema are masked numbers; only commands keep theirs. */
export function missingFrom(schema: SchemaEntry[]): string[] {
  const missing: string[] = []
  for (const [command, args] of Object.entries(needed)) {
    const entry = schema.find(
      (candidate) => candidate.name === command && candidate['meta-type'] === 'command',
    )
    if (!entry) {
      missing.push(command)
      continue
    }
    const argType = schema.find((candidate) => candidate.name === entry['arg-type'])
    const known = new Set(argType?.members?.map((member) => member.name))
    for (const arg of args) if (!known.has(arg)) missing.push(`${command} ${arg}`)
  }
  return missing
}

let aio: Promise<{ aio: AioMode; aioReason?: string }> | undefined

/** Whether the kernel lets QEMU use io_uring here; asked once, by opening a file with it. */
export function probeAio(): Promise<{ aio: AioMode; aioReason?: string }> {
  aio ??= tryIoUring()
  return aio
}

async function tryIoUring(): Promise<{ aio: AioMode; aioReason?: string }> {
  const folder = mkdtempSync(join(tmpdir(), 'vp-'))
  const path = join(folder, 'image')
  try {
    writeFileSync(path, Buffer.alloc(4096))
    await run('qemu-img', ['info', '--image-opts', `driver=file,filename=${path},aio=io_uring`], {
      timeout: 10_000,
    })
    return { aio: 'io_uring' }
  } catch (error) {
    return { aio: 'threads', aioReason: messageOf(error) }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

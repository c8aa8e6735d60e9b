import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { DomainError, messageOf } from '@volant/contract'
import type { AioMode } from './storage-daemon.ts'

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
/** The schema is some 100 KiB. Bytes. */
const maxBuffer = 16 * 1024 ** 2

/** All at once, the end included: a daemon whose asker is killed meanwhile does not stay behind. */
const questions = ['qmp_capabilities', 'query-qmp-schema', 'quit']

/** What it answers, in this order. */
type Answers = [
  { QMP: { version: { qemu: { major: number; minor: number; micro: number } } } },
  { return: object },
  { return: SchemaEntry[] },
]

/**
 * Starts a daemon without any image and reads its version and query-qmp-schema. Throws `unavailable` where it can't be
 * started, or does not answer. It has its monitor at its standard input and output: nothing of it is on disk.
 */
export async function probeCapabilities(
  storageDaemon = 'qemu-storage-daemon',
): Promise<DataPlaneCapabilities> {
  const args = ['--chardev', 'stdio,id=qmp', '--monitor', 'chardev=qmp']
  try {
    const asked = run(storageDaemon, args, { timeout: answersWithinMs, killSignal: 'SIGKILL', maxBuffer })
    asked.child.stdin?.on('error', () => {}) // it ended before it had read: said below
    asked.child.stdin?.end(questions.map((execute) => JSON.stringify({ execute })).join('\n'))
    const lines = (await asked).stdout.trimEnd().split('\n')
    const [greeting, , schema] = lines.map((line) => JSON.parse(line) as unknown) as Answers
    const { major, minor, micro } = greeting.QMP.version.qemu
    const storageDaemonVersion = [major, minor, micro].join('.')
    return { storageDaemonVersion, missing: missingFrom(schema.return), ...(await probeAio()) }
  } catch (error) {
    throw new DomainError(
      'unavailable',
      `What ${storageDaemon} can do here could not be asked: ${messageOf(error)} Try again; is it installed?`,
      { cause: error },
    )
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
  // Any file will do; this one is there, and nothing has to be removed.
  const image = 'driver=file,filename=/proc/self/exe,aio=io_uring'
  try {
    await run('qemu-img', ['info', '--image-opts', image], { timeout: 10_000 })
    return { aio: 'io_uring' }
  } catch (error) {
    return { aio: 'threads', aioReason: messageOf(error) }
  }
}

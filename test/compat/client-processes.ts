/** Runs of Debian's OpenStack clients; how, and why so: client-processes.py. */
import { execFile, spawn, type ChildProcess } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdtemp, open, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'

export interface ClientRun {
  code: number
  stdout: string
  stderr: string
}

const python = '/usr/bin/python3'

interface Forks {
  ask(order: object): void
  /** The exit code. */
  ended(id: number): Promise<number>
}

let forks: Forks | undefined
let lastId = 0

/** One for all runs of this process, which it does not keep from ending. */
function openForks(): Forks {
  const child: ChildProcess = spawn(python, [join(import.meta.dirname, 'client-processes.py')], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { PATH: process.env['PATH'] ?? '', HOME: tmpdir(), PYTHONWARNINGS: 'ignore' },
  })
  const { stdin, stdout } = child as ChildProcess & { stdin: Writable; stdout: Readable }
  const handles = [child, stdin, stdout] as unknown as { ref(): void; unref(): void }[]
  const waiting = new Map<number, { resolve(code: number): void; reject(error: Error): void }>()
  const settle = (): void => {
    if (waiting.size === 0) for (const handle of handles) handle.unref()
  }
  createInterface(stdout).on('line', (line) => {
    const { id, code } = JSON.parse(line) as { id: number; code: number }
    waiting.get(id)?.resolve(code)
    waiting.delete(id)
    settle()
  })
  child.on('exit', (code, signal) => {
    forks = undefined
    for (const { reject } of waiting.values())
      reject(new Error(`client-processes.py ended: ${String(code ?? signal)}`))
    waiting.clear()
  })
  return {
    ask: (order) => void stdin.write(`${JSON.stringify(order)}\n`),
    ended: (id) =>
      new Promise((resolve, reject) => {
        for (const handle of handles) handle.ref()
        waiting.set(id, { resolve, reject })
      }),
  }
}

/** The file of a program in PATH that the machine's Python runs. */
async function pythonProgram(name: string): Promise<string | undefined> {
  const folders = (process.env['PATH'] ?? '').split(':')
  const path = folders.map((folder) => join(folder, name)).find((one) => existsSync(one))
  if (path === undefined) return undefined
  const file = await open(path)
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(64), 0, 64, 0)
    return /^#! ?\/usr\/bin\/python3\n/.test(buffer.toString('latin1', 0, bytesRead)) ? path : undefined
  } finally {
    await file.close()
  }
}

/** The variables that `source openrc` sets for the clients. */
export async function openrc(stateDir: string): Promise<Record<string, string>> {
  const text = await readFile(join(stateDir, 'openrc'), 'utf8')
  return Object.fromEntries(
    [...text.matchAll(/^export (OS_[A-Z0-9_]+)='(.*)'$/gm)].map(([, name, value]) => [name, value]),
  ) as Record<string, string>
}

/** Runs one of the clients, unmodified, with these variables beside PATH and HOME. */
export async function runClient(
  name: string,
  args: readonly string[],
  variables: Record<string, string>,
  timeoutMs = 90_000,
): Promise<ClientRun> {
  const env = { PATH: process.env['PATH'] ?? '', HOME: tmpdir(), PYTHONWARNINGS: 'ignore', ...variables }
  const program = await pythonProgram(name)
  if (program === undefined) return execute(name, args, env, timeoutMs)
  const folder = await mkdtemp(join(tmpdir(), 'client-'))
  const file = (kind: string): string => join(folder, kind)
  try {
    forks ??= openForks()
    const id = ++lastId
    const { ask, ended } = forks
    ask({
      id,
      program,
      arguments: args,
      environment: env,
      out: file('out'),
      err: file('err'),
      loaded: file('loaded'),
    })
    const timer = setTimeout(() => ask({ kill: id }), timeoutMs)
    const code = await ended(id).finally(() => clearTimeout(timer))
    const [stdout, stderr] = await Promise.all([readFile(file('out'), 'utf8'), readFile(file('err'), 'utf8')])
    const late = code < 0 && stderr === '' ? `${name} was ended by signal ${-code}` : stderr
    return { code: code < 0 ? 1 : code, stdout, stderr: late }
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

/** A process that is started for it alone, as a shell does. */
export function execute(
  program: string,
  args: readonly string[],
  env: Record<string, string>,
  timeoutMs = 90_000,
): Promise<ClientRun> {
  return new Promise((resolve) => {
    const options = { env, timeout: timeoutMs, maxBuffer: 16 * 1024 * 1024 }
    execFile(program, args, options, (error, stdout, stderr) => {
      const code = error === null ? 0 : typeof error.code === 'number' ? error.code : 1
      resolve({ code, stdout, stderr: stderr === '' && error !== null ? error.message : stderr })
    })
  })
}

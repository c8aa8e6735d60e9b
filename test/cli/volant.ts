import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'

const program = join(import.meta.dirname, '../../bin/volant')

export interface Ran {
  code: number | null
  stdout: string
  stderr: string
}

/** Starts `bin/volant`; `ended` resolves with what it printed. */
export function startVolant(...args: string[]): { child: ChildProcess; ended: Promise<Ran> } {
  const env = { ...process.env }
  for (const name of Object.keys(env)) if (/^(OS_|VOLANT_)/.test(name)) delete env[name]
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], env })
  let stdout = ''
  let stderr = ''
  child.stdout.on('data', (chunk: Buffer) => (stdout += String(chunk)))
  child.stderr.on('data', (chunk: Buffer) => (stderr += String(chunk)))
  const ended = once(child, 'close').then(() => ({ code: child.exitCode, stdout, stderr }))
  return { child, ended }
}

export const volant = (...args: string[]): Promise<Ran> => startVolant(...args).ended

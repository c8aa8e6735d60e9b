import { spawn } from 'node:child_process'
import type { Duplex } from 'node:stream'
import { ensureLauncher } from './launcher.ts'

/** A TCP connection made from inside a network namespace, relayed by a short-lived process. */
export async function dialInNetns(netns: string, host: string, port: number): Promise<Duplex> {
  const launcher = await ensureLauncher()
  const child = spawn(launcher, ['dial', '--netns', netns, host, String(port)], {
    stdio: ['ignore', 'ignore', 'ignore', 'pipe'],
  })
  child.on('error', () => {})
  child.unref()
  const stream = child.stdio[3] as unknown as Duplex | undefined
  if (!stream) throw new Error('The relay into the network namespace could not be started.')
  stream.on('error', () => {})
  stream.on('close', () => child.kill('SIGKILL'))
  return stream
}

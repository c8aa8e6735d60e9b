import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { openSync, closeSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Credentials } from '@volant/client'

const program = join(import.meta.dirname, '../../bin/volant')
const startTimeoutMs = 90_000

/** A `volant serve` of its own, with its own state folder, on a free port. */
export interface Served {
  pid: number
  url: string
  stateDir: string
  /** From the start of the process to the first HTTP request that succeeded. Milliseconds. */
  firstRequestMs: number
  /** performance.now() when the process was started. */
  startedAt: number
  /** The administrator's. */
  credentials: Credentials
  stop(): Promise<void>
  /** SIGKILL. */
  kill(): Promise<void>
}

export async function serve(stateDir: string): Promise<Served> {
  const port = await freePort()
  const url = `http://127.0.0.1:${port}`
  const log = openSync(`${stateDir}.log`, 'a')
  const startedAt = performance.now()
  const child = spawn(program, ['serve', '--state', stateDir, '--port', String(port)], {
    stdio: ['ignore', log, log],
  })
  closeSync(log)
  try {
    await waitFor(child, stateDir, async () => (await fetch(`${url}/identity/v3`)).ok)
    const firstRequestMs = performance.now() - startedAt
    await waitFor(child, stateDir, async () =>
      (await readFile(join(stateDir, 'openrc'), 'utf8')).includes(url),
    )
    const credentials = await credentialsOf(stateDir, url)
    return {
      pid: child.pid ?? 0,
      url,
      stateDir,
      firstRequestMs,
      startedAt,
      credentials,
      stop: () => stop(child),
      kill: () => stop(child, 'SIGKILL'),
    }
  } catch (error) {
    await stop(child)
    throw error
  }
}

async function waitFor(child: ChildProcess, stateDir: string, isSo: () => Promise<boolean>): Promise<void> {
  for (const end = performance.now() + startTimeoutMs; ; await sleep(5)) {
    if (await isSo().catch(() => false)) return
    if (child.exitCode === null && performance.now() < end) continue
    const log = await readFile(`${stateDir}.log`, 'utf8')
    throw new Error(`volant serve did not become ready: ${log.trim().split('\n').slice(-3).join(' / ')}`)
  }
}

async function stop(child: ChildProcess, signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const gone = once(child, 'exit')
  child.kill(signal)
  const late = setTimeout(() => child.kill('SIGKILL'), 10_000)
  await gone
  clearTimeout(late)
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

async function credentialsOf(stateDir: string, url: string) {
  const text = await readFile(join(stateDir, 'openrc'), 'utf8')
  const value = (name: string): string => new RegExp(`^export ${name}='(.*)'$`, 'm').exec(text)?.[1] ?? ''
  return {
    url,
    username: value('OS_USERNAME'),
    password: value('OS_PASSWORD'),
    projectName: value('OS_PROJECT_NAME'),
    userDomainName: value('OS_USER_DOMAIN_NAME'),
    projectDomainName: value('OS_PROJECT_DOMAIN_NAME'),
  }
}

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import type { HttpLoad, HttpLoadResult } from './http-load.ts'

const program = `${import.meta.dirname}/http-load.ts`

export interface Crowd {
  /** Milliseconds each. */
  latencies: number[]
  perSecond: number
  mibPerSecond: number
  /** Processor time of the load generator, as a part of one core. */
  generatorCores: number
}

/** `clients` keep-alive connections make `count` requests, taken from `paths` in turns, from a process of their own. */
export async function crowd(
  target: { url: string; headers: Record<string, string> },
  load: { clients: number; count: number; paths: string[]; method?: string; body?: unknown },
): Promise<Crowd> {
  const { hostname, port } = new URL(target.url)
  const body = load.body === undefined ? '' : JSON.stringify(load.body)
  const headers = {
    host: `${hostname}:${port}`,
    ...target.headers,
    ...(body !== '' && {
      'content-type': 'application/json',
      'content-length': String(Buffer.byteLength(body)),
    }),
  }
  const rest = Object.entries(headers)
    .map(([name, value]) => `${name}: ${value}\r\n`)
    .join('')
  const plan: HttpLoad = {
    host: hostname,
    port: Number(port),
    clients: load.clients,
    count: load.count,
    requests: load.paths.map((path) => `${load.method ?? 'GET'} ${path} HTTP/1.1\r\n${rest}\r\n${body}`),
  }
  const child = spawn(process.execPath, [program], { stdio: ['pipe', 'pipe', 'pipe'] })
  child.stdin.end(JSON.stringify(plan))
  const [printed, said, [code]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, 'exit') as Promise<[number | null]>,
  ])
  if (code !== 0) throw new Error(`The load generator ended with ${String(code)}: ${said.trim().slice(-500)}`)
  const { latencies, tookMs, bytes, cpuMs } = JSON.parse(printed) as HttpLoadResult
  return {
    latencies,
    perSecond: load.count / (tookMs / 1000),
    mibPerSecond: bytes / 2 ** 20 / (tookMs / 1000),
    generatorCores: cpuMs / tookMs,
  }
}

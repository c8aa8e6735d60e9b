/** What NFS clients get of a share: one who is allowed all, anybody else nothing. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { messageOf } from '@volant/contract/errors.ts'
import { Nfs4Client, NfsError } from '../../dataplane/nfs4-client.ts'
import { workFolder } from './writer.ts'

export interface Served {
  lif: string
  junctionPath: string
  mountPath: string
}

/** A server that was killed gives its clients time to claim what they had: 10 s, and its start. Milliseconds. */
const patienceMs = 60_000

let tokens = 0

/** Writes through the server, and finds that in the file system: both are the same share. */
export async function admittedProblems(
  { lif, junctionPath, mountPath }: Served,
  from: string,
  folder = workFolder,
): Promise<string[]> {
  const token = `token ${++tokens} of ${process.pid}`
  const name = `token-${from}`
  return tries(async () => {
    const client = await Nfs4Client.open(lif, from)
    try {
      const file = await client.openFile(`${junctionPath}/${folder}`, name, true)
      await client.write(file, token)
      if (!(await client.read(file)).startsWith(token)) return [`${from} does not read what it wrote`]
    } finally {
      client.close()
    }
    const there = await readFile(join(mountPath, folder, name), 'utf8')
    return there.startsWith(token) ? [] : [`what ${from} wrote is not in the file system of the share`]
  }, `${from} is allowed`)
}

/** Neither by its name nor by a handle that somebody else got; it does not even see that there is one. */
export async function refusedProblems(
  { lif, junctionPath }: Served,
  from: string,
  handle?: Buffer,
): Promise<string[]> {
  return tries(async () => {
    const client = await Nfs4Client.open(lif, from)
    try {
      const names = await client.list('/')
      if (names.includes(junctionPath.slice(1))) return [`${from} sees ${junctionPath}`]
      const got = await client.handleOf(junctionPath).then(
        () => 'a handle',
        (error: unknown) => requireRefusal(error),
      )
      if (got === 'a handle') return [`${from} gets a handle of ${junctionPath}`]
      if (handle === undefined) return []
      const read = await client.listHandle(handle).then(
        () => 'names',
        (error: unknown) => requireRefusal(error),
      )
      return read === 'names' ? [`${from} reads ${junctionPath} by a handle`] : []
    } finally {
      client.close()
    }
  }, `${from} is not allowed`)
}

/** The handle of the share's root, as a client that is allowed gets it: it must never change. */
export async function rootHandle({ lif, junctionPath }: Served, from: string): Promise<Buffer> {
  const client = await Nfs4Client.open(lif, from)
  try {
    return await client.handleOf(junctionPath)
  } finally {
    client.close()
  }
}

function requireRefusal(error: unknown): string {
  const isRefusal = error instanceof NfsError && ['NOENT', 'ACCESS', 'STALE'].includes(error.nfs)
  if (!isRefusal) throw error
  return error.nfs
}

/** A server that starts, or waits for its clients, is asked again. */
async function tries(ask: () => Promise<string[]>, what: string): Promise<string[]> {
  for (const end = performance.now() + patienceMs; ; await sleep(250)) {
    const late = performance.now() > end
    try {
      return await ask()
    } catch (error) {
      if (late) return [`${what}, and asks in vain: ${messageOf(error)}`]
    }
  }
}

import { readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { CliError, exitCodes } from '../exit-codes.ts'
import { isRunning, ownIdentity, type ProcessIdentity } from './process-identity.ts'
import { lockStateFolder, type Lock } from './lock.ts'
import { recordFile, unusable } from './state-folder.ts'

/** `STATE/control.json`: which control plane has this state folder. */
export interface InstanceRecord extends ProcessIdentity {
  /** Null until it is ready. */
  url: string | null
  version: string
  startedAt: string
}

const isMissing = (error: unknown): boolean => (error as NodeJS.ErrnoException).code === 'ENOENT'

async function read(path: string): Promise<InstanceRecord | undefined> {
  try {
    return JSON.parse(await readFile(path, 'utf8')) as InstanceRecord
  } catch (error) {
    if (isMissing(error) || error instanceof SyntaxError) return undefined
    throw new CliError(exitCodes.refused, `cannot read ${path}: ${(error as Error).message}`, {
      cause: error,
    })
  }
}

/** The record of a control plane that runs; undefined where none does, whatever the file says. */
export async function runningInstance(stateDir: string): Promise<InstanceRecord | undefined> {
  const record = await read(join(stateDir, recordFile))
  return record !== undefined && (await isRunning(record)) ? record : undefined
}

export interface Claim {
  /** Records the URL: the control plane is ready. */
  ready(url: string): Promise<void>
  release(): Promise<void>
}

/**
 * Takes the state folder for this process; throws where another control plane has it, and changes nothing then. The
 * lock decides; the record tells others where it is reached, and counts by itself where an older release wrote it,
 * which took no lock.
 */
export async function claimStateFolder(stateDir: string, version: string): Promise<Claim> {
  const lock = locked(stateDir)
  const other = await runningInstance(stateDir)
  if (other !== undefined) {
    lock?.release()
    throw taken(stateDir, `pid ${other.pid}${other.url === null ? '' : `, ${other.url}`}`)
  }
  if (lock === undefined) throw taken(stateDir, 'in another container, or it is just starting or ending')
  const path = join(stateDir, recordFile)
  const record: InstanceRecord = {
    ...(await ownIdentity()),
    url: null,
    version,
    startedAt: new Date().toISOString(),
  }
  try {
    await write(path, record)
  } catch (error) {
    lock.release()
    throw unusable(stateDir, error)
  }
  return {
    async ready(url) {
      record.url = url
      await write(path, record)
    },
    async release() {
      // Gone already where somebody removed the whole folder.
      await rm(path, { force: true })
      lock.release()
    },
  }
}

/** Takes the lock while `task` runs: for what may only be done while no control plane has the folder. */
export async function withStateFolder<T>(stateDir: string, task: () => Promise<T>): Promise<T> {
  const lock = locked(stateDir)
  if (lock === undefined) throw taken(stateDir, 'in another container, or it is just starting or ending')
  try {
    return await task()
  } finally {
    lock.release()
  }
}

function locked(stateDir: string): Lock | undefined {
  try {
    return lockStateFolder(stateDir)
  } catch (error) {
    throw unusable(stateDir, error)
  }
}

const taken = (stateDir: string, by: string): CliError =>
  new CliError(
    exitCodes.refused,
    `the state folder ${stateDir} belongs to a Volant that runs (${by}); stop it with: volant down --state ${stateDir}`,
  )

/** Whole or not at all: others read it at any time. */
async function write(path: string, record: InstanceRecord): Promise<void> {
  const part = `${path}.part`
  await writeFile(part, `${JSON.stringify(record)}\n`, { mode: 0o600 })
  await rename(part, path)
}

import { link, readFile, rename, unlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { CliError, exitCodes } from '../exit-codes.ts'
import { isRunning, ownIdentity, type ProcessIdentity } from './process-identity.ts'
import { recordFile } from './state-folder.ts'

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
 * Takes the state folder for this process. Throws where another control plane that runs has it; takes over what
 * a dead one left. The file appears whole (by `link`), so two that start at once cannot both succeed.
 */
export async function claimStateFolder(stateDir: string, version: string): Promise<Claim> {
  const path = join(stateDir, recordFile)
  const part = `${path}.${process.pid}`
  const record: InstanceRecord = {
    ...(await ownIdentity()),
    url: null,
    version,
    startedAt: new Date().toISOString(),
  }
  const write = (): Promise<void> => writeFile(part, `${JSON.stringify(record)}\n`, { mode: 0o600 })
  await write()
  try {
    await claim(stateDir, path, part)
  } finally {
    await unlink(part)
  }
  return {
    async ready(url) {
      record.url = url
      await write()
      await rename(part, path)
    },
    async release() {
      const current = await read(path)
      if (current?.pid === record.pid && current.startTicks === record.startTicks) await unlink(path)
    },
  }
}

async function claim(stateDir: string, path: string, part: string): Promise<void> {
  for (let attempt = 0; attempt < 5; attempt++) {
    try {
      await link(part, path)
      return
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    }
    const other = await runningInstance(stateDir)
    if (other !== undefined) {
      throw new CliError(
        exitCodes.refused,
        `the state folder ${stateDir} belongs to a Volant that runs (pid ${other.pid}${other.url === null ? '' : `, ${other.url}`}); stop it with: volant down --state ${stateDir}`,
      )
    }
    await removeStale(path)
  }
  throw new CliError(exitCodes.failed, `cannot take the state folder ${stateDir}: others keep taking it`)
}

/** Moves a dead process's record away; puts it back where it turns out to be a live one's by now. */
async function removeStale(path: string): Promise<void> {
  const aside = `${path}.stale.${process.pid}`
  try {
    await rename(path, aside)
  } catch (error) {
    if (isMissing(error)) return
    throw error
  }
  const moved = await read(aside)
  if (moved !== undefined && (await isRunning(moved))) await link(aside, path).catch(() => {})
  await unlink(aside)
}

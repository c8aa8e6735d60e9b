import { chmod, mkdir, readdir, stat, writeFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { CliError, exitCodes } from '../exit-codes.ts'

export const defaultPort = 8780

/** `--state`, else `$VOLANT_STATE`, else `/var/lib/volant` for root and `~/.local/state/volant` for others. */
export function stateFolder(option: string | undefined, env: NodeJS.ProcessEnv = process.env): string {
  const named = option ?? env['VOLANT_STATE']
  if (named !== undefined && named !== '') return resolve(named)
  if (process.getuid?.() === 0) return '/var/lib/volant'
  const base = env['XDG_STATE_HOME']
  return join(base !== undefined && base.startsWith('/') ? base : join(homedir(), '.local/state'), 'volant')
}

export const recordFile = 'control.json'
/** Says whose the folder is. */
const markFile = 'volant.state'
/** What may be in a new state folder before Volant itself: the configuration. */
const mayPrecede = ['volant.yaml']

/**
 * Sockets lie up to 47 bytes below the state folder, and a unix socket's path has at most 107.
 */
const longestPath = 60

const codeOf = (error: unknown): string => (error as NodeJS.ErrnoException).code ?? ''
const missing = (path: string): Promise<boolean> =>
  stat(path).then(
    () => false,
    (error: unknown) => codeOf(error) === 'ENOENT',
  )

/** As `mkdir -p`. Node's own never ends where nothing can be made, as in /proc. */
async function makeFolder(folder: string): Promise<void> {
  try {
    await mkdir(folder, { mode: 0o700 })
  } catch (error) {
    if (codeOf(error) === 'EEXIST') return
    if (codeOf(error) !== 'ENOENT' || !(await missing(dirname(folder)))) throw error
    await makeFolder(dirname(folder))
    await mkdir(folder, { mode: 0o700 })
  }
}

const reasons: Record<string, string> = {
  EACCES: 'no permission',
  EPERM: 'no permission',
  EROFS: 'the file system is read-only',
  ENOSPC: 'the disk is full',
  ENOTDIR: 'it, or a part of its path, is not a folder',
  ENOENT: 'nothing can be made there',
}

function unusable(folder: string, error: unknown): CliError {
  const reason = reasons[codeOf(error)] ?? (error as Error).message
  return new CliError(
    exitCodes.refused,
    `${folder} cannot be the state folder: ${reason}; choose another with --state`,
    { cause: error },
  )
}

const isStateFolder = (entries: readonly string[]): boolean =>
  entries.includes(markFile) || entries.every((entry) => mayPrecede.includes(entry))

/** Throws where there is no folder, or one that never was a state folder: a mistyped path is not "stopped". */
export async function requireStateFolder(folder: string): Promise<void> {
  const entries = await readdir(folder).catch((error: unknown) => {
    if (codeOf(error) === 'ENOENT') return undefined
    throw unusable(folder, error)
  })
  if (entries !== undefined && isStateFolder(entries)) return
  const what = entries === undefined ? 'does not exist' : 'is not a state folder of Volant'
  throw new CliError(exitCodes.notFound, `${folder} ${what}; name the one that is meant with --state`)
}

/** Creates the state folder, for its owner only. Refuses one that holds somebody else's files. */
export async function prepareStateFolder(folder: string): Promise<void> {
  if (Buffer.byteLength(folder) > longestPath) {
    throw new CliError(
      exitCodes.refused,
      `the state folder's path is ${Buffer.byteLength(folder)} bytes long, and unix sockets below it need it to be at most ${longestPath}: ${folder}`,
    )
  }
  let entries: string[]
  try {
    await makeFolder(folder)
    entries = await readdir(folder)
  } catch (error) {
    throw unusable(folder, error)
  }
  if (!isStateFolder(entries)) {
    throw new CliError(
      exitCodes.refused,
      `${folder} is neither empty nor a state folder of Volant; choose another with --state`,
    )
  }
  try {
    await chmod(folder, 0o700)
    await writeFile(
      join(folder, markFile),
      'This folder is the state of a Volant; see docs/guides/configuration.md\n',
    )
  } catch (error) {
    throw unusable(folder, error)
  }
}

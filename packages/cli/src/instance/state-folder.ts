import { access, chmod, constants, mkdir, readdir, readFile, stat, statfs, writeFile } from 'node:fs/promises'
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
/** Says whose the folder is, and how what lies in it is arranged. */
const markFile = 'volant.state'
/** Of the folder's arrangement; a release that changes it so that older ones cannot read it counts on. */
const format = 1
/** Below this a start is refused: it writes some hundred KiB, and then operations go on and write more. Bytes. */
const leastFree = 4 * 1024 ** 2
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
  EIO: 'its disk has an I/O error',
  ENOSPC: 'the disk is full',
  EDQUOT: "the user's quota of the disk is used up",
  ENOTDIR: 'it, or a part of its path, is not a folder',
  ENOENT: 'nothing can be made there',
}

/** SQLite's result codes, of the lock. */
const lockReasons: Record<number, string> = { 8: 'EROFS', 10: 'EIO', 13: 'ENOSPC', 14: 'EACCES' }

/** What is wrong with the folder, from an error of a call on it or something in it. */
export function unusable(folder: string, error: unknown): CliError {
  const { errcode } = error as { errcode?: number }
  const code = errcode === undefined ? codeOf(error) : (lockReasons[errcode & 0xff] ?? '')
  const reason = reasons[code] ?? (error as Error).message
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
  await requireFormat(folder, entries)
  try {
    await access(folder, constants.R_OK | constants.W_OK | constants.X_OK)
    await requireSpace(folder)
    if (((await stat(folder)).mode & 0o777) !== 0o700) await chmod(folder, 0o700)
    if (!entries.includes(markFile)) await writeFile(join(folder, markFile), markText)
  } catch (error) {
    throw error instanceof CliError ? error : unusable(folder, error)
  }
}

const markText = `This folder is the state of a Volant; see docs/guides/state-folder.md\nformat ${format}\n`

async function requireFormat(folder: string, entries: readonly string[]): Promise<void> {
  if (!entries.includes(markFile)) return
  const text = await readFile(join(folder, markFile), 'utf8').catch((error: unknown) => {
    throw unusable(folder, error)
  })
  // Folders of the first releases say nothing.
  const found = Number(/^format (\d+)$/m.exec(text)?.[1] ?? 1)
  if (found <= format) return
  throw new CliError(
    exitCodes.refused,
    `${folder} was arranged by a newer Volant (format ${found}; this release knows ${format}): start that release again, or choose another folder with --state. Nothing was changed`,
  )
}

async function requireSpace(folder: string): Promise<void> {
  const { bavail, bsize } = await statfs(folder)
  if (bavail * bsize >= leastFree) return
  throw new CliError(
    exitCodes.refused,
    `the disk of ${folder} is full: ${Math.floor((bavail * bsize) / 1024)} KiB are free, and a start needs ${leastFree / 1024} KiB; make room, and start again. Nothing was changed`,
  )
}

import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, renameSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { DomainError, messageOf } from '@volant/contract'

const run = promisify(execFile)
const sources = join(import.meta.dirname, '../native')
const defaultFolder = join(import.meta.dirname, '../../../.tools')
const compiling = new Map<string, Promise<string>>()

/** Path of the program that starts data-plane processes (`native/launch.c`). Throws as `ensureProgram`. */
export const ensureLauncher = (folder?: string): Promise<string> => ensureProgram('launch', folder)

/** Path of the program that copies images at rest (`native/copy.c`). Throws as `ensureProgram`. */
export const ensureCopier = (folder?: string): Promise<string> => ensureProgram('copy', folder)

/** Path of the program below a share's file system (`native/fuse-nbd.c`). Throws as `ensureProgram`; it needs libnbd, too. */
export const ensureFuseNbd = (folder?: string): Promise<string> => ensureProgram('fuse-nbd', folder)

/**
 * Path of a program of `native/`, compiled at first use and again when its source changes. Throws `unavailable` where
 * there is no C compiler.
 */
function ensureProgram(
  name: 'launch' | 'copy' | 'fuse-nbd',
  folder: string = defaultFolder,
): Promise<string> {
  const source = join(sources, `${name}.c`)
  const text = readFileSync(source)
  const path = join(folder, `volant-${name}-${createHash('sha256').update(text).digest('hex').slice(0, 16)}`)
  if (existsSync(path)) return Promise.resolve(path)
  const found = compiling.get(path)
  if (found) return found
  const compiled = compile(source, path, name === 'fuse-nbd' ? ['-lnbd'] : []).finally(() =>
    compiling.delete(path),
  )
  compiling.set(path, compiled)
  return compiled
}

async function compile(source: string, path: string, libraries: string[]): Promise<string> {
  mkdirSync(dirname(path), { recursive: true })
  const temporary = `${path}.${process.pid}`
  try {
    await run('cc', ['-O2', '-Wall', '-pthread', '-o', temporary, source, ...libraries], { timeout: 60_000 })
  } catch (error) {
    throw new DomainError(
      'unavailable',
      `Compiling ${source} failed; a C compiler (cc) is needed once${libraries.length > 0 ? ', and libnbd-dev' : ''}.`,
      {
        cause: error,
        detail: messageOf(error),
      },
    )
  }
  renameSync(temporary, path)
  return path
}

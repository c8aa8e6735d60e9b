import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, renameSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { DomainError, messageOf } from '@volant/contract'

const run = promisify(execFile)
const source = join(import.meta.dirname, '../native/launch.c')
const defaultFolder = join(import.meta.dirname, '../../../.tools')
const compiling = new Map<string, Promise<string>>()

/**
 * Path of the program that starts data-plane processes (`native/launch.c`), compiled at first use and again
 * when its source changes. Throws `unavailable` where there is no C compiler.
 */
export function ensureLauncher(folder: string = defaultFolder): Promise<string> {
  const text = readFileSync(source)
  const path = join(folder, `volant-launch-${createHash('sha256').update(text).digest('hex').slice(0, 16)}`)
  if (existsSync(path)) return Promise.resolve(path)
  const found = compiling.get(path)
  if (found) return found
  const compiled = compile(path, folder).finally(() => compiling.delete(path))
  compiling.set(path, compiled)
  return compiled
}

async function compile(path: string, folder: string): Promise<string> {
  mkdirSync(folder, { recursive: true })
  const temporary = `${path}.${process.pid}`
  try {
    await run('cc', ['-O2', '-Wall', '-o', temporary, source], { timeout: 60_000 })
  } catch (error) {
    throw new DomainError('unavailable', 'Compiling the launcher failed; a C compiler (cc) is needed once.', {
      cause: error,
      detail: messageOf(error),
    })
  }
  renameSync(temporary, path)
  return path
}

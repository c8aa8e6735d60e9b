import { randomBytes } from 'node:crypto'
import { link, open, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { DomainError } from '@volant/contract'

/**
 * The secret in `stateDir/name`, which `make` makes when there is none. The file is its owner's alone (0600),
 * appears whole or not at all, and is on disk before this returns. `made` tells whether it is new.
 */
export async function ensureSecretFile(
  stateDir: string,
  name: string,
  make: () => string,
): Promise<{ secret: string; made: boolean }> {
  const path = join(stateDir, name)
  const present = await read(path)
  if (present !== undefined) return { secret: present, made: false }
  const secret = make()
  const draft = `${path}.${randomBytes(6).toString('hex')}`
  const file = await open(draft, 'wx', 0o600)
  try {
    await file.writeFile(`${secret}\n`)
    await file.sync()
  } finally {
    await file.close()
  }
  try {
    // Unlike a rename it fails where another process was faster.
    await link(draft, path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    return { secret: (await read(path)) ?? secret, made: false }
  } finally {
    await rm(draft, { force: true })
  }
  return { secret, made: true }
}

async function read(path: string): Promise<string | undefined> {
  let text: string
  try {
    text = (await readFile(path, 'utf8')).trim()
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
  if (text.length < 8) {
    throw new DomainError(
      'unavailable',
      `${path} holds no secret of at least 8 characters. Remove it to have a new one made.`,
    )
  }
  return text
}

/** The key that signs tokens. A new one makes all tokens void. */
export async function ensureTokenKey(stateDir: string): Promise<Buffer> {
  const { secret } = await ensureSecretFile(stateDir, 'token-key', () => randomBytes(32).toString('hex'))
  const key = Buffer.from(secret, 'hex')
  if (key.length < 32) {
    throw new DomainError(
      'unavailable',
      `${join(stateDir, 'token-key')} must hold 64 hexadecimal digits. Remove it to have a new one made.`,
    )
  }
  return key
}

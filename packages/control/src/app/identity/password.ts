import { randomBytes, scrypt, timingSafeEqual, type ScryptOptions } from 'node:crypto'
import { DomainError } from '@volant/contract'

/** About 16 MiB and some tens of milliseconds for each check. */
const cost = { N: 16_384, r: 8, p: 1 }
const keyBytes = 32
/** At most this many at a time, so that a flood of wrong passwords leaves a core and the thread pool free. */
const concurrency = 2
const longestQueue = 200

export interface Passwords {
  /** `scrypt$N$r$p$salt$key`. */
  hash(password: string): Promise<string>
  /** Takes the same time whether or not there is a hash to compare with. */
  matches(password: string, hash: string | null | undefined): Promise<boolean>
}

export function createPasswords(): Passwords {
  const turns = createTurns()
  const derive = (password: string, salt: Buffer, options: ScryptOptions): Promise<Buffer> =>
    turns(
      () =>
        new Promise((resolve, reject) => {
          scrypt(password.normalize('NFC'), salt, keyBytes, options, (error, key) => {
            if (error === null) resolve(key)
            else reject(error)
          })
        }),
    )
  return {
    async hash(password) {
      const salt = randomBytes(16)
      const key = await derive(password, salt, cost)
      return ['scrypt', cost.N, cost.r, cost.p, salt.toString('base64url'), key.toString('base64url')].join(
        '$',
      )
    },
    async matches(password, hash) {
      const stored = parse(hash)
      const key = await derive(password, stored?.salt ?? randomBytes(16), stored?.options ?? cost)
      return timingSafeEqual(key, stored?.key ?? randomBytes(keyBytes)) && stored !== undefined
    },
  }
}

function parse(hash: string | null | undefined) {
  if (hash === null || hash === undefined) return undefined
  const [scheme, N, r, p, salt, key] = hash.split('$')
  if (scheme !== 'scrypt' || salt === undefined || key === undefined) return undefined
  return {
    options: { N: Number(N), r: Number(r), p: Number(p) },
    salt: Buffer.from(salt, 'base64url'),
    key: Buffer.from(key, 'base64url'),
  }
}

function createTurns() {
  let running = 0
  const waiting: (() => void)[] = []
  return async <T>(work: () => Promise<T>): Promise<T> => {
    if (running >= concurrency) {
      if (waiting.length >= longestQueue) {
        throw new DomainError('unavailable', 'Too many authentications at a time. Try again in a moment.')
      }
      // The one that finishes hands its turn over: `running` stays as it is.
      await new Promise<void>((resolve) => waiting.push(resolve))
    } else {
      running++
    }
    try {
      return await work()
    } finally {
      const next = waiting.shift()
      if (next === undefined) running--
      else next()
    }
  }
}

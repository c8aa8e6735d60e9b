import { execFile, spawn } from 'node:child_process'
import type { ChildProcessWithoutNullStreams } from 'node:child_process'
import { readdir } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { DomainError, messageOf } from '@volant/contract'
import type { FlexVolUsage } from '@volant/contract'
import { ensureCopier } from '@volant/qemu/launcher.ts'
import { ensureGone, findByCommandWord, identityOf } from '@volant/qemu/process.ts'

const run = promisify(execFile)

/** How long a program that was told to end has before it is killed. Milliseconds. */
const endGraceMs = 5000

/**
 * The native copier (`qemu/native/copy.c`) at work: a child of the agent that ends when its input does, and so with the
 * agent, however that ends.
 */
export class Copier {
  readonly #child: ChildProcessWithoutNullStreams
  readonly #closed: Promise<number | null>
  #error = ''

  static async start(args: readonly string[], onOutput: (text: string) => void): Promise<Copier> {
    return new Copier(spawn(await ensureCopier(), args, { cwd: '/' }), onOutput)
  }

  private constructor(child: ChildProcessWithoutNullStreams, onOutput: (text: string) => void) {
    this.#child = child
    this.#closed = new Promise((resolve) => {
      child.on('error', (error) => (this.#error ||= error.message))
      child.on('close', resolve)
    })
    child.stdin.on('error', () => {}) // it ended: its status says why
    child.stdout.setEncoding('utf8').on('data', onOutput)
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#error = `${this.#error}${text}`.slice(-2000)
    })
  }

  /** `pause`, `resume` or `rate BYTES`. */
  tell(command: string): void {
    if (this.#child.stdin.writable) this.#child.stdin.write(`${command}\n`)
  }

  /** Returns when the program is gone: undefined where it has done all, else the reason. */
  async ended(): Promise<string | undefined> {
    const status = await this.#closed
    if (status === 0) return undefined
    return this.#error.trim().split('\n').at(-1) || `the copier ended with status ${status}`
  }

  /** Ends it where it is, and returns when it is gone. Throws `unavailable` where it does not go. */
  async end(): Promise<void> {
    this.#child.stdin.end()
    const { pid } = this.#child
    const bound = new AbortController()
    const late = sleep(endGraceMs, true, { signal: bound.signal }).catch(() => false)
    const isLate = await Promise.race([this.#closed.then(() => false), late])
    bound.abort()
    if (!isLate || pid === undefined) return
    this.#child.kill('SIGKILL')
    await ensureGone(identityOf(pid))
    await this.#closed
  }
}

/** The word that names the copy in the command lines of its programs. */
export const copyWord = (imageId: string): string => `image=${imageId}`
/** The target's id in a copier's command line. */
export const copiedImage = (words: readonly string[]): string | undefined =>
  words.find((word) => word.startsWith(copyWord('')))?.slice(copyWord('').length)
/** `qemu-img` has no such word; its TLS credentials are named so. */
export const copyTlsId = (imageId: string): string => `copy-${imageId}`

/** Ends what an agent that died has left of the copying to an image; returns when it is gone. */
export async function endLeftCopiers(imageId: string): Promise<void> {
  const word = new RegExp(`^(${copyWord(imageId)}$|tls-creds-x509,id=${copyTlsId(imageId)},)`)
  for (const left of findByCommandWord(word)) await ensureGone(left)
}

const imageName = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i

/** What the files of a FlexVol's folder occupy; blocks that several share are found by their place on the device. */
export async function usageOf(folder: string): Promise<FlexVolUsage> {
  let names: string[]
  try {
    names = await readdir(folder)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    return { images: 0, allocatedBytes: 0, uniqueBytes: 0 }
  }
  try {
    const { stdout } = await run(await ensureCopier(), ['usage', folder], { timeout: 60_000 })
    const figure = (word: string): number =>
      Number(new RegExp(`^${word} (\\d+)$`, 'm').exec(stdout)?.[1] ?? Number.NaN)
    return {
      images: names.filter((name) => imageName.test(name)).length,
      allocatedBytes: figure('allocated'),
      uniqueBytes: figure('unique'),
    }
  } catch (error) {
    throw new DomainError('unavailable', `What ${folder} occupies cannot be found out: ${messageOf(error)}`, {
      cause: error,
    })
  }
}

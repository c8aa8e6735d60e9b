import { linkSync } from 'node:fs'
import { readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { DomainError, messageOf } from '@volant/contract'
import { syncFolder, syncFolderBeside } from '@volant/qemu/durable-file.ts'

/** What a register can say; it says one of them for ever. */
export type Decision = 'committed' | 'abandoned'
const decisions: readonly Decision[] = ['committed', 'abandoned']

/**
 * The decision register of one attempt at a cutover: a name that does not exist until the decision and then is a hard
 * link to one of two files that lie ready. A link is made once, whoever tries; it needs no space; and it can't be made
 * any more once the attempt was tidied up. Its other user is the guard (`launch guard`), in another process.
 */
export class Register {
  readonly path: string

  constructor(path: string) {
    this.path = path
  }

  /** Written by the guard when it is ready. */
  get readyPath(): string {
    return `${this.path}.guard`
  }

  /** Lays both decisions ready, durably, so that deciding is one link and one synchronisation. */
  async create(): Promise<void> {
    await Promise.all(
      decisions.map((decision) =>
        writeFile(`${this.path}.${decision}`, `${decision}\n`, { mode: 0o600, flush: true }),
      ),
    )
    // Nobody's I/O is held for this cutover yet, but perhaps for another one: the process goes on.
    await syncFolderBeside(dirname(this.path))
  }

  /** The decision, on disk; undefined where there is none yet. */
  async read(): Promise<Decision | undefined> {
    let text: string
    try {
      text = await readFile(this.path, 'utf8')
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
      throw unreadable(this.path, error)
    }
    const found = decisions.find((decision) => text === `${decision}\n`)
    if (!found) throw unreadable(this.path, 'it holds no decision')
    // Who wrote it may not have come to this yet, and nothing may be built on it before.
    syncFolder(dirname(this.path))
    return found
  }

  /**
   * Decides, or finds that it was decided; returns what stands. Throws `conflict` where the attempt is over.
   * Synchronous inside, as the record in the database is: the client waits, and each turn of the event loop would be added.
   */
  async decide(wanted: Decision): Promise<Decision> {
    try {
      linkSync(`${this.path}.${wanted}`, this.path)
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      if (code === 'ENOENT') {
        throw new DomainError(
          'conflict',
          `This attempt at the cutover is over; it cannot be ${wanted} any more.`,
        )
      }
      const found = code === 'EEXIST' ? await this.read() : undefined
      if (found) return found
      throw new DomainError(
        'unavailable',
        `The decision register ${this.path} cannot be written: ${messageOf(error)}`,
        {
          cause: error,
        },
      )
    }
    syncFolder(dirname(this.path))
    return wanted
  }

  /** First what could still be linked, then the decision: nobody who comes late finds an attempt without one. */
  async close(): Promise<void> {
    for (const decision of decisions) await rm(`${this.path}.${decision}`, { force: true })
  }

  async remove(): Promise<void> {
    await this.close()
    await rm(this.readyPath, { force: true })
    await rm(this.path, { force: true })
  }
}

/** The register that a file in its folder belongs to. */
export const registerOfFile = (file: string): string => file.replace(/\.(committed|abandoned|guard)$/, '')

/** Paths of all registers that anything is left of. */
export async function registersIn(folder: string): Promise<string[]> {
  const names = (await readdir(folder)).map(registerOfFile)
  return [...new Set(names)].map((name) => join(folder, name))
}

const unreadable = (path: string, reason: unknown): DomainError =>
  new DomainError(
    'unavailable',
    `The decision register ${basename(path)} cannot be read: ${messageOf(reason)}`,
    {
      cause: reason,
    },
  )

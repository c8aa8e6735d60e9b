/**
 * What guests say on their serial consoles, wherever they run. A guest that goes to another host goes on in another file
 * there, and the file of the host that it left is removed: so each is read as it grows, and kept.
 */
import { closeSync, existsSync, openSync, readdirSync, readSync, statSync } from 'node:fs'
import { join } from 'node:path'

/** Milliseconds between two looks. */
const lookEveryMs = 50

interface Source {
  serverId: string
  fd: number
  from: number
  /** The start of a line whose end is not there yet. */
  rest: string
}

export interface Consoles {
  /** All lines of all hosts, in the order in which they came. */
  of(serverId: string): string
  close(): void
}

/** `folders`: of guests, one of each compute host; they need not be there yet. */
export function followConsoles(folders: readonly string[]): Consoles {
  const sources = new Map<string, Source>()
  const texts = new Map<string, string[]>()
  const chunk = Buffer.alloc(1 << 20)

  /** The file stays open when it is removed, so that its last words are heard. */
  const find = (): void => {
    for (const folder of folders.filter((path) => existsSync(path))) {
      for (const serverId of readdirSync(folder)) {
        const path = join(folder, serverId, 'console.log')
        try {
          const { dev, ino } = statSync(path)
          const key = `${dev}/${ino}/${path}`
          if (!sources.has(key)) sources.set(key, { serverId, fd: openSync(path, 'r'), from: 0, rest: '' })
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
        }
      }
    }
  }
  const read = (source: Source): void => {
    for (;;) {
      const count = readSync(source.fd, chunk, 0, chunk.length, source.from)
      if (count === 0) return
      source.from += count
      const lines = (source.rest + chunk.toString('latin1', 0, count)).split('\n')
      source.rest = lines.pop() ?? ''
      const text = texts.get(source.serverId) ?? []
      texts.set(source.serverId, text)
      for (const line of lines) text.push(line)
    }
  }
  const look = (): void => {
    find()
    for (const source of sources.values()) read(source)
  }
  const timer = setInterval(look, lookEveryMs)
  return {
    of(serverId) {
      look()
      return `${(texts.get(serverId) ?? []).join('\n')}\n`
    },
    close() {
      clearInterval(timer)
      for (const { fd } of sources.values()) closeSync(fd)
      sources.clear()
    },
  }
}

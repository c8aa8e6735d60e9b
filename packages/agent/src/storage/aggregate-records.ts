import { mkdirSync, readdirSync, unlinkSync } from 'node:fs'
import { join } from 'node:path'
import type { AggregateDefinition } from '@volant/contract'
import { readJson, syncFolder, writeJsonDurably } from '@volant/qemu/durable-file.ts'

/** What a storage node knows of an aggregate, whoever asked for it. */
export interface AggregateRecord extends AggregateDefinition {
  /** `plan`: of the configuration; remembered for its `uuid` alone. `call`: made at run time. */
  origin: 'plan' | 'call'
  /** It is an aggregate when it is `made`; the other two are what a crash left, and belong to it alone. */
  state: 'making' | 'made' | 'removing'
  filesystem?: 'folder' | 'xfs'
  /** Of its XFS, from the time when it was mounted first: another file in its place is not it. */
  uuid?: string
}

/** One file for each aggregate. There are few, and few changes of them: all are kept in memory, too. */
export class AggregateRecordFiles {
  readonly #folder: string
  readonly #records = new Map<string, AggregateRecord>()

  constructor(folder: string) {
    this.#folder = folder
    for (const name of namesIn(folder)) {
      if (!name.endsWith('.json')) continue
      const record = readJson(join(folder, name)) as AggregateRecord | undefined
      if (record !== undefined) this.#records.set(record.name, record)
    }
  }

  all(): AggregateRecord[] {
    return [...this.#records.values()].toSorted((a, b) => (a.name < b.name ? -1 : 1))
  }

  find(name: string): AggregateRecord | undefined {
    return this.#records.get(name)
  }

  write(record: AggregateRecord): void {
    mkdirSync(this.#folder, { recursive: true, mode: 0o700 })
    writeJsonDurably(this.#path(record.name), record)
    this.#records.set(record.name, record)
  }

  remove(name: string): void {
    try {
      unlinkSync(this.#path(name))
      syncFolder(this.#folder)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    }
    this.#records.delete(name)
  }

  #path(name: string): string {
    return join(this.#folder, `${name}.json`)
  }
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw error
  }
}

import { readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import type { ShareExportSpec } from '@volant/contract'
import { ensurePrivateFolder, readJson, syncFolder, writeJsonDurably } from '@volant/qemu/durable-file.ts'
import type { ProcessIdentity } from '@volant/qemu/process.ts'
import type { NfsProtocol } from './exports.ts'

/** What is written down about an NFS server, in `<folder>/server.json`. */
export interface ServerRecord {
  svm: string
  lif: string
  ganesha?: ProcessIdentity
  bus?: ProcessIdentity
  /** Those that the running server was started with. */
  protocols?: NfsProtocol[]
}

/** The records of one server: its own, and one for each of its exports, `<folder>/exports/<shareId>.json`. */
export class ServerRecords {
  readonly folder: string
  readonly #exports: string

  constructor(folder: string) {
    this.folder = folder
    this.#exports = join(folder, 'exports')
  }

  read(): ServerRecord | undefined {
    return readJson(join(this.folder, 'server.json')) as ServerRecord | undefined
  }

  write(record: ServerRecord): void {
    ensurePrivateFolder(this.#exports)
    writeJsonDurably(join(this.folder, 'server.json'), record)
  }

  exports(): ShareExportSpec[] {
    return jsonNames(this.#exports).flatMap((name) => {
      const found = readJson(join(this.#exports, name)) as ShareExportSpec | undefined
      return found === undefined ? [] : [found]
    })
  }

  writeExport(spec: ShareExportSpec): void {
    ensurePrivateFolder(this.#exports)
    writeJsonDurably(this.exportPath(spec.shareId), spec)
  }

  exportPath(shareId: string): string {
    return join(this.#exports, `${shareId}.json`)
  }

  /** What the server itself reads of an export; made anew from the record before each use. */
  exportFile(shareId: string): string {
    return join(this.#exports, `${shareId}.conf`)
  }

  removeExport(shareId: string): void {
    rmSync(this.exportPath(shareId), { force: true })
    rmSync(this.exportFile(shareId), { force: true })
    syncFolder(this.#exports)
  }

  /** With everything: what clients could have claimed of it, too. */
  remove(): void {
    rmSync(this.folder, { recursive: true, force: true })
  }
}

function jsonNames(folder: string): string[] {
  try {
    return readdirSync(folder).filter((name) => name.endsWith('.json'))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw error
  }
}

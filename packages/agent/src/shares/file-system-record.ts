import { mkdirSync, readdirSync, realpathSync } from 'node:fs'
import { readdir, rm, rmdir } from 'node:fs/promises'
import { join } from 'node:path'
import { DomainError } from '@volant/contract'
import type { FileSystemSpec } from '@volant/contract'
import { readJson, syncFolder, writeJsonDurably } from '@volant/qemu/durable-file.ts'
import { requireSafeId } from '../daemon/names.ts'
import type { HeadAddress } from './block-device.ts'
import type { HeadContent } from './file-system.ts'

/** What is written down about a share's file system, in `<stateDir>/file-systems/<shareId>/record.json`. */
export interface FileSystemRecord {
  shareId: string
  head: HeadAddress
  content: FileSystemSpec['content']
  /** As it was asked for first; what it has is the kernel's to say. */
  sizeBytes: number
  readOnly?: boolean
  /** Of the head's export: what it says of itself at the first connection, and must say at each later one. */
  identity?: string
  /** From the time when it was mounted first: nothing else is mounted in its place, and it is never formatted again. */
  uuid?: string
  logBytes?: number
  /** What the head served when the block device was made: its size for good. */
  deviceBytes?: number
  /** It is being taken down: nobody mounts it again. */
  isEnding?: true
}

/** The records of a node's file systems: one in each share's folder, all of them in memory, too. */
export class FileSystemRecords {
  /** Absolute, and without links. */
  readonly folder: string
  readonly #records = new Map<string, FileSystemRecord>()

  constructor(folder: string) {
    mkdirSync(folder, { recursive: true, mode: 0o700 })
    this.folder = realpathSync(folder)
    for (const shareId of readdirSync(this.folder)) {
      const record = readJson(this.path(shareId)) as FileSystemRecord | undefined
      if (record !== undefined) this.#records.set(shareId, record)
    }
  }

  all(): FileSystemRecord[] {
    return [...this.#records.values()]
  }

  find(shareId: string): FileSystemRecord | undefined {
    return this.#records.get(shareId)
  }

  write(record: FileSystemRecord): void {
    mkdirSync(this.folderOf(record.shareId), { recursive: true, mode: 0o700 })
    writeJsonDurably(this.path(record.shareId), record)
    this.#records.set(record.shareId, record)
  }

  /** With the share's folder: files in it, and empty folders. What is in a folder of it is never removed. */
  async remove(shareId: string): Promise<void> {
    const folder = this.folderOf(shareId)
    this.#records.delete(shareId)
    await rm(this.path(shareId), { force: true })
    for (const { name, isDirectory } of await entriesOf(folder)) {
      await (isDirectory ? rmdir(join(folder, name)) : rm(join(folder, name), { force: true }))
    }
    await rmdir(folder).catch(unlessMissing)
    syncFolder(this.folder)
  }

  folderOf(shareId: string): string {
    return join(this.folder, requireSafeId('share id', shareId))
  }

  path(shareId: string): string {
    return join(this.folderOf(shareId), 'record.json')
  }
}

const unlessMissing = (error: unknown): void => {
  if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
}

async function entriesOf(folder: string): Promise<{ name: string; isDirectory: boolean }[]> {
  const found = (await readdir(folder, { withFileTypes: true }).catch(unlessMissing)) ?? []
  return found.map((one) => ({ name: one.name, isDirectory: one.isDirectory() }))
}

/** Why what the head has is not to be mounted, or formatted. */
export function objection(
  record: FileSystemRecord,
  { identity, superblock, sizeBytes }: HeadContent,
): DomainError | undefined {
  const { shareId, content } = record
  const wrong = (text: string): DomainError => new DomainError('conflict', `Share ${shareId}: ${text}`)
  if (record.identity !== undefined && record.identity !== identity) {
    return wrong(`the head serves ${identity || 'a volume without a name'} instead of ${record.identity}.`)
  }
  if (superblock === undefined) {
    if (record.uuid !== undefined) return wrong('there is no file system in its image any more.')
    if (content !== 'format') return wrong('there is no file system in its image.')
    if (record.sizeBytes > sizeBytes)
      return wrong(`its image has ${sizeBytes} bytes, less than the file system is to have.`)
  } else if (record.uuid !== undefined && record.uuid !== superblock.uuid) {
    return wrong(`its image holds another file system (${superblock.uuid} instead of ${record.uuid}).`)
  }
  return undefined
}

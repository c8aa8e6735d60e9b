import { constants } from 'node:fs'
import { copyFile, mkdir, readdir, rm, rmdir, stat, writeFile } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { DomainError, isDomainError, messageOf } from '@volant/contract'
import type { AggregateDefinition, AggregateInfo, AggregateSpace } from '@volant/contract'
import { syncFolder } from '@volant/qemu/durable-file.ts'
import type { Log } from '../daemon/log.ts'
import { requireSafeId, requireSize } from '../daemon/names.ts'
import { createSerial } from '../daemon/serial.ts'
import { AggregateRecordFiles } from './aggregate-records.ts'
import type { AggregateRecord } from './aggregate-records.ts'
import { isMountRoot, xfsUuidOf } from './loop-mount.ts'
import {
  formatXfsFile,
  growXfsFile,
  hasXfsFile,
  isXfsMounted,
  leastXfsBytes,
  mountXfsFile,
  removeXfsFile,
  requireXfs,
  shrinks,
  unmountXfsFile,
  xfsFileOf,
  xfsSpace,
} from './xfs-file.ts'

/** Of the file system itself, and the probe's: nothing of a FlexVol's. */
const probeName = '.reflink-probe'
const isContent = (name: string): boolean => name !== 'lost+found' && !name.startsWith(probeName)

/**
 * The aggregates of a storage node: those of its plan, and those that were made at run time, which it finds again by
 * its own records. Each that is a file is mounted before it is used: `ready`.
 */
export class Aggregates {
  readonly #node: string
  readonly #configured: readonly AggregateDefinition[]
  readonly #records: AggregateRecordFiles
  readonly #log: Log
  readonly #serial = createSerial()
  /** By name and device: a file system keeps what it can. */
  readonly #reflink = new Map<string, boolean>()
  /** Files that have their size: looked at once in a process. */
  readonly #grown = new Set<string>()

  constructor(options: {
    node: string
    stateDir: string
    configured: readonly AggregateDefinition[]
    log: Log
  }) {
    this.#node = options.node
    this.#log = options.log
    this.#configured = options.configured.map((one) => ({ ...one, path: resolve(one.path) }))
    this.#records = new AggregateRecordFiles(join(options.stateDir, 'aggregates'))
  }

  /** Those that are there; not such as are being made or removed. */
  all(): AggregateDefinition[] {
    const made = this.#records.all().filter(({ origin, state }) => origin === 'call' && state === 'made')
    return [...this.#configured, ...made.filter(({ name }) => !this.#isConfigured(name)).map(definitionOf)]
  }

  /**
   * Throws `notFound`; `unavailable` where its file system is not mounted. Whoever is about to use it has called `ready`
   * before: this is the last look, in the same turn of the event loop.
   */
  get(name: string): AggregateDefinition {
    const found = this.#find(name)
    if (found.filesystem === 'xfs' && !isMountRoot(found.path)) {
      throw new DomainError('unavailable', `Aggregate ${name} of node ${this.#node} is not mounted.`)
    }
    return found
  }

  /** Formats the file where there never was one, and mounts it where it is not. Throws `unavailable`, and says why. */
  async ready(name: string): Promise<void> {
    const found = this.#find(name)
    if (found.filesystem !== 'xfs') return
    if (this.#grown.has(name) && (await isXfsMounted(found.path))) return
    await this.#serial(name, async () => this.#mount(found))
  }

  /** Mounts all. What can't be is logged, and tried again when it is used. */
  async adopt(): Promise<void> {
    for (const { name } of this.all()) {
      await this.ready(name).catch((error: unknown) => {
        this.#log.warn({ aggregate: name, error }, `aggregate ${name}: ${messageOf(error)}`)
      })
    }
  }

  async list(): Promise<AggregateInfo[]> {
    return Promise.all(this.all().map(async ({ name }) => this.#info(name)))
  }

  async space(name: string): Promise<AggregateSpace | undefined> {
    const { path, filesystem } = this.get(name)
    return filesystem === 'xfs' ? xfsSpace(path) : undefined
  }

  /** Nothing of the other calls about this aggregate comes in between. */
  inTurn<T>(name: string, task: () => Promise<T>): Promise<T> {
    return this.#serial(name, task)
  }

  async ensure(wanted: AggregateDefinition): Promise<AggregateInfo> {
    requireSafeId('aggregate name', wanted.name)
    const definition = { ...wanted, path: resolve(wanted.path) }
    await this.#serial(wanted.name, async () => this.#make(definition))
    return this.#info(wanted.name)
  }

  async ensureNo(name: string): Promise<void> {
    requireSafeId('aggregate name', name)
    await this.#serial(name, async () => this.#remove(name))
  }

  /** Of those that are files, or were by an earlier configuration. The files stay, and the next `ready` mounts them. */
  async unmount(): Promise<void> {
    const all = new Map([...this.#records.all(), ...this.all()].map((one) => [one.path, one]))
    const busy: unknown[] = []
    for (const { name, path, filesystem } of all.values()) {
      if (filesystem !== 'xfs' || !(await hasXfsFile(path))) continue
      await this.#serial(name, async () => unmountXfsFile(path)).catch((error: unknown) => busy.push(error))
    }
    if (busy.length > 0) throw busy[0]
  }

  /** Run-time aggregates by their own records, unfinished ones too. */
  recorded(): AggregateRecord[] {
    return this.#records.all().filter(({ origin }) => origin === 'call')
  }

  #isConfigured(name: string): boolean {
    return this.#configured.some((one) => one.name === name)
  }

  #find(name: string): AggregateDefinition {
    const all = this.all()
    const found = all.find((one) => one.name === name)
    if (found) return found
    const names = all.map((one) => one.name).join(', ')
    throw new DomainError('notFound', `Node ${this.#node} has no aggregate ${name}; it has ${names}.`)
  }

  async #mount(definition: AggregateDefinition): Promise<void> {
    const { name, path, sizeBytes = 0 } = definition
    try {
      const record = this.#records.find(name)
      if (!(await isXfsMounted(path))) {
        requireXfs(`Aggregate ${name}`)
        if (!(await hasXfsFile(path))) await this.#formatFirst(definition, record)
        await mountXfsFile(path, record?.uuid)
        this.#log.warn({ aggregate: name, path }, 'an aggregate was mounted')
      }
      const uuid = await xfsUuidOf(xfsFileOf(path))
      if (record?.uuid === undefined || record.uuid !== uuid) {
        const known = record ?? { ...definition, origin: 'plan' as const, state: 'made' as const }
        this.#records.write({ ...known, ...(uuid === undefined ? {} : { uuid }) })
      }
      await growXfsFile(path, sizeBytes).catch((error: unknown) => {
        this.#log.warn({ aggregate: name, error }, messageOf(error))
      })
      this.#grown.add(name)
    } catch (error) {
      if (isDomainError(error) && error.code === 'unavailable') throw error
      throw new DomainError(
        'unavailable',
        `Aggregate ${name} of node ${this.#node} is not mounted. ${messageOf(error)}`,
        { cause: error },
      )
    }
  }

  /** A file that was there once and is missing is on a disk that is missing: a new one would hide that. */
  async #formatFirst(definition: AggregateDefinition, record: AggregateRecord | undefined): Promise<void> {
    const { name, path, sizeBytes = 0 } = definition
    if (record?.uuid !== undefined) {
      throw new DomainError(
        'unavailable',
        `The file ${xfsFileOf(path)} of aggregate ${name} is gone: mount the file system that it is on, or put it back.`,
      )
    }
    await formatXfsFile(path, sizeBytes)
  }

  async #info(name: string): Promise<AggregateInfo> {
    const definition = this.#find(name)
    const info = { ...definition, filesystem: definition.filesystem ?? ('folder' as const) }
    try {
      await this.ready(name)
      return { ...info, reflink: await this.#canShare(this.get(name)) }
    } catch (error) {
      return { ...info, reflink: false, down: messageOf(error) }
    }
  }

  /** Tried once for each file system that it is found on. */
  async #canShare({ name, path }: AggregateDefinition): Promise<boolean> {
    const { dev, ino } = await stat(path)
    const key = `${name}/${dev}/${ino}`
    const known = this.#reflink.get(key)
    if (known !== undefined) return known
    const [one, other] = [join(path, probeName), join(path, `${probeName}.clone`)]
    const can = await this.#serial(`probe ${name}`, async () => {
      try {
        await writeFile(one, Buffer.alloc(4096, 1), { mode: 0o600 })
        await copyFile(one, other, constants.COPYFILE_FICLONE_FORCE)
        return true
      } catch {
        return false
      } finally {
        await Promise.all([rm(one, { force: true }), rm(other, { force: true })])
      }
    })
    this.#reflink.set(key, can)
    return can
  }

  async #make(wanted: AggregateDefinition): Promise<void> {
    const { name, path, filesystem = 'folder', sizeBytes } = wanted
    if (this.#isConfigured(name)) {
      throw new DomainError('conflict', `Aggregate ${name} of node ${this.#node} is of the configuration.`)
    }
    let record = this.#records.find(name)
    if (record?.state === 'removing') {
      await this.#remove(name)
      record = undefined
    }
    if (record && (record.path !== path || record.filesystem !== filesystem)) {
      throw new DomainError(
        'conflict',
        `Aggregate ${name} of node ${this.#node} is there as ${record.filesystem} at ${record.path}.`,
      )
    }
    if (filesystem === 'xfs') requireXfsSize(name, sizeBytes, record?.sizeBytes)
    if (record?.state === 'made') return this.#change({ ...record, ...wanted, filesystem })
    if (filesystem === 'xfs') requireXfs(`Aggregate ${name}`)
    if (record === undefined) await this.#begin({ ...wanted, filesystem })
    try {
      if (filesystem === 'folder') {
        await mkdir(path, { recursive: true, mode: 0o700 })
        syncFolder(dirname(path))
      } else {
        await formatXfsFile(path, sizeBytes ?? 0)
        if (!(await isXfsMounted(path))) await mountXfsFile(path, undefined)
      }
    } catch (error) {
      await this.#remove(name)
      if (isDomainError(error) && error.code !== 'unavailable') throw error
      throw new DomainError('notImplemented', `Aggregate ${name} could not be made. ${messageOf(error)}`, {
        cause: error,
      })
    }
    const uuid = filesystem === 'xfs' ? await xfsUuidOf(xfsFileOf(path)) : undefined
    this.#records.write({
      ...wanted,
      filesystem,
      origin: 'call',
      state: 'made',
      ...(uuid === undefined ? {} : { uuid }),
    })
  }

  /** What it finds at its place is not its own, and is left alone. From the record on, what is there is. */
  async #begin(wanted: AggregateDefinition & { filesystem: 'folder' | 'xfs' }): Promise<void> {
    const { name, path, filesystem } = wanted
    const taken = this.all().find((one) => isInside(path, one.path) || isInside(one.path, path))
    if (taken) {
      throw new DomainError('conflict', `${path} is, or lies in, the place of aggregate ${taken.name}.`)
    }
    const parent = dirname(path)
    if (!(await stat(parent).catch(() => undefined))?.isDirectory()) {
      throw new DomainError('invalid', `There is no folder ${parent} on node ${this.#node}.`)
    }
    if (filesystem === 'xfs' && (await hasXfsFile(path))) {
      throw new DomainError(
        'conflict',
        `There is a file ${xfsFileOf(path)} already, which no aggregate has; move it away.`,
      )
    }
    if ((await entriesOf(path)).length > 0) {
      throw new DomainError('conflict', `There is something in ${path} already; move it away.`)
    }
    this.#records.write({ ...wanted, name, origin: 'call', state: 'making' })
  }

  /** On record first: after a crash the next mount makes it true. */
  async #change(record: AggregateRecord): Promise<void> {
    this.#records.write(record)
    if (record.filesystem === 'xfs') await this.#mount(record)
  }

  async #remove(name: string): Promise<void> {
    if (this.#isConfigured(name)) {
      throw new DomainError(
        'conflict',
        `Aggregate ${name} of node ${this.#node} is of the configuration; remove it from volant.yaml.`,
      )
    }
    const record = this.#records.find(name)
    if (record === undefined) return
    const { path, filesystem, state } = record
    if (state === 'made') {
      // What is in it is seen only where it is mounted.
      if (filesystem === 'xfs') await this.#mount(record)
      const left = await entriesOf(path)
      if (left.length > 0) {
        throw new DomainError(
          'conflict',
          `Aggregate ${name} of node ${this.#node} is not empty: ${left.slice(0, 5).join(', ')}.`,
        )
      }
      if (filesystem === 'xfs') await unmountXfsFile(path)
    }
    this.#records.write({ ...record, state: 'removing' })
    this.#grown.delete(name)
    if (filesystem === 'xfs') {
      await unmountXfsFile(path)
      await removeXfsFile(path)
    } else {
      await removeFolder(path)
    }
    syncFolder(dirname(path))
    this.#records.remove(name)
  }
}

const definitionOf = ({
  origin: _o,
  state: _s,
  uuid: _u,
  ...definition
}: AggregateRecord): AggregateDefinition => definition

const isInside = (path: string, folder: string): boolean => path === folder || path.startsWith(`${folder}/`)

async function entriesOf(path: string): Promise<string[]> {
  try {
    return (await readdir(path)).filter(isContent)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT') return []
    if (code === 'ENOTDIR') return ['a file']
    throw error
  }
}

/** A folder that another file system is mounted at is left to whoever mounted it. */
async function removeFolder(path: string): Promise<void> {
  try {
    await rmdir(path)
  } catch (error) {
    if (!['ENOENT', 'EBUSY', 'ENOTEMPTY'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error
  }
}

function requireXfsSize(name: string, sizeBytes: number | undefined, present: number | undefined): void {
  if (sizeBytes === undefined || sizeBytes < leastXfsBytes) {
    throw new DomainError('invalid', `Aggregate ${name} needs a size, of at least 512 MiB, to be XFS.`)
  }
  requireSize(sizeBytes)
  if (present !== undefined && sizeBytes < present) throw shrinks(name, present, sizeBytes)
}

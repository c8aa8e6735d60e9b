import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { DomainError } from '@volant/contract'
import type { InventoryItem } from '@volant/contract'
import { isOpenInQemu, lockedPlaces, lockPlace } from '../daemon/file-locks.ts'
import { daemonItem, findDaemons } from '../inventory/daemons.ts'
import type { DaemonForm, DaemonParts } from '../inventory/daemons.ts'
import { filesIn, findFile } from '../inventory/files.ts'
import type { FoundFile } from '../inventory/files.ts'
import { processesNaming } from '../inventory/processes.ts'
import type { FoundProcess } from '../inventory/processes.ts'
import { fileItem, processItem, requireUnchanged, unclaimedItems } from '../inventory/unclaimed.ts'
import { aggregateItems } from './aggregate-inventory.ts'
import { copiedImage } from './copier.ts'
import { readExportRecord } from './exports.ts'
import type { ExportRecord } from './exports.ts'
import { finishRemoval, removeImage } from './images.ts'
import type { Aggregates } from './aggregates.ts'
import type { Aggregate } from './images.ts'

/** Where a storage agent keeps things. */
export interface StoragePlaces {
  stateDir: string
  runDir: string
  logDir: string
  aggregates: Aggregates
}

const uuid = '[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}'
const imageName = new RegExp(`^${uuid}$`, 'i')
const partName = new RegExp(`^(${uuid})\\.(new|gone)$`, 'i')
/** An export's name is `<exportId>.<32 hexadecimal digits>`. */
const exportName = /^(.+)\.[0-9a-f]{32}$/
/** An export's id is `<holderId>.<imageId>`. */
const exportId = new RegExp(`^(.+)\\.(${uuid})$`, 'i')

/** The id in the name of the export that a daemon's command line defines. */
function exportIdIn(words: readonly string[]): string | undefined {
  try {
    const { name } = JSON.parse(words[words.indexOf('--export') + 1] ?? '') as { name?: unknown }
    return exportName.exec(String(name))?.[1]
  } catch {
    return undefined
  }
}

const exportForm = ({ stateDir, runDir, logDir }: StoragePlaces): DaemonForm => ({
  kind: 'export',
  recordDir: join(stateDir, 'exports'),
  logDir,
  logPrefix: 'export-',
  runDir,
  sockets: ['.eq', '.ek'],
  own: ['.eq', '.ek'],
  idOf: exportIdIn,
})

/** Everything of a storage node: images and what is no image in FlexVols, exports, processes. */
export async function storageInventory(places: StoragePlaces): Promise<InventoryItem[]> {
  const own = [places.stateDir, places.runDir]
  const aggregates = places.aggregates.all()
  const processes = await processesNaming([...own, ...aggregates.map(({ path }) => path)])
  const form = exportForm(places)
  const daemons = [...(await findDaemons(form, processes)).values()]
  const locked = await lockedPlaces()
  const items = daemons.map((parts) => exportItem(places, form, parts))
  for (const aggregate of aggregates) items.push(...(await imageItems(aggregate, locked)))
  items.push(...(await aggregateItems(places.aggregates)))
  const converters = processes.filter(isConverter)
  items.push(...converters.map((one) => converterItem(aggregates, one)))
  const copiers = processes.filter(isCopier)
  items.push(...copiers.map(copierItem))
  const claimed = [...converters, ...copiers, ...daemons.flatMap((parts) => parts.processes)]
  // Holders of this machine have images open as files; their own agent tells of them.
  const naming = processes.filter(({ words }) =>
    words.some((word) => own.some((folder) => word.includes(`${folder}/`))),
  )
  return [...items, ...(await unclaimedItems(places.runDir, naming, claimed))]
}

function exportItem(places: StoragePlaces, form: DaemonForm, parts: DaemonParts): InventoryItem {
  const [, holderId, named] = exportId.exec(parts.id) ?? []
  const record = recordOf(places, parts)
  const imageId = record?.imageId ?? named
  return {
    ...daemonItem(form, parts),
    ...(record?.isStandby === true ? { isStandby: true } : {}),
    ...(holderId === undefined ? {} : { holderId }),
    ...(imageId === undefined ? {} : { imageId }),
  }
}

/** Undefined, too, for a record that can't be read: its name still says what it is of. */
function recordOf(places: StoragePlaces, { id, record }: DaemonParts): ExportRecord | undefined {
  try {
    return record && readExportRecord(places.stateDir, id)
  } catch {
    return undefined
  }
}

async function imageItems(aggregate: Aggregate, locked: ReadonlySet<string>): Promise<InventoryItem[]> {
  const items: InventoryItem[] = []
  for (const folder of await filesIn(aggregate.path)) {
    // Of the file system itself.
    if (folder.name === 'lost+found') continue
    const place = { aggregate: aggregate.name, flexvol: folder.name }
    if (!folder.isFolder) {
      items.push(fileItem(folder))
      continue
    }
    for (const file of await filesIn(folder.path)) {
      items.push({ ...imageItem(file), ...place, isOpen: locked.has(lockPlace(file)) })
    }
  }
  return items
}

function imageItem(file: FoundFile): InventoryItem {
  const item = fileItem(file)
  const [, imageId, end] = partName.exec(file.name) ?? []
  if (file.isFile && imageName.test(file.name)) return { ...item, kind: 'image', imageId: file.name }
  if (!file.isFile || imageId === undefined) return item
  return { ...item, kind: 'image-part', imageId, isBeingRemoved: end === 'gone' }
}

/** `qemu-img` fills an image: a child of the agent, which may have died. */
const isConverter = ({ words }: FoundProcess): boolean => words[0] === 'qemu-img' && words[1] === 'convert'

function converterItem(aggregates: readonly Aggregate[], one: FoundProcess): InventoryItem {
  const target = (one.words.at(-1) ?? '').replace(/^file:/, '')
  const isOurs = aggregates.some(({ path }) => target.startsWith(`${path}/`))
  const imageId = partName.exec(target.slice(target.lastIndexOf('/') + 1))?.[1]
  return { ...processItem(one), ...(isOurs && imageId !== undefined ? { imageId } : {}) }
}

/** Copies an image at rest: a child of the agent, which ends with it. */
const isCopier = ({ words }: FoundProcess): boolean => /\/volant-copy-[0-9a-f]+$/.test(words[0] ?? '')

function copierItem(one: FoundProcess): InventoryItem {
  const imageId = copiedImage(one.words)
  return { ...processItem(one), ...(imageId === undefined ? {} : { imageId }) }
}

/** Removes an image's file, or a part of one, that is still what was seen. `path` is where the agent itself has it. */
export async function removeStrayImage(seen: InventoryItem, path: string): Promise<void> {
  const file = findFile(path)
  if (requireUnchanged(seen, file && { item: imageItem(file) }) === undefined) return
  if (await isOpenInQemu(path)) {
    throw new DomainError(
      'conflict',
      `${seen.what} is open in a storage daemon or converter; end that first.`,
    )
  }
  if (seen.kind === 'image') return removeImage(path)
  return seen.isBeingRemoved === true ? finishRemoval(path) : rm(path, { force: true })
}

/** The parts of an export that is still what was seen. */
export async function findStrayExport(
  places: StoragePlaces,
  seen: InventoryItem,
): Promise<DaemonParts | undefined> {
  const form = exportForm(places)
  const daemons = await findDaemons(form, await processesNaming([places.runDir]))
  const found = [...daemons.values()]
    .map((parts) => ({ parts, item: daemonItem(form, parts) }))
    .find(({ item }) => item.kind === seen.kind && item.id === seen.id)
  return requireUnchanged(seen, found)?.parts
}

import { join } from 'node:path'
import type { InventoryItem } from '@volant/contract'
import { daemonItem, findDaemons } from '../inventory/daemons.ts'
import type { DaemonForm, DaemonParts } from '../inventory/daemons.ts'
import { filesIn } from '../inventory/files.ts'
import type { FoundFile } from '../inventory/files.ts'
import { processesNaming, processToken } from '../inventory/processes.ts'
import type { FoundProcess } from '../inventory/processes.ts'
import { requireUnchanged, unclaimedItems } from '../inventory/unclaimed.ts'
import { endGuard } from './guard.ts'
import { registerPath } from './record.ts'
import type { HolderRecord, HolderRecords } from './record.ts'
import { Register, registerOfFile } from './register.ts'

/** Where a holder agent keeps things. */
export interface HolderPlaces {
  stateDir: string
  runDir: string
  logDir: string
}

const holderForm = ({ stateDir, runDir, logDir }: HolderPlaces): DaemonForm => ({
  kind: 'holder',
  recordDir: join(stateDir, 'holders'),
  logDir,
  logPrefix: 'holder-',
  runDir,
  sockets: ['.q', '.k', '.n', '.g'],
  // A guest's QEMU names the socket that it is a client of (`.n`).
  own: ['.q', '.k', '.g'],
})

/** Everything of a machine's holders: heads, movers, and the copies that they have on record. */
export async function holderInventory(
  places: HolderPlaces,
  records: HolderRecords,
): Promise<InventoryItem[]> {
  const processes = await processesNaming([places.stateDir, places.runDir])
  const form = holderForm(places)
  const daemons = [...(await findDaemons(form, processes)).values()]
  const claimed = daemons.flatMap((parts) => parts.processes)
  return [
    ...daemons.flatMap((parts) => holderItems(form, parts, recordOf(records, parts))),
    ...(await registerItems(records, processes)),
    ...(await unclaimedItems(places.runDir, processes, claimed)),
  ]
}

/** Undefined, too, for a record that can't be read. */
function recordOf(records: HolderRecords, { id, record }: DaemonParts): HolderRecord | undefined {
  try {
    return record && records.read(id)
  } catch {
    return undefined
  }
}

/** A mirror is told by the record, which is written before the job starts and changed after it has ended. */
function holderItems(
  form: DaemonForm,
  parts: DaemonParts,
  record: HolderRecord | undefined,
): InventoryItem[] {
  const item = daemonItem(form, parts)
  if (record === undefined) return [item]
  const { volumeId, image, mirror, pointCopy, cutover } = record
  const standing = image === null ? { isStandby: true } : { imageId: image.imageId }
  const holder = { ...item, volumeId, ...standing }
  const copies = [
    ...(mirror ? [{ ...mirror, isAtCutover: cutover !== undefined }] : []),
    ...(pointCopy ? [{ ...pointCopy, isAtCutover: false }] : []),
  ]
  return [
    holder,
    ...copies.map(({ jobId, target, isAtCutover }): InventoryItem => ({
      kind: 'mirror',
      id: `${parts.id} ${jobId}`,
      what: `copy ${jobId} of holder ${parts.id} to image ${target.imageId}`,
      identity: item.identity,
      ageSeconds: item.ageSeconds,
      sizeBytes: 0,
      pids: [],
      holderId: parts.id,
      volumeId,
      jobId,
      imageId: target.imageId,
      isAtCutover,
    })),
  ]
}

/** The holder, the remains of one, or its mirror, where that is still what was seen. */
export async function findStrayHolder(
  places: HolderPlaces,
  records: HolderRecords,
  seen: InventoryItem,
): Promise<DaemonParts | undefined> {
  const form = holderForm(places)
  const daemons = await findDaemons(form, await processesNaming([places.runDir]))
  const found = [...daemons.values()]
    .flatMap((parts) => holderItems(form, parts, recordOf(records, parts)).map((item) => ({ parts, item })))
    .find(({ item }) => item.kind === seen.kind && item.id === seen.id)
  return requireUnchanged(seen, found)?.parts
}

/** Registers of attempts that no record names: their holder is past them, or gone. */
async function registerItems(
  records: HolderRecords,
  processes: readonly FoundProcess[],
): Promise<InventoryItem[]> {
  const files = await filesIn(records.registers)
  const paths = [...new Set(files.map(({ path }) => registerOfFile(path)))]
  const current = currentRegisters(records)
  if (current === undefined) return []
  return paths
    .filter((path) => !current.includes(path))
    .map((path) =>
      registerItem(
        path,
        files.filter((file) => registerOfFile(file.path) === path),
        processes.filter(({ words }) => words.includes(path)),
      ),
    )
}

/** Undefined where a record can't be read: it may be at any attempt, so no register is known to be over. */
function currentRegisters(records: HolderRecords): string[] | undefined {
  const paths: string[] = []
  for (const id of records.ids()) {
    try {
      const cutover = records.read(id)?.cutover
      if (cutover) paths.push(registerPath(records, id, cutover.attempt))
    } catch {
      return undefined
    }
  }
  return paths
}

function registerItem(path: string, files: FoundFile[], guards: FoundProcess[]): InventoryItem {
  const name = path.slice(path.lastIndexOf('/') + 1)
  return {
    kind: 'register',
    id: name,
    what: path,
    identity: [...files.map(({ token }) => token), ...guards.map(processToken)].toSorted().join(' '),
    ageSeconds: Math.min(...files.map(({ ageSeconds }) => ageSeconds)),
    sizeBytes: files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
    pids: guards.map(({ identity }) => identity.pid),
    // `<holder's id>.<attempt>`
    holderId: name.slice(0, name.lastIndexOf('.')),
  }
}

/** Ends and removes a register that is still what was seen. Its holder must not begin an attempt meanwhile. */
export async function removeStrayRegister(
  places: HolderPlaces,
  records: HolderRecords,
  seen: InventoryItem,
): Promise<void> {
  const items = await registerItems(records, await processesNaming([places.stateDir, places.runDir]))
  const item = items.find(({ id }) => id === seen.id)
  if (requireUnchanged(seen, item && { item }) === undefined || item === undefined) return
  await endGuard(item.what, undefined)
  await new Register(item.what).remove()
}

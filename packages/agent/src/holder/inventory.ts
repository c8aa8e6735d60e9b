import { join } from 'node:path'
import type { InventoryItem } from '@volant/contract'
import { daemonItem, findDaemons } from '../inventory/daemons.ts'
import type { DaemonForm, DaemonParts } from '../inventory/daemons.ts'
import { processesNaming } from '../inventory/processes.ts'
import { requireUnchanged, unclaimedItems } from '../inventory/unclaimed.ts'
import type { HolderRecord, HolderRecords } from './record.ts'

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
  const { volumeId, image, mirror, cutover } = record
  const holder = { ...item, volumeId, imageId: image.imageId }
  if (mirror === undefined) return [holder]
  return [
    holder,
    {
      kind: 'mirror',
      id: `${parts.id} ${mirror.jobId}`,
      what: `copy ${mirror.jobId} of holder ${parts.id} to image ${mirror.target.imageId}`,
      identity: item.identity,
      ageSeconds: item.ageSeconds,
      sizeBytes: 0,
      pids: [],
      holderId: parts.id,
      volumeId,
      jobId: mirror.jobId,
      imageId: mirror.target.imageId,
      isAtCutover: cutover !== undefined,
    },
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

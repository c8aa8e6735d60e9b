import { rmSync } from 'node:fs'
import { join } from 'node:path'
import type { InventoryItem } from '@volant/contract'
import { ensureGone } from '@volant/qemu'
import { shortName } from '../daemon/names.ts'
import { filesIn, findFile } from '../inventory/files.ts'
import type { FoundFile } from '../inventory/files.ts'
import { namesInFolder, processesNaming, processText, processToken } from '../inventory/processes.ts'
import type { FoundProcess } from '../inventory/processes.ts'
import { requireUnchanged, unclaimedItems } from '../inventory/unclaimed.ts'
import { guestsFolder } from './names.ts'

/** Where a compute agent keeps things. */
export interface ComputePlaces {
  stateDir: string
  runDir: string
}

/** What there is of one server. */
export interface GuestParts {
  serverId: string
  folder?: FoundFile
  record?: FoundFile
  /** In its folder: root disk, console. */
  sizeBytes: number
  sockets: FoundFile[]
  processes: FoundProcess[]
}

const socketName = /^g-(.+)$/

async function findGuests(
  { stateDir, runDir }: ComputePlaces,
  processes: readonly FoundProcess[],
): Promise<GuestParts[]> {
  const found = new Map<string, GuestParts>()
  const byShort = new Map<string, GuestParts>()
  const partsOf = (serverId: string): GuestParts => {
    const parts = found.get(serverId) ?? { serverId, sizeBytes: 0, sockets: [], processes: [] }
    found.set(serverId, parts)
    byShort.set(shortName(serverId), parts)
    return parts
  }
  for (const folder of await filesIn(guestsFolder(stateDir))) {
    const parts = partsOf(folder.name)
    const files = await filesIn(folder.path)
    parts.folder = folder
    parts.sizeBytes = files.reduce((sum, file) => sum + file.sizeBytes, 0)
    const record = files.find(({ name }) => name === 'guest.json')
    if (record !== undefined) parts.record = record
  }
  for (const one of processes) {
    const short = namesInFolder(one, runDir).map((name) => socketName.exec(name)?.[1])[0]
    if (short !== undefined) (byShort.get(short) ?? partsOf(short)).processes.push(one)
  }
  for (const file of await filesIn(runDir)) {
    const short = socketName.exec(file.name)?.[1]
    if (short !== undefined) (byShort.get(short) ?? partsOf(short)).sockets.push(file)
  }
  return [...found.values()]
}

/** A server that is there in part; `remains` where only its socket is left. */
function guestItem(parts: GuestParts): InventoryItem {
  const { serverId, folder, record, sockets, processes } = parts
  const isThere = folder !== undefined || processes.length > 0
  const files = isThere ? [folder, record].filter((file) => file !== undefined) : sockets
  const lines = [...(folder ? [folder.path] : []), ...processes.map(processText)]
  return {
    kind: isThere ? 'guest' : 'remains',
    id: isThere ? serverId : `guest ${serverId}`,
    what: isThere ? lines.join('; ') : sockets.map(({ path }) => path).join(' '),
    identity: [...files.map(({ token }) => token), ...processes.map(processToken)].toSorted().join(' '),
    ageSeconds: Math.min(...[...files, ...processes].map(({ ageSeconds }) => ageSeconds)),
    sizeBytes: parts.sizeBytes,
    pids: processes.map(({ identity }) => identity.pid),
    serverId,
  }
}

/** What a trial of KVM that was cut short has left; its QEMU ends with the agent that started it. */
async function trialItems(
  { stateDir }: ComputePlaces,
  processes: readonly FoundProcess[],
): Promise<{ items: InventoryItem[]; claimed: FoundProcess[] }> {
  const folder = findFile(join(stateDir, 'kvm-trial'))
  const claimed = processes.filter(({ words }) =>
    words.some((word) => word.includes(`${stateDir}/kvm-trial/`)),
  )
  if (folder === undefined || claimed.length > 0) return { items: [], claimed }
  const item: InventoryItem = {
    kind: 'remains',
    id: 'kvm-trial',
    what: folder.path,
    identity: folder.token,
    ageSeconds: folder.ageSeconds,
    sizeBytes: folder.sizeBytes,
    pids: [],
  }
  return { items: [item], claimed }
}

/** Everything of a compute host: servers' folders and QEMUs. */
export async function computeInventory(places: ComputePlaces): Promise<InventoryItem[]> {
  const processes = await processesNaming([places.stateDir, places.runDir])
  const guests = await findGuests(places, processes)
  const trial = await trialItems(places, processes)
  const claimed = [...guests.flatMap((parts) => parts.processes), ...trial.claimed]
  return [
    ...guests.map(guestItem),
    ...trial.items,
    ...(await unclaimedItems(places.runDir, processes, claimed)),
  ]
}

/** Removes a server, or what is left of one, that is still what was seen. `removeGuest` is the agent's own way. */
export async function removeStrayGuest(
  places: ComputePlaces,
  seen: InventoryItem,
  removeGuest: () => Promise<void>,
): Promise<void> {
  const processes = await processesNaming([places.stateDir, places.runDir])
  if (seen.id === 'kvm-trial') {
    const [item] = (await trialItems(places, processes)).items
    if (requireUnchanged(seen, item && { item }) !== undefined) rmSync(item?.what ?? '', { recursive: true })
    return
  }
  const found = (await findGuests(places, processes))
    .map((parts) => ({ parts, item: guestItem(parts) }))
    .find(({ item }) => item.kind === seen.kind && item.id === seen.id)
  const parts = requireUnchanged(seen, found)?.parts
  if (parts === undefined) return
  if (parts.folder !== undefined) await removeGuest()
  // Without a record the agent's own way knows neither process nor socket.
  for (const { identity } of parts.processes) await ensureGone(identity)
  for (const { path, token } of parts.sockets) {
    if (findFile(path)?.token === token) rmSync(path, { force: true })
  }
}

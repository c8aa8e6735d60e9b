import { DomainError } from '@volant/contract'
import type { InventoryItem } from '@volant/contract'
import { filesIn } from './files.ts'
import type { FoundFile } from './files.ts'
import { namesInFolder, processText, processToken } from './processes.ts'
import type { FoundProcess } from './processes.ts'

/** Names that sockets of holders, exports, guests and NFS servers have; another agent of this machine tells of its own. */
const knownSocket = /(\.(eq|ek|q|k|n|g|b)~?$)|^g-/

export const fileItem = (file: FoundFile): InventoryItem => ({
  kind: 'file',
  id: file.path,
  what: file.path,
  identity: file.token,
  ageSeconds: file.ageSeconds,
  sizeBytes: file.sizeBytes,
  pids: [],
})

export const processItem = (one: FoundProcess): InventoryItem => ({
  kind: 'process',
  id: String(one.identity.pid),
  what: processText(one),
  identity: processToken(one),
  ageSeconds: one.ageSeconds,
  sizeBytes: 0,
  pids: [one.identity.pid],
})

/** What is in nobody's form: processes that name a folder of the agent's, files beside its sockets. */
export async function unclaimedItems(
  runDir: string,
  processes: readonly FoundProcess[],
  claimed: readonly FoundProcess[],
): Promise<InventoryItem[]> {
  const strange = processes.filter(
    (one) => !claimed.includes(one) && !namesInFolder(one, runDir).some((name) => knownSocket.test(name)),
  )
  const files = (await filesIn(runDir)).filter(({ name }) => !knownSocket.test(name))
  return [...strange.map(processItem), ...files.map(fileItem)]
}

/**
 * The item as it is now; undefined where it is gone, which is all that its removal wants. Throws `conflict` where it is
 * another by now.
 */
export function requireUnchanged<T extends { item: InventoryItem }>(
  seen: InventoryItem,
  now: T | undefined,
): T | undefined {
  if (now === undefined || now.item.identity === seen.identity) return now
  throw new DomainError(
    'conflict',
    `${seen.what} is not what was seen any more: something works on it. Sweep again in a minute.`,
  )
}

export const neverRemoved = (item: InventoryItem): DomainError =>
  new DomainError('invalid', `${item.what} is reported only: nothing proves that it is Volant's to remove.`)

import type { Caller, InventoryItem } from '@volant/contract'
import type { FenceGuard } from '../fence-guard.ts'
import { neverRemoved, requireUnchanged } from '../inventory/unclaimed.ts'

/** Things that only the inventory of a simulated agent knows: a test puts them there. */
export interface Planted {
  readonly planted: Map<string, InventoryItem>
}

/** Old enough for every judgement. Seconds. */
const oldSeconds = 3600

export const simulatedItem = (
  item: Pick<InventoryItem, 'kind' | 'id'> & Partial<InventoryItem>,
): InventoryItem => ({
  what: `${item.kind} ${item.id}`,
  identity: `${item.kind} ${item.id} ${item.pids?.join(' ') ?? ''}`,
  ageSeconds: oldSeconds,
  sizeBytes: 0,
  pids: [],
  ...item,
})

/** `inventory` and `removeStray` over what a simulation holds; `remove` takes one of its own things away. */
export function simulatedInventory(options: {
  admit: FenceGuard['admit']
  items: () => InventoryItem[]
  remove: (item: InventoryItem) => void
}) {
  const planted = new Map<string, InventoryItem>()
  const all = (): InventoryItem[] => [...options.items(), ...planted.values()]
  return {
    planted,
    inventory: async () => all(),
    async removeStray(caller: Caller, seen: InventoryItem) {
      options.admit(caller)
      if (seen.kind === 'process' || seen.kind === 'file') throw neverRemoved(seen)
      const item = all().find(({ kind, id }) => kind === seen.kind && id === seen.id)
      if (requireUnchanged(seen, item && { item }) === undefined || item === undefined) return
      if (!planted.delete(item.id)) options.remove(item)
    },
  }
}

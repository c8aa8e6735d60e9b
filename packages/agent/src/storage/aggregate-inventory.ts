import { statSync } from 'node:fs'
import { dirname } from 'node:path'
import type { InventoryItem } from '@volant/contract'
import { filesIn } from '../inventory/files.ts'
import type { Aggregates } from './aggregates.ts'
import { loops, realPathOf } from './loop-mount.ts'
import { xfsFileOf } from './xfs-file.ts'

const fileName = /\.xfs(\.new|\.gone)?$/

/**
 * Aggregates that were made at run time, by this node's own records; and beside all aggregates the files, behind loop
 * devices or not, that have the name of one and belong to none.
 */
export async function aggregateItems(aggregates: Aggregates): Promise<InventoryItem[]> {
  const recorded = aggregates.recorded()
  const items = recorded.map((one): InventoryItem => ({
    kind: 'aggregate',
    id: one.name,
    what: `${one.path} (${one.filesystem ?? 'folder'}, ${one.state})`,
    identity: `aggregate:${one.path}:${one.uuid ?? ''}:${one.state}`,
    ageSeconds: ageOf(one.filesystem === 'xfs' ? xfsFileOf(one.path) : one.path),
    sizeBytes: 0,
    pids: [],
    aggregate: one.name,
  }))
  const all = [...aggregates.all(), ...recorded]
  const known = new Set(await Promise.all(all.map(async ({ path }) => realPathOf(xfsFileOf(path)))))
  const devices = await loops()
  for (const folder of new Set(all.map(({ path }) => dirname(path)))) {
    for (const file of await filesIn(folder)) {
      if (!file.isFile || !fileName.test(file.name)) continue
      const path = await realPathOf(file.path)
      if (known.has(path.replace(/\.(new|gone)$/, ''))) continue
      const behind = devices.filter((one) => one.file === path).map(({ device }) => device)
      items.push({
        kind: 'aggregate',
        id: file.path,
        what: behind.length > 0 ? `${file.path} behind ${behind.join(', ')}` : file.path,
        identity: file.token,
        ageSeconds: file.ageSeconds,
        sizeBytes: file.sizeBytes,
        pids: [],
      })
    }
  }
  return items
}

function ageOf(path: string): number {
  const stats = statSync(path, { throwIfNoEntry: false })
  return stats === undefined ? 0 : Math.max(0, (Date.now() - stats.ctimeMs) / 1000)
}

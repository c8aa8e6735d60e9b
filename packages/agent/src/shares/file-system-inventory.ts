import { readdirSync } from 'node:fs'
import type { InventoryItem } from '@volant/contract'
import { findFile } from '../inventory/files.ts'
import { processesNaming, processText, processToken } from '../inventory/processes.ts'
import type { FileSystemRecords } from './file-system-record.ts'

/** What there is of file systems: every share's folder, with its record, processes and mount as far as they are there. */
export async function fileSystemItems(
  records: FileSystemRecords,
  /** Of a share: the file of its block device, and where it is mounted, if it is. */
  look: (shareId: string) => { device: string; mountedAt?: string },
): Promise<{ item: InventoryItem }[]> {
  const processes = await processesNaming([records.folder])
  return readdirSync(records.folder).flatMap((shareId) => {
    const file = findFile(records.path(shareId)) ?? findFile(records.folderOf(shareId))
    if (file === undefined) return []
    const { device, mountedAt } = look(shareId)
    const own = processes.filter(({ words }) => words.includes(`mount=${device}`))
    const mounted = mountedAt === undefined ? [] : [`mounted at ${mountedAt}`]
    const item: InventoryItem = {
      kind: 'file-system',
      id: shareId,
      shareId,
      what: [file.path, ...mounted, ...own.map(processText)].join('; '),
      identity: [file.token, ...own.map(processToken)].toSorted().join(' '),
      ageSeconds: Math.min(file.ageSeconds, ...own.map(({ ageSeconds }) => ageSeconds)),
      sizeBytes: 0,
      pids: own.map(({ identity }) => identity.pid),
    }
    return [{ item }]
  })
}

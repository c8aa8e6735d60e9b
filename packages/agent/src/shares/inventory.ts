import { rmSync } from 'node:fs'
import { join } from 'node:path'
import type { InventoryItem, ShareExportSpec } from '@volant/contract'
import { ensureGone } from '@volant/qemu/process.ts'
import { shortName } from '../daemon/names.ts'
import { filesIn, findFile } from '../inventory/files.ts'
import type { FoundFile } from '../inventory/files.ts'
import { processesNaming, processText, processToken } from '../inventory/processes.ts'
import type { FoundProcess } from '../inventory/processes.ts'
import { requireUnchanged } from '../inventory/unclaimed.ts'

/** Where the NFS servers of a node keep things: a folder for each SVM, and a socket. */
export interface NfsServerFolders {
  serversDir: string
  runDir: string
}

interface FoundServer {
  svm: string
  /** Of all of its files. */
  folder?: FoundFile
  record?: FoundFile
  socket?: FoundFile
  processes: FoundProcess[]
}

const socketEnd = '.b'

/** Puts folders, sockets and processes together by the SVM's name. Changes nothing. */
async function findServers({ serversDir, runDir }: NfsServerFolders): Promise<FoundServer[]> {
  const found = new Map<string, FoundServer>()
  const of = (svm: string): FoundServer => {
    const one = found.get(svm) ?? { svm, processes: [] }
    found.set(svm, one)
    return one
  }
  for (const folder of await filesIn(serversDir)) {
    const record = (await filesIn(folder.path)).find(({ name }) => name === 'server.json')
    Object.assign(of(folder.name), { folder, ...(record === undefined ? {} : { record }) })
  }
  for (const one of await processesNaming([serversDir])) {
    const named = one.words
      .flatMap((word) => word.split('='))
      .find((word) => word.startsWith(`${serversDir}/`))
    const [svm = ''] = named?.slice(serversDir.length + 1).split('/') ?? []
    of(svm).processes.push(one)
  }
  for (const socket of await filesIn(runDir)) {
    if (!socket.name.endsWith(socketEnd)) continue
    const short = socket.name.slice(0, -socketEnd.length)
    const svm = [...found.keys()].find((name) => shortName(name) === short) ?? short
    of(svm).socket = socket
  }
  return [...found.values()]
}

/** A server that is there as a whole or in part; `remains` where neither record nor process is left. */
function serverItem({ svm, folder, record, socket, processes }: FoundServer): InventoryItem {
  const isThere = record !== undefined || processes.length > 0
  const files = [record ?? folder, isThere ? undefined : socket].filter((file) => file !== undefined)
  const ages = [...files, ...processes].map(({ ageSeconds }) => ageSeconds)
  return {
    kind: isThere ? 'nfs-server' : 'remains',
    id: isThere ? svm : `nfs-server ${svm}`,
    what: [...files.map(({ path }) => path), ...processes.map(processText)].join('; '),
    identity: [...files.map(({ token }) => token), ...processes.map(processToken)].toSorted().join(' '),
    ageSeconds: Math.min(...ages),
    sizeBytes: files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
    pids: processes.map(({ identity }) => identity.pid),
  }
}

export async function serverInventory(folders: NfsServerFolders): Promise<InventoryItem[]> {
  return (await findServers(folders)).map(serverItem)
}

/** An export whose share has no file system here. */
export function exportItem({ shareId, junctionPath }: ShareExportSpec, path: string): InventoryItem {
  const record = findFile(path)
  return {
    kind: 'file-system',
    id: shareId,
    shareId,
    what: `${path}; exported at ${junctionPath}, with no file system`,
    identity: record?.token ?? '',
    ageSeconds: record?.ageSeconds ?? 0,
    sizeBytes: record?.sizeBytes ?? 0,
    pids: [],
  }
}

/**
 * Removes what is left of a server that is still what was seen; `end` ends the one that has a record. Throws `conflict`
 * where it is another by now.
 */
export async function removeStrayServer(
  folders: NfsServerFolders,
  seen: InventoryItem,
  end: (svm: string) => Promise<void>,
): Promise<void> {
  const all = (await findServers(folders)).map((parts) => ({ parts, item: serverItem(parts) }))
  const now = all.find(({ item }) => item.kind === seen.kind && item.id === seen.id)
  const parts = requireUnchanged(seen, now)?.parts
  if (parts === undefined) return
  if (parts.record !== undefined) return end(parts.svm)
  for (const { identity } of parts.processes) await ensureGone(identity)
  rmSync(join(folders.serversDir, parts.svm), { recursive: true, force: true })
  if (parts.socket !== undefined) rmSync(parts.socket.path, { force: true })
}

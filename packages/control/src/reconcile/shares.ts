import { isDeepStrictEqual } from 'node:util'
import {
  isDomainError,
  messageOf,
  type Caller,
  type FileSystemSpec,
  type ShareStatus,
} from '@volant/contract'
import type { Logger } from 'pino'
import type { Share } from '../domain/share.ts'
import { applyShareAccess } from '../operations/apply-share-access.ts'
import {
  ensureShareExport,
  ensureShareFileSystem,
  ensureShareHead,
  shareAttachmentOf,
  shareExportOf,
  type ShareAttachment,
  type ShareServicePorts,
} from '../operations/share-service.ts'
import type { OperationEngine } from '../ports/operations.ts'
import type { ShareRecords } from '../ports/shares.ts'

export interface RestoreSharesPorts extends ShareServicePorts {
  shares: Pick<ShareRecords, 'find' | 'get' | 'served'>
  engine: Pick<OperationEngine, 'holderOf' | 'start'>
  log: Logger
}

/** How many shares are looked after at a time. */
const atOnce = 4

/**
 * At start, and from then on now and then: every share that no operation works on has its head, its file system and its
 * export, as the records say. What agents mend by themselves is left to them; this is for what they do not know any more,
 * such as after a restart of their machine, and for rules that were queued when nobody looked. Nothing is ever formatted.
 */
export async function restoreShares(
  ports: RestoreSharesPorts,
  caller: Caller,
  stopping?: AbortSignal,
): Promise<{ restored: number; failed: number }> {
  const seen = lookOnce(ports)
  const waiting = await ports.shares.served()
  const result = { restored: 0, failed: 0 }
  const lane = async (): Promise<void> => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      if (stopping?.aborted === true) return
      try {
        if (await restoreShare(ports, caller, next, seen)) result.restored += 1
        await applyQueued(ports, next)
      } catch (error) {
        result.failed += 1
        ports.log.error({ shareId: next.id, err: error }, `a share could not be served: ${messageOf(error)}`)
      }
    }
  }
  await Promise.all(Array.from({ length: atOnce }, lane))
  return result
}

interface Seen {
  shares(node: string): Promise<Map<string, ShareStatus>>
  heads(machine: string): Promise<Set<string>>
}

/** One question for all shares of a node, and one for all heads of a machine. */
function lookOnce({ agents }: RestoreSharesPorts): Seen {
  const shares = new Map<string, Promise<Map<string, ShareStatus>>>()
  const heads = new Map<string, Promise<Set<string>>>()
  const once = <T>(known: Map<string, Promise<T>>, key: string, ask: () => Promise<T>): Promise<T> => {
    const asked = known.get(key) ?? ask()
    known.set(key, asked)
    return asked
  }
  return {
    shares: (node) =>
      once(shares, node, async () => {
        const all = await agents.shares(node).listShares()
        return new Map(all.map((status) => [status.shareId, status]))
      }),
    heads: (machine) =>
      once(heads, machine, async () => {
        const all = await agents.holders(machine).listHolders()
        return new Set(all.map(({ holderId }) => holderId))
      }),
  }
}

/** Whether anything had to be brought about. */
async function restoreShare(
  ports: RestoreSharesPorts,
  caller: Caller,
  listed: Share,
  seen: Seen,
): Promise<boolean> {
  const before = await shareAttachmentOf(ports, listed)
  if (before === undefined || (await isServed(ports, listed, before, seen))) return false
  return ports.serving.take(listed.id, async () => {
    if ((await ports.engine.holderOf(`share/${listed.id}`)) !== undefined) return false
    // After the question, for an operation that has just ended may have changed it, or removed it.
    const share = (await ports.shares.served()).find(({ id }) => id === listed.id)
    const attachment = share && (await shareAttachmentOf(ports, share))
    if (share === undefined || attachment === undefined) return false
    const head = await headOf(ports, caller, share, attachment)
    if (head === undefined) return false
    await ensureShareFileSystem(ports, caller, share, { head, content: 'keep', sizeGib: share.sizeGib })
    await ensureShareExport(ports, caller, share.id)
    return true
  })
}

async function isServed(
  ports: RestoreSharesPorts,
  share: Share,
  { id, host, shareId }: ShareAttachment,
  seen: Seen,
): Promise<boolean> {
  const machine = ports.places.machineOf({ host, shareId })
  if (!(await seen.heads(machine)).has(id)) return false
  const status = (await seen.shares(host)).get(share.id)
  if (status?.fileSystem === undefined || status.export === undefined) return false
  if (status.fileSystem.trouble !== undefined) return false
  const { isServed: serves, ...is } = status.export
  return serves && isDeepStrictEqual(is, await shareExportOf(ports, share))
}

/** While an operation works on the volume, such as its move, the head is that one's, and what runs is taken as it is. */
async function headOf(
  ports: RestoreSharesPorts,
  caller: Caller,
  share: Share,
  attachment: ShareAttachment,
): Promise<FileSystemSpec['head'] | undefined> {
  if ((await ports.engine.holderOf(`volume/${attachment.volumeId}`)) === undefined) {
    return ensureShareHead(ports, caller, share)
  }
  const holders = ports.agents.holders(ports.places.machineOf(attachment))
  const head = await holders.holderStatus(attachment.headId)
  if (head?.socketPath === undefined || head.exportName === undefined) return undefined
  return { socketPath: head.socketPath, exportName: head.exportName }
}

/** What works on the share now looks for them itself, or they are found at the next pass. */
async function applyQueued(ports: RestoreSharesPorts, { id }: Share): Promise<void> {
  const rules = await ports.accessRules.ofShare(id)
  if (rules.every(({ state }) => state === 'active' || state === 'error')) return
  try {
    await ports.engine.start(applyShareAccess, { shareId: id })
  } catch (error) {
    if (!isDomainError(error) || error.code !== 'conflict') throw error
  }
}

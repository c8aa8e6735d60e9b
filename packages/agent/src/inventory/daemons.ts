import { rmSync } from 'node:fs'
import type { InventoryItem } from '@volant/contract'
import { ensureGone } from '@volant/qemu/process.ts'
import { shortName } from '../daemon/names.ts'
import { filesIn, findFile } from './files.ts'
import type { FoundFile } from './files.ts'
import { namesInFolder, processText, processToken } from './processes.ts'
import type { FoundProcess } from './processes.ts'

/** Where the parts of supervised daemons of one kind are: holders, or exports. */
export interface DaemonForm {
  kind: 'holder' | 'export'
  recordDir: string
  logDir: string
  /** A log is `<prefix><id>.log`. */
  logPrefix: string
  runDir: string
  /** What sockets in the run folder end in. */
  sockets: readonly string[]
  /** Those of them that only the daemon and what belongs to it name; a client names the one it connects to. */
  own: readonly string[]
  /** The id, from a daemon's command line: for those whose sockets carry only a digest of it. */
  idOf?: (words: readonly string[]) => string | undefined
}

/** What there is of one daemon. */
export interface DaemonParts {
  id: string
  record?: FoundFile
  /** Half-written record, logs, sockets. */
  others: FoundFile[]
  processes: FoundProcess[]
}

const hiddenEnd = /~$/

/** The socket's owner and form: `4f….k~` is the control socket of `4f…`, not yet listening. */
function socketOwner(form: DaemonForm, name: string): { short: string; end: string } | undefined {
  const plain = name.replace(hiddenEnd, '')
  const end = form.sockets.find((candidate) => plain.endsWith(candidate))
  return end === undefined ? undefined : { short: plain.slice(0, -end.length), end }
}

/** Puts records, logs, sockets and processes together, by the id that they all carry. */
export async function findDaemons(
  form: DaemonForm,
  processes: readonly FoundProcess[],
): Promise<Map<string, DaemonParts>> {
  const found = new Map<string, DaemonParts>()
  const byShort = new Map<string, string>()
  const partsOf = (id: string): DaemonParts => {
    const parts = found.get(id) ?? { id, others: [], processes: [] }
    found.set(id, parts)
    byShort.set(shortName(id), id)
    return parts
  }
  for (const file of await filesIn(form.recordDir)) {
    if (file.name.endsWith('.json')) partsOf(file.name.slice(0, -'.json'.length)).record = file
    else if (file.name.endsWith('.json.new'))
      partsOf(file.name.slice(0, -'.json.new'.length)).others.push(file)
  }
  for (const file of await filesIn(form.logDir)) {
    if (!file.name.startsWith(form.logPrefix) || !file.name.endsWith('.log')) continue
    partsOf(file.name.slice(form.logPrefix.length, -'.log'.length)).others.push(file)
  }
  const owned = processes.flatMap((one) => {
    const owners = namesInFolder(one, form.runDir).map((name) => socketOwner(form, name))
    const owner = owners.find((candidate) => candidate !== undefined && form.own.includes(candidate.end))
    return owner === undefined ? [] : [{ one, short: owner.short }]
  })
  // First the daemons that say their whole id: their keepers carry a digest of it alone.
  for (const { one, short } of owned) {
    const id = form.idOf?.(one.words)
    if (id !== undefined && shortName(id) === short) partsOf(id)
  }
  for (const { one, short } of owned) partsOf(byShort.get(short) ?? short).processes.push(one)
  for (const file of await filesIn(form.runDir)) {
    const owner = socketOwner(form, file.name)
    if (owner !== undefined) partsOf(byShort.get(owner.short) ?? owner.short).others.push(file)
  }
  return found
}

/** A daemon that is there as a whole or in part; `remains` where neither record nor process is left. */
export function daemonItem(form: DaemonForm, parts: DaemonParts): InventoryItem {
  const { id, record, others, processes } = parts
  const isThere = record !== undefined || processes.length > 0
  const files = [...(record ? [record] : []), ...(isThere ? [] : others)]
  const ages = [...files, ...processes].map(({ ageSeconds }) => ageSeconds)
  const what = isThere
    ? [...(record ? [record.path] : ['no record']), ...processes.map(processText)].join('; ')
    : others.map(({ path }) => path).join(' ')
  return {
    kind: isThere ? form.kind : 'remains',
    id: isThere ? id : `${form.kind} ${id}`,
    what,
    identity: [...files.map(({ token }) => token), ...processes.map(processToken)].toSorted().join(' '),
    ageSeconds: Math.min(...ages),
    sizeBytes: [...files, ...others].reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
    pids: processes.map(({ identity }) => identity.pid),
    ...(form.kind === 'holder' ? { holderId: id } : {}),
  }
}

/**
 * Ends what is left of a daemon that has no record, and removes its files. Between the look at a file and its removal
 * nothing of this process can come: whatever makes it anew is started from here.
 */
export async function removeParts({ others, processes }: DaemonParts): Promise<void> {
  for (const { identity } of processes) await ensureGone(identity)
  for (const { path, token } of others) if (isLeft(path, token)) rmSync(path, { force: true })
}

/** A log is written to while its daemon ends, so only its inode counts. */
const isLeft = (path: string, token: string): boolean => {
  const now = findFile(path)?.token
  return now === token || (path.endsWith('.log') && inodeOf(now) === inodeOf(token))
}

const inodeOf = (token: string | undefined): string | undefined => token?.slice(0, token.lastIndexOf(':'))

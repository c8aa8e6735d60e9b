/** A guest that does with a share all that a user may have under way, and what must hold of it at any time. */
import { execFileSync } from 'node:child_process'
import { findingsText, lostRecords, type NfsGuest, type WorkKind } from './nfs-guest.ts'

/** Rounds per second, and how many files, records or pages. */
const works: Record<WorkKind, { rate: number; count: number }> = {
  writer: { rate: 50, count: 4096 },
  lock: { rate: 10, count: 0 },
  unlinked: { rate: 10, count: 16 },
  walk: { rate: 5, count: 200 },
  mapped: { rate: 10, count: 32 },
}
const kinds = Object.keys(works) as WorkKind[]
const at = '/mnt/share'
const folder = `${at}/work`

export interface ShareUser {
  guest: NfsGuest
  /** Another client of the same share; it must never get the lock. */
  other: NfsGuest
  /** Everything went on since; the longest round of any work after `from` (ms since 1970), in ms. */
  goesOn(from: number): Promise<{ pauseMs: number; slowest: string }>
  /** What is not right now. Cheap. */
  look(): Promise<string[]>
  /** Every acknowledged record is looked for, past the client's own memory; then it writes on. */
  verify(): Promise<{ problems: string[]; acknowledged: number }>
  /** Gives everything up and unmounts, as a user does at the end. */
  leave(): Promise<string[]>
}

export async function openShareUser(guest: NfsGuest, other: NfsGuest, source: string): Promise<ShareUser> {
  for (const one of [guest, other]) await one.must('mount', { source, at, client: one.address })
  await guest.must('mkdir', { file: folder })
  for (const kind of kinds) await guest.start(kind, kind, folder, works[kind])
  // A client that does nothing notices only after a while that its server was started again, and for so long nobody is
  // given anything new.
  await other.start('other', 'writer', folder, { rate: 4 })
  for (const kind of kinds) await guest.goesOn(kind, 3)
  const known = await identitiesOf(guest)

  const user: ShareUser = {
    guest,
    other,
    async goesOn(from) {
      await Promise.all([
        ...kinds.map((kind) => guest.goesOn(kind, 2, 120_000)),
        other.goesOn('other', 1, 120_000),
      ])
      const rounds = [
        ...(guest.acks.get('writer') ?? []).map(({ ms, at: heard }) => ({ work: 'writer', ms, at: heard })),
        ...guest.rounds,
      ].filter(({ at: heard }) => heard >= from)
      const slowest = rounds.reduce((worst, round) => (round.ms > worst.ms ? round : worst))
      const writer = rounds.filter(({ work }) => work === 'writer')
      return { pauseMs: Math.max(...writer.map(({ ms }) => ms)), slowest: `${slowest.work} ${slowest.ms} ms` }
    },
    async look() {
      const problems = [guest, other].map(findingsText).filter((text) => text !== '')
      const { ok, error } = await other.ask('lock', { file: `${folder}/lock` })
      if (ok || error !== 'EAGAIN') {
        problems.push(`the second client asked for the lock and got ${ok ? 'it' : error}`)
      }
      const now = await identitiesOf(guest)
      for (const [file, identity] of known) {
        if (now.get(file) !== identity) problems.push(`${file} was ${identity} and is ${now.get(file)}`)
      }
      return problems
    },
    async verify() {
      await guest.must('pause', { work: 'writer' })
      const acks = guest.acks.get('writer') ?? []
      const problems: string[] = []
      for (const one of [guest, other]) {
        await one.must('drop')
        const { seqs } = await one.must('records', { file: `${folder}/writer`, work: 'writer' }, 120_000)
        problems.push(...lostRecords(acks, seqs as number[]).map((text) => `${one.name}: ${text}`))
      }
      await guest.must('resume', { work: 'writer' })
      return { problems, acknowledged: acks.length }
    },
    async leave() {
      const problems: string[] = []
      for (const kind of kinds) await guest.must('stop', { work: kind })
      await other.must('stop', { work: 'other' })
      const taken = await other.ask('lock', { file: `${folder}/lock` })
      if (!taken.ok) problems.push(`a lock that was given back is not free: ${taken.error}`)
      for (const one of [guest, other]) await one.must('umount', { at })
      return problems
    },
  }
  return user
}

/** Inode number and file handle of what is there all along. */
async function identitiesOf(guest: NfsGuest): Promise<Map<string, string>> {
  const files = [
    at,
    folder,
    ...['writer', 'lock', 'mapped', 'walk', 'walk/file-00007'].map((f) => `${folder}/${f}`),
  ]
  const found = new Map<string, string>()
  for (const file of files) {
    const { inode, handle } = await guest.must('identity', { file })
    found.set(file, `${String(inode)} ${String(handle)}`)
  }
  return found
}

/** SIGKILL to a process by its number. */
export const killNow = (pid: number): void => void execFileSync('kill', ['-KILL', String(pid)])

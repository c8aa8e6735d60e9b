/**
 * Proves from an image and the guest's console log that every acknowledged write is there, whole and in its
 * place. How it can know is in README.md.
 */
import { readFile } from 'node:fs/promises'
import { parseConsole } from './console.ts'
import type { FoundLine, ProbeLine } from './console.ts'
import {
  blockMagic,
  dataFirstBlock,
  decodeRecord,
  examineBlock,
  sessionMagic,
  tableFirstBlock,
  tableSlots,
  targetsOf,
} from './format.ts'
import type { ProbeRecord, SessionPlan } from './format.ts'
import { readBlock, readBlocks } from './image-reader.ts'
import type { ImageSource } from './image-reader.ts'

export type VerifyOptions = ImageSource & {
  /** The log up to the moment that the image is to stand for; logs of several guests joined in their order. */
  consoleLog: string
  /** The first 20 characters of the volume's id. */
  serial: string
  /** The guest may write on while the image is read. */
  live?: boolean
  /** Volumes whose content this one was made from (clone, snapshot): their blocks count as unwritten. */
  inheritedSerials?: string[]
}

export interface VerifyReport {
  /** No write lost, torn, corrupt or misplaced, and the guest saw no error. */
  ok: boolean
  /** Blocks that hold or must hold a write. */
  blocksChecked: number
  /** Writes that the console reports as acknowledged, over all sessions. */
  acknowledgedWrites: number
  /** Blocks (and session headers) that hold something older than their last acknowledged write. */
  lost: number
  /** Blocks whose sectors come from different writes. */
  torn: number
  /** Blocks whose checksum is wrong. */
  corrupt: number
  /** Whole blocks of another place, another volume, or a write that was never issued for this block. */
  misplaced: number
  /** Requests that failed in the guest. */
  errorsSeenByGuest: number
  /** Blocks that the guest read back and found wrong. */
  badReads: number
  /** The longest request that the guest saw, milliseconds, those in flight at the last line included. */
  maxLatencyMs: number
  sessions: number
  /** The first findings in words. */
  problems: string[]
}

interface Session {
  plan: SessionPlan
  number: number
  /** The console's last word for each thread; empty where it says nothing of this session. */
  acked: number[]
  announced: FoundLine | undefined
  errors: number
  bad: number
}

const maxProblems = 20
/** A block read while it was being written may look torn: it is read again so often before it counts. */
const liveAttempts = 5

const readTable = async (source: ImageSource, serial: string): Promise<Map<string, ProbeRecord>> => {
  const table = new Map<string, ProbeRecord>()
  for await (const { data } of readBlocks(source, tableFirstBlock, tableSlots)) {
    if (examineBlock(data, sessionMagic) !== 'whole') continue
    const record = decodeRecord(data)
    if (record.serial === serial) table.set(record.sessionId, record)
  }
  return table
}

/** All sessions that the console or the table knows of, oldest first. */
const sessionsOf = (lines: ProbeLine[], table: Map<string, ProbeRecord>): Session[] => {
  const sessions = new Map<string, Session>()
  const add = (record: {
    id: string
    session: number
    threads: number
    blocks: number
    fill: number
  }): Session => {
    const plan = { threads: record.threads, blocks: record.blocks, fill: record.fill, sessionId: record.id }
    const session: Session = {
      plan,
      number: record.session,
      acked: [],
      announced: undefined,
      errors: 0,
      bad: 0,
    }
    sessions.set(record.id, session)
    return session
  }
  for (const line of lines) {
    if (line.kind === 'found') {
      const session = sessions.get(line.id) ?? add(line)
      session.announced = line
      continue
    }
    const header = table.get(line.id)
    const session = sessions.get(line.id) ?? (header && add({ ...header, id: line.id }))
    if (session === undefined) continue
    session.acked = line.acks
    session.errors = line.errors
    session.bad = line.bad
  }
  for (const [id, header] of table) if (!sessions.has(id)) add({ ...header, id })
  return [...sessions.values()].sort((a, b) => a.number - b.number)
}

const emptyBlock = -1
const tornBlock = -2
const corruptBlock = -3
const misplacedBlock = -4

/** What the data area holds: for each block the session (index) and number of its write, or a negative state. */
interface Content {
  session: Int32Array
  seq: Float64Array
}

class Findings {
  lost = 0
  torn = 0
  corrupt = 0
  misplaced = 0
  readonly problems: string[] = []

  add(kind: 'lost' | 'torn' | 'corrupt' | 'misplaced', text: string): void {
    this[kind] += 1
    if (this.problems.length < maxProblems) this.problems.push(`${kind}: ${text}`)
  }
}

const classifier = (options: VerifyOptions, sessions: Session[], findings: Findings) => {
  const indexOf = new Map(sessions.map((session, index) => [session.plan.sessionId, index]))
  const targets = sessions.map(({ plan }) =>
    Array.from({ length: plan.threads }, (_, thread) => targetsOf(plan, thread)),
  )
  const place = (number: number, record: ProbeRecord): { session: number; seq: number } => {
    const misplaced = (why: string): { session: number; seq: number } => {
      findings.add('misplaced', `block ${number} holds ${why}`)
      return { session: misplacedBlock, seq: 0 }
    }
    if (record.serial !== options.serial) {
      if (options.inheritedSerials?.includes(record.serial)) return { session: emptyBlock, seq: 0 }
      return misplaced(`a write of volume ${record.serial}`)
    }
    if (record.block !== number) return misplaced(`the write of block ${record.block}`)
    const session = indexOf.get(record.sessionId)
    if (session === undefined) return misplaced(`a write of session ${record.sessionId}, which is not known`)
    const target = targets[session]?.[record.thread]
    if (target === undefined || target(record.seq) !== number - dataFirstBlock) {
      return misplaced(`write ${record.seq} of thread ${record.thread}, which went elsewhere`)
    }
    return { session, seq: record.seq }
  }
  return async (number: number, first: Buffer): Promise<{ session: number; seq: number }> => {
    let data = first
    let state = examineBlock(data, blockMagic)
    for (let attempt = 1; options.live && attempt < liveAttempts; attempt += 1) {
      if (state !== 'torn' && state !== 'corrupt') break
      data = await readBlock(options, number)
      state = examineBlock(data, blockMagic)
    }
    if (state === 'empty') return { session: emptyBlock, seq: 0 }
    if (state === 'whole') return place(number, decodeRecord(data))
    /* The copy of a session's header in what was the disk's last block before it grew. */
    if (examineBlock(data, sessionMagic) === 'whole') return { session: emptyBlock, seq: 0 }
    findings.add(state, `block ${number}`)
    return { session: state === 'torn' ? tornBlock : corruptBlock, seq: 0 }
  }
}

const readContent = async (
  options: VerifyOptions,
  sessions: Session[],
  findings: Findings,
): Promise<Content> => {
  const blocks = Math.max(0, ...sessions.map(({ plan }) => plan.blocks))
  const content = { session: new Int32Array(blocks).fill(emptyBlock), seq: new Float64Array(blocks) }
  const classify = classifier(options, sessions, findings)
  for await (const { number, data } of readBlocks(options, dataFirstBlock, blocks)) {
    const found = await classify(number, data)
    content.session[number - dataFirstBlock] = found.session
    content.seq[number - dataFirstBlock] = found.seq
  }
  return content
}

/**
 * A thread issues a write only when the one before is acknowledged: so the newest write that is found proves
 * all earlier ones acknowledged, which may be more than the console had time to say.
 */
const raiseAcknowledged = (sessions: Session[], content: Content): void => {
  content.session.forEach((index, block) => {
    const session = sessions[index]
    if (session === undefined) return
    const thread = block % session.plan.threads
    const proved = (content.seq[block] ?? 0) - 1
    session.acked[thread] = Math.max(session.acked[thread] ?? 0, proved)
  })
}

/** For each block its last acknowledged write, by replaying all sessions. */
const replay = (sessions: Session[], blocks: number): Content => {
  const required = { session: new Int32Array(blocks).fill(emptyBlock), seq: new Float64Array(blocks) }
  sessions.forEach(({ plan, acked }, index) => {
    for (let thread = 0; thread < plan.threads; thread += 1) {
      const target = targetsOf(plan, thread)
      const last = acked[thread] ?? 0
      for (let seq = 1; seq <= last; seq += 1) {
        const block = target(seq)
        required.session[block] = index
        required.seq[block] = seq
      }
    }
  })
  return required
}

const compare = (required: Content, content: Content, sessions: Session[], findings: Findings): number => {
  let checked = 0
  required.session.forEach((wanted, block) => {
    const found = content.session[block] ?? emptyBlock
    if (wanted === emptyBlock && found === emptyBlock) return
    checked += 1
    /* Torn, corrupt and misplaced ones are counted already. */
    if (wanted === emptyBlock || found < emptyBlock) return
    const wantedSeq = required.seq[block] ?? 0
    const foundSeq = content.seq[block] ?? 0
    if (found > wanted || (found === wanted && foundSeq >= wantedSeq)) return
    const name = (index: number, seq: number): string =>
      index === emptyBlock ? 'nothing' : `write ${seq} of session ${sessions[index]?.number}`
    findings.add(
      'lost',
      `block ${block + dataFirstBlock} holds ${name(found, foundSeq)}, not ${name(wanted, wantedSeq)}`,
    )
  })
  return checked
}

/** Every session that was announced has its header in the table, and the last one at the disk's end too. */
const checkHeaders = async (
  options: VerifyOptions,
  sessions: Session[],
  table: Map<string, ProbeRecord>,
  findings: Findings,
): Promise<void> => {
  const newest = sessions.at(-1)?.number ?? 0
  for (const { plan, number, announced } of sessions) {
    if (announced === undefined || number + tableSlots <= newest) continue
    if (!table.has(plan.sessionId)) findings.add('lost', `the header of session ${number}`)
  }
  const last = sessions.at(-1)?.announced
  if (last === undefined) return
  const tail = await readBlock(options, Math.floor(last.size / 4096) - 1)
  if (examineBlock(tail, sessionMagic) !== 'whole' || decodeRecord(tail).sessionId !== last.id) {
    findings.add('lost', `the copy of session ${last.session}'s header in the disk's last block`)
  }
}

/**
 * Compares an image with what the guest was told. Reads the image past the page cache; it may be in use
 * (`live`), but must be the copy that is the volume's truth. Rejects where the image cannot be read.
 */
export const verifyImage = async (options: VerifyOptions): Promise<VerifyReport> => {
  const findings = new Findings()
  const lines = parseConsole(options.consoleLog, options.serial)
  const table = await readTable(options, options.serial)
  const sessions = sessionsOf(lines, table)
  const unknown = new Set(
    lines.map((line) => line.id).filter((id) => !sessions.some(({ plan }) => plan.sessionId === id)),
  )
  for (const id of unknown) findings.add('lost', `the header of session ${id}`)
  const acknowledgedWrites = sessions
    .flatMap((session) => session.acked)
    .reduce((sum, count) => sum + count, 0)
  const content = await readContent(options, sessions, findings)
  if (!options.live) raiseAcknowledged(sessions, content)
  const required = replay(sessions, content.session.length)
  const blocksChecked = compare(required, content, sessions, findings)
  await checkHeaders(options, sessions, table, findings)
  const errorsSeenByGuest = sessions.reduce((sum, session) => sum + session.errors, 0)
  const badReads = sessions.reduce((sum, session) => sum + session.bad, 0)
  const { lost, torn, corrupt, misplaced, problems } = findings
  return {
    ok: lost + torn + corrupt + misplaced + errorsSeenByGuest + badReads === 0,
    blocksChecked,
    acknowledgedWrites,
    lost,
    torn,
    corrupt,
    misplaced,
    errorsSeenByGuest,
    badReads,
    maxLatencyMs: lines.reduce(
      (max, line) => (line.kind === 'progress' ? Math.max(max, line.maxms, line.inflightms) : max),
      0,
    ),
    sessions: sessions.length,
    problems,
  }
}

if (import.meta.main) {
  const [imagePath, logPath, serial] = process.argv.slice(2)
  if (imagePath === undefined || logPath === undefined || serial === undefined) {
    console.error('usage: verify.ts IMAGE CONSOLE-LOG SERIAL [--live]')
    process.exit(2)
  }
  const consoleLog = await readFile(logPath, 'utf8')
  const report = await verifyImage({ imagePath, consoleLog, serial, live: process.argv.includes('--live') })
  console.log(JSON.stringify(report, null, 2))
  process.exitCode = report.ok ? 0 : 1
}

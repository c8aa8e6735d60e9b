/** A writer of numbered records in a share's file system, and the check that each acknowledged one is there. */
import { execFile, fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdir, open } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { blockBytes, recordFor } from '../../dataplane/records.ts'

export type ToWriter = { kind: 'go'; path: string; slots: number } | { kind: 'rest' }
export type FromWriter =
  | { kind: 'begun' | 'acknowledged'; number: number }
  | { kind: 'refused'; number: number; reason: string }
  | { kind: 'resting' }

/** Records lie in a ring of so many places: number n at n mod slots. */
const slots = 1024
const answerMs = 60_000

/** What was acknowledged at one instant, and what may have been under way. */
export interface Mark {
  acknowledged: number
  begun: number
}

export interface Writer {
  /** Now. */
  mark(): Mark
  /** Errors that it got, by their code, since it was last asked. */
  refusals(): string[]
  /** Waits until it has written more. */
  goesOn(): Promise<void>
  /** What is not there, or is wrong. It writes on meanwhile. */
  check(): Promise<string[]>
  /** The same of another file system, which holds what this one held between the marks. */
  checkAt(mountPath: string, first: Mark, second: Mark): Promise<string[]>
  /**
   * The file system holds again what it held between the first two marks; the third is of when that was asked for. What
   * is there is checked, and a new file begun.
   */
  wentBack(first: Mark, second: Mark, asked: Mark): Promise<string[]>
  /** Ends; the file system can be unmounted. */
  end(): Promise<void>
}

/** The folder that both the writer and NFS clients write to. */
export const workFolder = 'work'

/** In a mounted file system; makes the file, and the folder around it. */
export async function startWriter(mountPath: string): Promise<Writer> {
  const folder = join(mountPath, workFolder)
  await mkdir(folder, { recursive: true })
  // A client's root is nobody on the server.
  await chmod(folder, 0o777)
  let [path, files] = ['', 0]
  const begin = async (): Promise<void> => {
    path = join(folder, `records-${++files}`)
    await (await open(path, 'a')).close()
    ;[state.acknowledged, state.begun] = [0, 0]
    send({ kind: 'go', path, slots })
  }
  const child = fork(join(import.meta.dirname, 'writer-process.ts'), {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  })
  const state = { acknowledged: 0, begun: 0, isResting: true, refused: [] as string[] }
  child.on('message', (message: FromWriter) => {
    if (message.kind === 'acknowledged') state.acknowledged = message.number
    else if (message.kind === 'refused') state.refused.push(message.reason)
    else if (message.kind === 'begun') [state.begun, state.isResting] = [message.number, false]
    else state.isResting = true
  })
  const send = (message: ToWriter): void => void child.send(message)
  const mark = (): Mark => ({ acknowledged: state.acknowledged, begun: state.begun })
  await begin()
  const writer: Writer = {
    mark,
    refusals: () => [...new Set(state.refused.splice(0))],
    async goesOn() {
      const { acknowledged } = state
      await comesTrue('the writer writes on', child, () => state.acknowledged > acknowledged + 5)
    },
    async check() {
      const before = mark()
      const found = await recordsIn(path)
      return problemsOf(found, { acknowledged: before.acknowledged, begun: state.begun })
    },
    async checkAt(elsewhere, first, second) {
      const found = await recordsIn(join(elsewhere, relative(mountPath, path)))
      return problemsOf(found, { acknowledged: first.acknowledged, begun: second.begun })
    },
    async wentBack(first, second, asked) {
      send({ kind: 'rest' })
      await comesTrue('the writer rests', child, () => state.isResting)
      const found = await recordsIn(path)
      // What it wrote since that was asked for went to the one or the other.
      const isNew = (one: number | string): boolean => typeof one === 'number' && one > asked.begun
      const problems = found.flatMap((one, slot) =>
        isNew(one) ? [] : problemsAt(slot, one, first.acknowledged, second.begun),
      )
      await begin()
      return shortened(problems)
    },
    async end() {
      if (child.exitCode !== null || child.signalCode !== null) return
      const gone = once(child, 'exit')
      child.disconnect()
      child.kill('SIGKILL')
      await Promise.race([gone, sleep(answerMs, undefined, { ref: false })])
    },
  }
  await writer.goesOn()
  return writer
}

async function comesTrue(what: string, child: ChildProcess, holds: () => boolean): Promise<void> {
  for (const end = performance.now() + answerMs; !holds(); await sleep(10)) {
    if (child.exitCode !== null || child.signalCode !== null) throw new Error('the writer has ended')
    if (performance.now() > end) throw new Error(`not in ${answerMs / 1000} s: ${what}`)
  }
}

/** Past the page cache, which would hide what the chain below has lost; by a process that may hang alone. */
async function recordsIn(path: string): Promise<(number | string)[]> {
  const options = { encoding: 'buffer', maxBuffer: 2 * slots * blockBytes, timeout: answerMs } as const
  const words = [`if=${path}`, 'iflag=direct', 'bs=1M', 'status=none']
  for (const end = performance.now() + answerMs; ; await sleep(200)) {
    try {
      return recordsOf((await promisify(execFile)('dd', words, options)).stdout)
    } catch (error) {
      // A block device that is lost is made anew, and the file system mounted again, while clients wait.
      if (performance.now() > end) throw error
    }
  }
}

function recordsOf(stdout: Buffer): (number | string)[] {
  const found: (number | string)[] = []
  for (let slot = 0; (slot + 1) * blockBytes <= stdout.length; slot++) {
    const record = stdout.subarray(slot * blockBytes, (slot + 1) * blockBytes)
    const number = record.readUInt32BE(4)
    const isEmpty = record.every((byte) => byte === 0)
    if (isEmpty) found.push(0)
    else found.push(record.equals(recordFor(slot, number)) ? number : `place ${slot} holds no whole record`)
  }
  return found
}

/** Every place must hold the last record that was acknowledged for it, or a later one that had been begun. */
export function problemsOf(found: readonly (number | string)[], { acknowledged, begun }: Mark): string[] {
  return shortened(
    Array.from({ length: slots }, (_, slot) =>
      problemsAt(slot, found[slot] ?? 0, acknowledged, begun),
    ).flat(),
  )
}

function problemsAt(slot: number, there: number | string, acknowledged: number, begun: number): string[] {
  if (typeof there === 'string') return [there]
  const expected = acknowledged - ((acknowledged - slot + slots) % slots)
  if (there < expected) return [`record ${expected} was acknowledged; its place ${slot} holds ${there}`]
  return there > begun ? [`place ${slot} holds ${there}, which was not written yet`] : []
}

const shortened = (problems: string[]): string[] =>
  problems.length > 5 ? [...problems.slice(0, 5), `and ${problems.length - 5} more`] : problems

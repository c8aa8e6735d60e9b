/** What others copy an image with, on the same file system: with the processor time that it took them. */
import { execFile } from 'node:child_process'
import { rm } from 'node:fs/promises'
import { promisify } from 'node:util'
import { timed } from '../measure.ts'

const run = promisify(execFile)

export interface Copied {
  ms: number
  /** Processor seconds of what copied; absent: not known. */
  processor?: number
}

/** The cache modes of both images: `none` is how Volant opens its own (O_DIRECT). */
export type ConvertCache = 'none' | 'default'

const modesOf = (cache: ConvertCache): string[] => (cache === 'none' ? ['-T', 'none', '-t', 'none'] : [])

/** `qemu-img convert` of all these images, one after the other; the targets are removed afterwards. */
export function convert(images: readonly Images[], cache: ConvertCache): Promise<Copied> {
  const commands = images.map(({ source, target }) => [
    ...['qemu-img', 'convert', '-f', 'raw', '-O', 'raw', ...modesOf(cache)],
    ...[source, target],
  ])
  return carryOut(commands, images)
}

/** `cp --sparse=always`, until all of it is on disk. */
export function cpSparse(images: readonly Images[]): Promise<Copied> {
  const commands = images.map(({ source, target }) => [
    ...['cp', '--sparse=always', '--reflink=never'],
    ...[source, target],
  ])
  return carryOut([...commands, ['sync', ...images.map(({ target }) => target)]], images)
}

export interface Images {
  source: string
  target: string
}

async function carryOut(commands: readonly string[][], images: readonly Images[]): Promise<Copied> {
  const quoted = (word: string): string => `'${word.replaceAll("'", `'\\''`)}'`
  const script = commands.map((words) => words.map(quoted).join(' ')).join(' && ')
  try {
    const { ms, result } = await timed(() => run('sh', ['-c', `${script} && times`], { timeout: 300_000 }))
    return { ms, processor: childrensTime(result.stdout) }
  } finally {
    await Promise.all(images.map(({ target }) => rm(target, { force: true })))
  }
}

/** Of the shell's `times`: the second line is of its children, user and system. */
function childrensTime(output: string): number {
  const line = output.trim().split('\n').at(-1) ?? ''
  const parts = [...line.matchAll(/(\d+)m([0-9.]+)s/g)]
  return parts.reduce((sum, [, minutes, seconds]) => sum + Number(minutes) * 60 + Number(seconds), 0)
}

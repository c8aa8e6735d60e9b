import { execFile } from 'node:child_process'
import { rm } from 'node:fs/promises'
import { promisify } from 'node:util'
import { timed } from '../measure.ts'

const run = promisify(execFile)

/** The cache modes of both images: `none` is how Volant opens its own (O_DIRECT). */
export type ConvertCache = 'none' | 'default'

/** Milliseconds that `qemu-img convert` takes from its start to its end. The target is removed afterwards. */
export async function convertMs(source: string, target: string, cache: ConvertCache): Promise<number> {
  const modes = cache === 'none' ? ['-T', 'none', '-t', 'none'] : []
  try {
    const { ms } = await timed(() =>
      run('qemu-img', ['convert', '-f', 'raw', '-O', 'raw', ...modes, source, target]),
    )
    return ms
  } finally {
    await rm(target, { force: true })
  }
}

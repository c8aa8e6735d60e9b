import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'

/** What the kernel has of files in this folder. */
const loopDevicesIn = (folder: string): { name: string; file: string }[] =>
  execFileSync('losetup', ['--list', '--noheadings', '--raw', '--output', 'NAME,BACK-FILE'], {
    encoding: 'utf8',
  })
    .split('\n')
    .filter((line) => line.includes(`${folder}/`))
    .map((line) => ({ name: line.split(' ')[0] ?? '', file: line.split(' ')[1] ?? '' }))

export const loopsIn = (folder: string): string[] => loopDevicesIn(folder).map(({ file }) => file)

export const mountsIn = (folder: string): string[] =>
  readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '')
    .filter((path) => path.startsWith(`${folder}/`))

/** A folder of which nothing is left when the test ends, whatever is mounted in it then. First `stop` is called. */
export function openFolder(t: TestContext, stop?: (folder: string) => Promise<unknown>): string {
  const folder = mkdtempSync(join(tmpdir(), 'va-'))
  t.after(async () => {
    await stop?.(folder)
    for (const path of mountsIn(folder).toReversed()) execFileSync('umount', [path], { stdio: 'pipe' })
    for (const { name } of loopDevicesIn(folder)) execFileSync('losetup', ['--detach', name])
    rmSync(folder, { recursive: true, force: true })
  })
  return folder
}

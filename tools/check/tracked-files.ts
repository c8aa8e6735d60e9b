import { spawnSync } from 'node:child_process'
import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'

/** What ties a file to one machine. */
const forbidden: { pattern: RegExp; what: string }[] = [
  {
    pattern: /(?<![\w.])\/(?:root|work|home\/(?!USER|user)\w+)\/[\w.-]/,
    what: "a path of somebody's machine",
  },
  { pattern: /https?:\/\/(?:registry\.|npm\.)[\w.-]+/, what: 'the address of a package registry' },
  { pattern: /^\s*-----BEGIN [A-Z ]*PRIVATE KEY-----\s*$/, what: 'a private key' },
]
const largest = 1024 * 1024

/** What is wrong in one file's text, as `file:line: what`. */
export function findForbidden(file: string, text: string): string[] {
  return text.split('\n').flatMap((line, index) => {
    const found = forbidden.find(({ pattern }) => pattern.test(line))
    return found === undefined ? [] : [`${file}:${index + 1}: ${found.what}: ${line.trim().slice(0, 100)}`]
  })
}

/** No tracked file holds what belongs to one machine, or is too large to review. */
export function checkTrackedFiles(root: string): string[] {
  const listed = spawnSync('git', ['ls-files', '-z'], { cwd: root, encoding: 'utf8' })
  if (listed.status !== 0) return []
  return listed.stdout
    .split('\0')
    .filter((file) => file !== '' && !file.startsWith('tools/check/'))
    .flatMap((file) => {
      const path = join(root, file)
      const size = statSync(path, { throwIfNoEntry: false })?.size ?? 0
      if (size > largest) return [`${file}: ${size} bytes is too large to be tracked`]
      return size === 0 ? [] : findForbidden(file, readFileSync(path, 'utf8'))
    })
}

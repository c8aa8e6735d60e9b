import { readFileSync } from 'node:fs'
import { join } from 'node:path'

interface Lockfile {
  packages: Record<
    string,
    { version?: string; resolved?: string; integrity?: string; link?: boolean; optional?: boolean }
  >
}

/** The lockfile names no registry, and has a checksum for every package that can be installed here. */
export function checkLockfile(root: string): string[] {
  const { packages } = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')) as Lockfile
  return Object.entries(packages).flatMap(([path, entry]) => {
    if (!path.includes('node_modules/') || entry.link === true) return []
    const found: string[] = []
    if (entry.resolved !== undefined)
      found.push(`package-lock.json: ${path} names a registry: ${entry.resolved}`)
    if (entry.integrity === undefined && entry.optional !== true) {
      found.push(`package-lock.json: ${path} has no checksum`)
    }
    return found
  })
}

import { readFileSync } from 'node:fs'
import { join } from 'node:path'

/** Volant's version, from the package.json at the root. */
export function volantVersion(): string {
  const path = join(import.meta.dirname, '../../../package.json')
  return (JSON.parse(readFileSync(path, 'utf8')) as { version: string }).version
}

/**
 * Notes down, in the process that runs a case, which folders and network namespaces it makes: the rigs make them in
 * places of their own, and who ends a case by force must find them.
 */
import childProcess from 'node:child_process'
import fs from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import type { Traces } from './sweep.ts'

/** From now on, line by line, to the file. */
export function noteTraces(path: string): void {
  const note = (kind: 'folder' | 'namespace', name: string): void =>
    fs.appendFileSync(path, `${kind} ${name}\n`)
  const { mkdtempSync } = fs
  fs.mkdtempSync = ((...args: Parameters<typeof mkdtempSync>) => {
    const made = mkdtempSync(...args)
    note('folder', String(made))
    return made
  }) as typeof mkdtempSync
  const { mkdtemp } = fs.promises
  fs.promises.mkdtemp = (async (...args: Parameters<typeof mkdtemp>) => {
    const made = await mkdtemp(...args)
    note('folder', String(made))
    return made
  }) as typeof mkdtemp
  const { execFileSync } = childProcess
  childProcess.execFileSync = ((...args: Parameters<typeof execFileSync>) => {
    const [program, words] = args
    // Before it is there: one too many does no harm.
    if (program === 'ip' && Array.isArray(words) && words[0] === 'netns' && words[1] === 'add') {
      note('namespace', String(words[2]))
    }
    return execFileSync(...args)
  }) as typeof execFileSync
  syncBuiltinESMExports()
}

/** What is noted there; nothing where there is no such file. */
export function readTraces(path: string): Pick<Traces, 'folders' | 'namespaces'> {
  const lines = fs.existsSync(path) ? fs.readFileSync(path, 'utf8').trim().split('\n') : []
  const of = (kind: string): string[] =>
    lines.filter((line) => line.startsWith(`${kind} `)).map((line) => line.slice(kind.length + 1))
  return { folders: of('folder'), namespaces: of('namespace') }
}

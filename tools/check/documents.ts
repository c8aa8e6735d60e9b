import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'

/** What the documents can name: the tracked files, and the scripts of the package file. */
export interface Named {
  files: readonly string[]
  scripts: readonly string[]
  /** The text of a tracked file. */
  read(file: string): string
}

const sourceEnding = /\.(ts|tsx|c|h|sh|md|json)$/
/** A file or folder, as documents write it between back-ticks: `app/turns.ts`, `agent/src/wire/`. */
const pathSpan = /`((?:\.{1,2}\/)?[\w@-][\w@./-]*)`/g
const link = /\]\(([^)\s]+)\)/g
const script = /\bnpm run (?:--silent )?([\w:-]+)/g
/** `main-job: *cancelled while it copies…*`: a test by its file and the beginning of its name. */
const testOfFile = /(?:^|[\s;|(])`?([a-z][\w/-]*)`?(?: \([^)]*\))?: ((?:\*[^*]+\*(?: \([^)]*\))?(?:, )?)+)/g

/** Whether a tracked file ends in these parts of a path, or lies in a folder that does. */
function isTracked(path: string, { files }: Named): boolean {
  const folder = path.endsWith('/')
  return files.some((file) => {
    const whole = `/${file}`
    return folder ? whole.includes(`/${path}`) : whole.endsWith(`/${path}`)
  })
}

/** A link leads to a file or a folder that is there. */
function brokenLinks(document: string, line: string, named: Named): string[] {
  return [...line.matchAll(link)].flatMap(([, target = '']) => {
    if (/^[a-z]+:|^#/.test(target)) return []
    const path = normalize(join(dirname(document), decodeURI(target.replace(/#.*$/, ''))))
    const exists = named.files.some((file) => file === path || file.startsWith(`${path.replace(/\/$/, '')}/`))
    return exists ? [] : [`the link ${target} leads nowhere`]
  })
}

function unknownPaths(line: string, named: Named): string[] {
  return [...line.matchAll(pathSpan)].flatMap(([, path = '']) => {
    const isPath = /\.(ts|tsx|c|h|sh)$/.test(path) || (path.includes('/') && sourceEnding.test(path))
    const isFolder = /^(packages|test|tools|bench|docs|probe)\/.*\/$/.test(path)
    if (!isPath && !isFolder) return []
    return isTracked(path.replace(/^(\.{1,2}\/)+/, ''), named) ? [] : [`there is no ${path}`]
  })
}

function unknownScripts(line: string, { scripts }: Named): string[] {
  return [...line.matchAll(script)].flatMap(([, name = '']) =>
    scripts.includes(name) ? [] : [`package.json has no script ${name}`],
  )
}

function unknownTests(line: string, named: Named): string[] {
  return [...line.matchAll(testOfFile)].flatMap(([, stem = '', titles = '']) => {
    const files = named.files.filter((file) => `/${file}`.includes(`/${stem}`) && file.endsWith('.test.ts'))
    if (files.length === 0) return [`there is no test file named ${stem}`]
    const texts = files.map((file) => named.read(file).replaceAll("\\'", "'"))
    return [...titles.matchAll(/\*([^*]+)\*/g)].flatMap(([, title = '']) => {
      // What stands in brackets is a value in a test made for several.
      const parts = title.split(/…|\([^)]*\)/).filter((part) => part !== '')
      const found = texts.some((text) => parts.every((part) => text.includes(part)))
      return found ? [] : [`no test in a file named ${stem} is called "${title}"`]
    })
  })
}

/** What a document names and is not there, as `document:line: what`. */
export function staleNames(document: string, text: string, named: Named): string[] {
  return text
    .split('\n')
    .flatMap((line, index) =>
      [
        ...brokenLinks(document, line, named),
        ...unknownPaths(line, named),
        ...unknownScripts(line, named),
        ...unknownTests(line, named),
      ].map((what) => `${document}:${index + 1}: ${what}`),
    )
}

/** Every file, link, script and test that a tracked document names is there. The changelog tells of what was. */
export function checkDocuments(root: string): string[] {
  const listed = spawnSync('git', ['ls-files', '-z'], { cwd: root, encoding: 'utf8' })
  if (listed.status !== 0) return []
  const files = listed.stdout.split('\0').filter((file) => file !== '')
  const read = (file: string): string => readFileSync(join(root, file), 'utf8')
  const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> }
  const named: Named = { files, scripts: Object.keys(scripts), read }
  return files
    .filter((file) => file.endsWith('.md') && file !== 'CHANGELOG.md')
    .flatMap((file) => staleNames(file, read(file), named))
}

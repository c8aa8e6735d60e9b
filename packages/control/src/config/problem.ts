import { DomainError } from '@volant/contract'
import { isMap, isPair, type Document, type LineCounter, type Node } from 'yaml'

export type ConfigPath = (string | number)[]

/** One thing that is wrong in a configuration file. Lines and columns count from 1. */
export interface ConfigProblem {
  line: number
  column: number
  /** For example `clusters[0].nodes[1].name`. */
  where: string
  message: string
}

/** All that is wrong, in the order of the file; each with its line and a mark under the place. */
export class ConfigError extends DomainError {
  readonly problems: readonly ConfigProblem[]

  constructor(file: string, text: string, problems: readonly ConfigProblem[]) {
    const lines = text.split('\n')
    const shown = problems.slice(0, 10).map((problem) => {
      const source = lines[problem.line - 1] ?? ''
      const mark = `\n    ${source}\n    ${' '.repeat(Math.max(0, problem.column - 1))}^`
      const where = problem.where === '' ? '' : `${problem.where}: `
      return `${file}:${problem.line}:${problem.column}: ${where}${problem.message}${source.trim() === '' ? '' : mark}`
    })
    if (problems.length > shown.length) shown.push(`and ${problems.length - shown.length} more`)
    super('invalid', shown.join('\n'))
    this.name = 'ConfigError'
    this.problems = problems
  }
}

const formatPath = (path: ConfigPath): string =>
  path.reduce<string>((text, part) => {
    if (typeof part === 'number') return `${text}[${part}]`
    return text === '' ? part : `${text}.${part}`
  }, '')

/** Where a value stands; of a value that is not there, where the nearest thing around it begins. */
function offsetOf(document: Document, path: ConfigPath, at: 'key' | 'value'): number {
  const parent = path.length === 0 ? undefined : document.getIn(path.slice(0, -1), true)
  if (at === 'key' && isMap(parent)) {
    const pair = parent.items.find(
      (item) => isPair(item) && String((item.key as { value?: unknown }).value) === String(path.at(-1)),
    )
    const range = (pair?.key as Node | undefined)?.range
    if (range) return range[0]
  }
  for (let length = path.length; length >= 0; length--) {
    const node = (length === 0 ? document.contents : document.getIn(path.slice(0, length), true)) as
      | Node
      | null
      | undefined
    if (node?.range) return node.range[0]
  }
  return 0
}

/** Collects problems at places of one document. */
export function problemCollector(document: Document, lines: LineCounter) {
  const problems: ConfigProblem[] = []
  return {
    problems,
    add(path: ConfigPath, message: string, at: 'key' | 'value' = 'value'): void {
      const { line, col } = lines.linePos(offsetOf(document, path, at))
      problems.push({ line: Math.max(1, line), column: Math.max(1, col), where: formatPath(path), message })
    },
  }
}

export type ProblemCollector = ReturnType<typeof problemCollector>

import type { Row } from './bench-case.ts'

export interface Section {
  title: string
  rows: Row[]
  /** How busy others kept the processors when it began, 0 to 1. */
  busyBefore: number
  /** Why the case has no figures. */
  failure?: string
}

const shown = (value: number): string => {
  const size = Math.abs(value)
  return size >= 100
    ? value.toFixed(0)
    : size >= 10
      ? value.toFixed(1)
      : size >= 1
        ? value.toFixed(2)
        : value.toFixed(3)
}

const verdict = ({ met }: Row): string => (met === null ? '' : met ? 'met' : '**missed**')
const cells = (texts: string[]): string =>
  `| ${texts.map((text) => text.replaceAll('|', '\\|')).join(' | ')} |`

export function markdownOf(options: {
  sections: Section[]
  machine: Record<string, string>
  quick: boolean
  startedAt: Date
  seconds: number
  load: number
}): string {
  const { sections, machine, quick, startedAt, seconds, load } = options
  const facts = Object.entries(machine).map(([name, value]) => `${name} ${value}`)
  const rows = sections.flatMap((section) => section.rows)
  const targets = rows.filter((one) => one.met !== null)
  const failed = sections.filter(({ failure }) => failure !== undefined)
  const lines = [
    '# Benchmark',
    '',
    `\`npm run bench${quick ? ' -- --quick' : ''}\`, ${startedAt.toISOString().slice(0, 16).replace('T', ' ')} UTC, ${Math.round(seconds)} s. ` +
      `${facts.join('; ')}. Load average at the start ${load.toFixed(2)}.`,
    '',
    `${targets.filter(({ met }) => met).length} of ${targets.length} targets met.` +
      (failed.length === 0
        ? ''
        : ` Not measured: ${failed.map(({ title }) => title.toLowerCase()).join('; ')}.`),
    '',
    'Ratios are to a reference of the same run, taken in turns with what is measured. Values are medians unless the',
    'name says otherwise; the spread is the least and the largest of the repeats. Each measurement waits for a while for',
    'a machine that is otherwise idle; how busy it was by then stands in its heading.',
  ]
  for (const { title, rows: ofSection, failure, busyBefore } of sections) {
    lines.push('', `## ${title} (others: ${Math.round(busyBefore * 100)} % busy)`, '')
    if (failure !== undefined) lines.push(`Could not be measured: ${failure}`)
    if (ofSection.length === 0) continue
    lines.push(cells(['what', 'value', 'unit', 'target', '', 'spread']), '|---|---:|---|---|---|---|')
    for (const one of ofSection) {
      lines.push(
        cells([one.name, shown(one.value), one.unit, one.target ?? '', verdict(one), one.spread ?? '']),
      )
    }
    const notes = ofSection.filter(({ note }) => note !== undefined)
    if (notes.length > 0) lines.push('', ...notes.map(({ name, note }) => `- ${name}: ${note}.`))
  }
  return `${lines.join('\n')}\n`
}

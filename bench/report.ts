import { readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { spreadIn, type Measured, type Row } from './bench-case.ts'
import type { Chart } from './chart/chart.ts'
import { shown, svgOf, targetOf } from './chart/svg.ts'

export interface Section extends Measured {
  title: string
  /** How busy others kept the processors when it began, 0 to 1. */
  busyBefore: number
  /** What it took. */
  seconds: number
  /** Why figures are missing. */
  failure?: string
  /** What it left behind, so that it had to be ended by force. */
  forgotten?: string[]
}

export interface Report {
  sections: Section[]
  machine: Record<string, string>
  quick: boolean
  startedAt: Date
  seconds: number
  load: number
}

const verdict = ({ met }: Row): string => (met === null ? '' : met ? 'met' : '**missed**')
const cells = (texts: string[]): string =>
  `| ${texts.map((text) => text.replaceAll('|', '\\|')).join(' | ')} |`

/** latest.md, latest.json, and the charts; those of an earlier run that this one has not drawn go. */
export function writeReport(folder: string, report: Report): void {
  const drawn = report.sections.map(chartsOf)
  const files = new Map(drawn.flatMap((charts) => charts.map(({ file, chart }) => [file, svgOf(chart)])))
  for (const name of readdirSync(folder)) {
    if (name.endsWith('.svg') && !files.has(name)) rmSync(join(folder, name))
  }
  for (const [name, text] of files) writeFileSync(join(folder, name), text)
  const rows = report.sections.flatMap((section) => section.rows)
  writeFileSync(join(folder, 'latest.json'), `${JSON.stringify(rows, undefined, 2)}\n`)
  writeFileSync(join(folder, 'latest.md'), markdownOf(report))
}

/** The section's own, and one of its rows that are ratios. */
function chartsOf(section: Section): { file: string; chart: Chart }[] {
  const charts = [...(section.charts ?? [])]
  const ratios = section.rows.filter(({ unit, value }) => unit.startsWith('×') && Number.isFinite(value))
  if (ratios.length > 0) {
    const figures = ratios.map((one) => {
      const [range, target] = [spreadIn(one), targetOf(one.target)]
      return {
        name: one.name,
        value: one.value,
        ...(range === undefined ? {} : { range }),
        ...(target === undefined ? {} : { target }),
      }
    })
    const caption = 'Dot: median. Bar: least to largest of the repeats. Upright line: the target.'
    charts.unshift({
      kind: 'ranges',
      title: `${section.title}: ratios within the run`,
      unit: '×',
      caption,
      groups: [{ name: '', figures }],
    })
  }
  const stem = section.title
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '-')
    .replaceAll(/^-|-$/g, '')
    .slice(0, 40)
  return charts.map((chart, i) => ({ file: `${stem}-${i + 1}.svg`, chart }))
}

function markdownOf({ sections, machine, quick, startedAt, seconds, load }: Report): string {
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
        : ` **Not measured, or not as a whole: ${failed.map(({ title }) => title.toLowerCase()).join('; ')}.**`),
    '',
    'Ratios are to a reference of the same run, taken in turns with what is measured. Values are medians unless the',
    'name says otherwise; the spread is the least and the largest of the repeats. Each measurement waits for a while for',
    'a machine that is otherwise idle; how busy it was by then stands in its heading.',
  ]
  for (const section of sections) lines.push(...linesOf(section))
  return `${lines.join('\n')}\n`
}

function linesOf(section: Section): string[] {
  const { title, rows, failure, busyBefore, omissions = [], forgotten = [], seconds } = section
  const lines = [
    '',
    `## ${title} (others: ${Math.round(busyBefore * 100)} % busy; ${Math.round(seconds)} s)`,
    '',
  ]
  if (failure !== undefined) {
    lines.push(`**${rows.length === 0 ? 'Could not be measured' : 'Not whole'}: ${failure}**`, '')
  }
  for (const omission of omissions) lines.push(`**Not measured: ${omission}**`, '')
  if (forgotten.length > 0) lines.push(`**It left behind: ${forgotten.join('; ')}**`, '')
  if (rows.length === 0) return lines
  lines.push(cells(['what', 'value', 'unit', 'target', '', 'spread']), '|---|---:|---|---|---|---|')
  for (const one of rows) {
    lines.push(
      cells([one.name, shown(one.value), one.unit, one.target ?? '', verdict(one), one.spread ?? '']),
    )
  }
  const notes = rows.filter(({ note }) => note !== undefined)
  if (notes.length > 0) lines.push('', ...notes.map(({ name, note }) => `- ${name}: ${note}.`))
  for (const { file, chart } of chartsOf(section)) lines.push('', `![${chart.title}](${file})`)
  return lines
}

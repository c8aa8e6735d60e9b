/**
 * Draws charts as SVG, with nothing but text: the same figures give the same bytes. Readable on light and on dark
 * ground, as the reader's system asks for: an image in Markdown obeys `prefers-color-scheme`.
 */
import { boundOf } from '../bench-case.ts'
import type { Chart, Panel, RangeChart, RangeFigure, TimeChart } from './chart.ts'
import { linear, logarithmic, type Scale } from './scale.ts'

const width = 820
const margin = 20
const labelWidth = 330
const valueWidth = 74
const rowHeight = 24
const lineHeight = 17

const style = `
text{font:13px system-ui,-apple-system,"Segoe UI",Helvetica,Arial,sans-serif;fill:#1f2328}
.title{font-size:15px;font-weight:600}.group{font-weight:600}.quiet{fill:#59636e;font-size:12px}
.ground{fill:#fff}.grid{stroke:#d1d9e0;stroke-width:1}.span{fill:#818b981f}
.range{stroke:#0969da;stroke-opacity:.35;stroke-width:7;stroke-linecap:round}.dot{fill:#0969da}
.target{stroke:#9a6700;stroke-width:2}.line{fill:none;stroke-width:1.8;stroke-linejoin:round}
.c0{stroke:#0969da}.c1{stroke:#bc4c00}.c2{stroke:#1a7f37}.c3{stroke:#8250df}.c4{stroke:#59636e}
@media(prefers-color-scheme:dark){
text{fill:#e6edf3}.quiet{fill:#9198a1}.ground{fill:#0d1117}.grid{stroke:#3d444d}.span{fill:#9198a126}
.range{stroke:#4493f8;stroke-opacity:.4}.dot{fill:#4493f8}.target{stroke:#d29922}
.c0{stroke:#4493f8}.c1{stroke:#f0883e}.c2{stroke:#3fb950}.c3{stroke:#ab7df8}.c4{stroke:#9198a1}}
`
const colours = 5

const escaped = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;')
/** A place on the drawing: a tenth is finer than any screen. */
const n = (value: number): string => String(Math.round(value * 10) / 10)
const text = (x: number, y: number, words: string, more = ''): string =>
  `<text x="${n(x)}" y="${n(y)}"${more}>${escaped(words)}</text>`
const line = (x1: number, y1: number, x2: number, y2: number, kind: string): string =>
  `<line class="${kind}" x1="${n(x1)}" y1="${n(y1)}" x2="${n(x2)}" y2="${n(y2)}"/>`
const quiet = ' class="quiet"'
const toTheRight = ' class="quiet" text-anchor="middle"'
const toTheLeft = ' class="quiet" text-anchor="end"'

/** What was measured: of a guest that answered nothing there is no figure, and JSON has null for it. */
const isThere = (value: number | null): value is number => value !== null && Number.isFinite(value)

/** Three digits that say something; a dash where nothing was measured. */
export function shown(value: number | null): string {
  if (!isThere(value)) return '–'
  const size = Math.abs(value)
  const digits = size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3
  return value.toFixed(digits)
}

const tickText = (tick: number): string =>
  tick >= 1e6 ? `${tick / 1e6}M` : tick >= 1e4 ? `${tick / 1e3}k` : String(tick)

/** Throws where there is nothing to draw. */
export function svgOf(chart: Chart): string {
  const { parts, height } = chart.kind === 'ranges' ? drawRanges(chart) : drawTime(chart)
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${n(height)}" viewBox="0 0 ${width} ${n(height)}" role="img" aria-label="${escaped(chart.title)}">`,
    `<style>${style.trim().replaceAll('\n', '')}</style>`,
    `<rect class="ground" width="${width}" height="${n(height)}" rx="6"/>`,
    ...parts,
    '</svg>',
    '',
  ].join('\n')
}

interface Drawing {
  parts: string[]
  height: number
}

/** The title, and below it the caption in lines that fit; `y` is where what follows begins. */
function heading({ title, caption }: Chart): { parts: string[]; y: number } {
  const parts = [text(margin, 28, title, ' class="title"')]
  let y = 28
  for (const words of wrapped(caption ?? '', 118)) parts.push(text(margin, (y += lineHeight), words, quiet))
  return { parts, y: y + 14 }
}

function wrapped(words: string, most: number): string[] {
  const lines: string[] = []
  for (const word of words.split(' ').filter((one) => one !== '')) {
    const last = lines.at(-1)
    if (last === undefined || last.length + 1 + word.length > most) lines.push(word)
    else lines[lines.length - 1] = `${last} ${word}`
  }
  return lines
}

function drawRanges(chart: RangeChart): Drawing {
  const figures = chart.groups.flatMap((group) => group.figures)
  if (figures.length === 0) throw new Error(`The chart "${chart.title}" has no figures.`)
  const { parts, y: begin } = heading(chart)
  const left = margin + labelWidth
  const scale = scaleOf(figures, width - left - valueWidth - margin)
  let y = begin
  const rows: string[] = []
  for (const { name, figures: ofGroup } of chart.groups) {
    if (name !== '') rows.push(text(margin, (y += rowHeight) - 7, name, ' class="group"'))
    for (const figure of ofGroup) {
      y += rowHeight + lineHeight * (wrapped(figure.name, 46).length - 1)
      rows.push(...drawFigure(figure, { left, y, scale }))
    }
  }
  for (const tick of scale.ticks) {
    const x = left + scale.at(tick)
    parts.push(line(x, begin, x, y + 4, 'grid'), text(x, y + 20, tickText(tick), toTheRight))
  }
  parts.push(text(width - margin, y + 20, chart.unit, toTheLeft), ...rows)
  return { parts, height: y + 34 }
}

/** Begins at 0, unless what is to be seen would then be a speck beside the largest. */
function scaleOf(figures: readonly RangeFigure[], places: number): Scale {
  const values = figures.flatMap(({ value, range = [value, value], target }) => [
    value,
    ...range,
    ...(target === undefined ? [] : [target.bound]),
  ])
  const positive = values.filter(isThere).filter((value) => value > 0)
  const [least, largest] = [Math.min(...positive), Math.max(...positive)]
  return positive.length > 0 && largest / least > 40
    ? logarithmic(least, largest, places)
    : linear(positive.length > 0 ? largest : 1, places)
}

function drawFigure(
  { name, value, range, target }: RangeFigure,
  { left, y, scale }: { left: number; y: number; scale: Scale },
): string[] {
  const names = wrapped(name, 46)
  const parts = names.map((words, i) => text(margin, y - 7 - lineHeight * (names.length - 1 - i), words))
  const middle = y - 11.5
  const at = (one: number): number => left + scale.at(one)
  const [from = null, to = null] = range ?? []
  if (isThere(from) && isThere(to)) parts.push(line(at(from), middle, at(to), middle, 'range'))
  if (target !== undefined)
    parts.push(line(at(target.bound), middle - 8, at(target.bound), middle + 8, 'target'))
  if (isThere(value)) parts.push(`<circle class="dot" cx="${n(at(value))}" cy="${n(middle)}" r="4.5"/>`)
  parts.push(text(width - margin, y - 7, shown(value), ' text-anchor="end"'))
  return parts
}

const panelHeight = 150

function drawTime(chart: TimeChart): Drawing {
  const all = chart.panels.flatMap(({ series }) => series.flatMap(({ points }) => points))
  if (all.length === 0) throw new Error(`The chart "${chart.title}" has no points.`)
  const { parts, y: begin } = heading(chart)
  const names = [...new Set(chart.panels.flatMap(({ series }) => series.map(({ name }) => name)))]
  // A panel of one series has its name.
  const isMixed = chart.panels.some(({ series }) => series.length > 1)
  if (isMixed) parts.push(...legend(names, begin + 8))
  const ends = [
    ...all.map(([x]) => x),
    ...chart.panels.flatMap(({ spans = [] }) => spans.map(({ to }) => to)),
  ]
  const left = margin + 52
  const time = linear(Math.max(...ends), width - left - margin, 8)
  let y = begin + (isMixed ? 22 : 0)
  for (const panel of chart.panels) {
    parts.push(text(margin, y + 16, `${panel.name}, ${panel.unit}`, quiet))
    parts.push(
      ...drawPanel(panel, {
        names,
        left,
        top: y + 24,
        time,
        alike: chart.panels.filter(({ unit }) => unit === panel.unit),
      }),
    )
    y += panelHeight + 34
  }
  for (const tick of time.ticks) parts.push(text(left + time.at(tick), y + 8, tickText(tick), toTheRight))
  parts.push(text(width - margin, y + 24, 'seconds', toTheLeft))
  return { parts, height: y + 36 }
}

function legend(names: readonly string[], y: number): string[] {
  const parts: string[] = []
  let x = margin
  for (const [i, name] of names.entries()) {
    parts.push(line(x, y - 4, x + 20, y - 4, `line c${i % colours}`), text(x + 26, y, name))
    x += 26 + name.length * 7.2 + 22
  }
  return parts
}

function drawPanel(
  { log = false, series, spans = [] }: Panel,
  where: { names: readonly string[]; left: number; top: number; time: Scale; alike: Panel[] },
): string[] {
  const { names, left, top, time, alike } = where
  // Panels of one unit have one scale, so that they can be compared by eye.
  const all = alike.flatMap((panel) => panel.series.flatMap(({ points }) => points))
  const values = all
    .map(([, value]) => value)
    .filter(isThere)
    .filter((value) => value > 0)
  const [least, largest] = values.length === 0 ? [1, 1] : [Math.min(...values), Math.max(...values)]
  const scale = log ? logarithmic(least, largest, panelHeight) : linear(largest, panelHeight, 4)
  const yAt = (value: number): number => top + panelHeight - scale.at(value)
  const parts: string[] = []
  for (const { name, from, to } of spans) {
    const [x, wide] = [left + time.at(from), time.at(to) - time.at(from)]
    parts.push(`<rect class="span" x="${n(x)}" y="${n(top)}" width="${n(wide)}" height="${panelHeight}"/>`)
    parts.push(text(x + 4, top + 13, name, quiet))
  }
  for (const tick of scale.ticks) {
    parts.push(line(left, yAt(tick), width - margin, yAt(tick), 'grid'))
    parts.push(text(left - 6, yAt(tick) + 4, tickText(tick), toTheLeft))
  }
  for (const { name, points } of series) {
    const path = points
      .flatMap(([x, value]) => (isThere(value) ? [`${n(left + time.at(x))},${n(yAt(value))}`] : []))
      .join(' ')
    parts.push(`<polyline class="line c${names.indexOf(name) % colours}" points="${path}"/>`)
  }
  return parts
}

/** Figures of rows that are ratios, with their targets. */
export const targetOf = (target: string | null): RangeFigure['target'] =>
  target === null ? undefined : boundOf(target)

/** Tables as the stock OpenStack clients print them (PrettyTable, left-aligned). */

const characterWidth = (character: string): number => {
  const code = character.codePointAt(0) ?? 0
  if (/\p{Mark}/u.test(character)) return 0
  const wide =
    (code >= 0x1100 && code <= 0x115f) ||
    (code >= 0x2e80 && code <= 0xa4cf) ||
    (code >= 0xac00 && code <= 0xd7a3) ||
    (code >= 0xf900 && code <= 0xfaff) ||
    (code >= 0xfe30 && code <= 0xfe6f) ||
    (code >= 0xff00 && code <= 0xff60) ||
    (code >= 0x1f300 && code <= 0x1faff)
  return wide ? 2 : 1
}

/** Columns that a text takes on a terminal. */
export const displayWidth = (text: string): number =>
  [...text].reduce((width, character) => width + characterWidth(character), 0)

const pad = (text: string, width: number): string =>
  text + ' '.repeat(Math.max(0, width - displayWidth(text)))

/** Without the control characters that could steer a terminal. */
const printable = (text: string): string =>
  text.replace(/\p{Cc}/gu, (character) => (character === '\n' ? '\n' : '?'))

export function formatTable(headers: readonly string[], rows: readonly (readonly string[])[]): string {
  const cells = rows.map((row) => headers.map((_, column) => printable(row[column] ?? '').split('\n')))
  const widths = headers.map((header, column) =>
    Math.max(
      displayWidth(header),
      ...cells.map((row) => Math.max(...(row[column] ?? ['']).map(displayWidth))),
    ),
  )
  const rule = `+${widths.map((width) => '-'.repeat(width + 2)).join('+')}+`
  const line = (texts: readonly string[]): string =>
    `|${widths.map((width, column) => ` ${pad(texts[column] ?? '', width)} `).join('|')}|`
  const body = cells.flatMap((row) => {
    const height = Math.max(...row.map((cell) => cell.length))
    return Array.from({ length: height }, (_, index) => line(row.map((cell) => cell[index] ?? '')))
  })
  return [rule, line(headers), rule, ...body, rule].join('\n')
}

/** How Python prints it: None, True, and JSON for what has parts. */
function pythonic(value: unknown): string {
  if (value === null || value === undefined) return 'None'
  if (typeof value === 'boolean') return value ? 'True' : 'False'
  if (typeof value !== 'object') return String(value)
  return JSON.stringify(value, null, 1)
    .replace(/\n\s*/g, ' ')
    .replaceAll('[ {', '[{')
    .replaceAll('} ]', '}]')
    .replaceAll('{ "', '{"')
    .replaceAll(' }', '}')
}

/** One thing, a row for each of its properties, sorted by name, as `cinder show` and `nova show` have it. */
export function formatProperties(properties: Record<string, unknown>): string {
  const names = Object.keys(properties).sort((a, b) => (a < b ? -1 : 1))
  return formatTable(
    ['Property', 'Value'],
    names.map((name) => [name, pythonic(properties[name])]),
  )
}

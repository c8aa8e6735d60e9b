import pino, { type Logger } from 'pino'

const names: Record<number, string> = {
  10: 'TRACE',
  20: 'DEBUG',
  30: 'INFO',
  40: 'WARN',
  50: 'ERROR',
  60: 'FATAL',
}
const secondary = new Set(['time', 'level', 'msg', 'pid', 'hostname', 'err', 'stack'])

/** `12:00:01.234 INFO  ready url=http://…`: a JSON log line for people's eyes. */
export function readableLogLine(line: string): string {
  let entry: Record<string, unknown>
  try {
    entry = JSON.parse(line) as Record<string, unknown>
  } catch {
    return line
  }
  const time = new Date(Number(entry['time'])).toISOString().slice(11, 23)
  const rest = Object.entries(entry)
    .filter(([key]) => !secondary.has(key))
    .map(([key, value]) => `${key}=${typeof value === 'string' ? value : JSON.stringify(value)}`)
  const problem = (entry['err'] as { stack?: string } | undefined)?.stack
  return [
    `${time} ${(names[Number(entry['level'])] ?? '').padEnd(5)} ${String(entry['msg'] ?? '')} ${rest.join(' ')}`.trimEnd(),
    ...(problem === undefined ? [] : [problem]),
  ].join('\n')
}

/** JSON lines; on a terminal readable ones. `VOLANT_LOG_LEVEL` sets the level (info). */
export function createLog(output: NodeJS.WriteStream): Logger {
  const level = process.env['VOLANT_LOG_LEVEL'] ?? 'info'
  if (!output.isTTY) return pino({ level, base: null }, pino.destination({ dest: 1, sync: true }))
  return pino(
    { level, base: null },
    { write: (line: string) => output.write(`${readableLogLine(line.trimEnd())}\n`) },
  )
}

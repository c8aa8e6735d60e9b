/** Reads the probe's lines out of a guest's console log. */

/** `PROBE vdb found …`: a session began. */
export interface FoundLine {
  kind: 'found'
  disk: string
  serial: string
  /** Bytes. */
  size: number
  session: number
  id: string
  threads: number
  blocks: number
  fill: number
  iops: number
}

/** The line of the second, one for each disk. */
export interface ProgressLine {
  kind: 'progress'
  disk: string
  serial: string
  /** Acknowledged writes of this session. */
  acked: number
  iops: number
  /** The longest request that ended since the last line, milliseconds. */
  maxms: number
  /** Age of the oldest request in flight, milliseconds; 0 for none. */
  inflightms: number
  /** Requests that failed in the guest (and were repeated). */
  errors: number
  reads: number
  /** Blocks read back that did not hold the thread's last write. */
  bad: number
  /** The last acknowledged sequence number of each thread. */
  acks: number[]
  session: number
  id: string
  /** The guest's seconds since boot. */
  t: number
}

export type ProbeLine = FoundLine | ProgressLine

const fieldsOf = (text: string): Map<string, string> =>
  new Map([...text.matchAll(/(\w+)=(\S+)/g)].map((match) => [match[1] ?? '', match[2] ?? '']))

const numberOf = (fields: Map<string, string>, name: string): number => Number(fields.get(name))

const parseFound = (disk: string, fields: Map<string, string>): FoundLine => ({
  kind: 'found',
  disk,
  serial: fields.get('serial') ?? '',
  size: numberOf(fields, 'size'),
  session: numberOf(fields, 'session'),
  id: fields.get('id') ?? '',
  threads: numberOf(fields, 'threads'),
  blocks: numberOf(fields, 'blocks'),
  fill: numberOf(fields, 'fill'),
  iops: numberOf(fields, 'iops'),
})

const parseProgress = (disk: string, fields: Map<string, string>): ProgressLine => ({
  kind: 'progress',
  disk,
  serial: fields.get('serial') ?? '',
  acked: numberOf(fields, 'acked'),
  iops: numberOf(fields, 'iops'),
  maxms: numberOf(fields, 'maxms'),
  inflightms: numberOf(fields, 'inflightms'),
  errors: numberOf(fields, 'errors'),
  reads: numberOf(fields, 'reads'),
  bad: numberOf(fields, 'bad'),
  acks: (fields.get('acks') ?? '').split(',').map(Number),
  session: numberOf(fields, 'session'),
  id: fields.get('id') ?? '',
  t: numberOf(fields, 't'),
})

const whole = (line: ProbeLine): boolean =>
  Object.values(line).every((value) =>
    Array.isArray(value)
      ? value.every(Number.isFinite)
      : typeof value === 'string'
        ? value !== ''
        : !Number.isNaN(value),
  ) && /^[0-9a-f]{16}$/.test(line.id)

/**
 * The `found` and progress lines of one disk (by serial), in order; of all disks without `serial`. A line that
 * is cut off or mixed with another's text is passed over: the next one says as much.
 */
export const parseConsole = (log: string, serial?: string): ProbeLine[] => {
  const lines: ProbeLine[] = []
  for (const text of log.split('\n')) {
    const match = /PROBE (\S+) (found )?(serial=.* t=\d+\.\d{3})\r?$/.exec(text)
    if (match === null) continue
    const [, disk = '', found, rest = ''] = match
    const fields = fieldsOf(rest)
    if (serial !== undefined && fields.get('serial') !== serial) continue
    const line = found === undefined ? parseProgress(disk, fields) : parseFound(disk, fields)
    if (whole(line)) lines.push(line)
  }
  return lines
}

/** How long the requests took that ended since the line before. */
export interface WaitsLine {
  /** The guest's seconds since boot. */
  t: number
  /** Bins and how many requests are in each; `waitOfBin` says what a bin stands for. */
  bins: [bin: number, count: number][]
}

/** Milliseconds in the middle of a bin: no request in it took 3.2 % more or less. */
export const waitOfBin = (bin: number): number =>
  (2 ** Math.floor(bin / 16) * (1 + ((bin % 16) + 0.5) / 16)) / 1000

/** The lines that a guest with `probe.waits=1` says of one disk, in order; what is cut off is passed over. */
export const parseWaits = (log: string, serial: string): WaitsLine[] => {
  const lines: WaitsLine[] = []
  for (const text of log.split('\n')) {
    const match = /PROBE \S+ waits serial=(\S+) bins=([0-9:,]*) t=(\d+\.\d{3})\r?$/.exec(text)
    if (match === null || match[1] !== serial) continue
    const words = match[2] === '' ? [] : (match[2] ?? '').split(',')
    const bins = words.map((word) => word.split(':').map(Number) as [number, number])
    lines.push({ t: Number(match[3]), bins })
  }
  return lines
}

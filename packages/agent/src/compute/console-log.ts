import { closeSync, fstatSync, openSync, readSync } from 'node:fs'

/** As nova-compute: at most so much of a console is handed out. */
const defaultBytes = 100 * 1024
const maxBytes = 4 << 20

/** The log's last `lines`; without them its last 100 KiB. '' where nothing was printed yet. */
export const tailOfConsole = (path: string, lines?: number): string => {
  let fd: number
  try {
    fd = openSync(path, 'r')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return ''
    throw error
  }
  try {
    const { size } = fstatSync(fd)
    for (let bytes = defaultBytes; ; bytes *= 4) {
      const buffer = Buffer.alloc(Math.min(bytes, size, maxBytes))
      readSync(fd, buffer, 0, buffer.length, size - buffer.length)
      const text = buffer.toString('utf8').replaceAll('\r\n', '\n')
      if (lines === undefined) return text
      const all = text.split('\n')
      const wanted = lines + (text.endsWith('\n') ? 1 : 0)
      if (all.length > wanted) return all.slice(-wanted).join('\n')
      if (buffer.length === size || buffer.length === maxBytes) return text
    }
  } finally {
    closeSync(fd)
  }
}

import { execFile } from 'node:child_process'
import { existsSync, statSync } from 'node:fs'
import { open, readdir, readFile, readlink, realpath } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { DomainError, messageOf } from '@volant/contract'

/**
 * What the kernel says of file systems that are files: loop devices and mounts, and the programs that change them. It
 * is asked each time; nothing of this is remembered.
 */

const execute = promisify(execFile)

/** Where Debian has them, whatever the service's PATH. */
const folders = ['/usr/sbin', '/sbin', '/usr/bin', '/bin']
const searched = (): string => [process.env['PATH'] ?? '', ...folders].filter((part) => part !== '').join(':')
const programTimeoutMs = 120_000
const loopGoneWithinMs = 5000
const busyForMs = 2000

/** Runs a program; an error has what it said last. Throws `notImplemented` where it is not installed. */
export async function run(program: string, ...words: string[]): Promise<string> {
  try {
    const env = { ...process.env, PATH: searched(), LC_ALL: 'C' }
    const { stdout } = await execute(program, words, { env, timeout: programTimeoutMs })
    return stdout
  } catch (error) {
    const { code, stderr } = error as NodeJS.ErrnoException & { stderr?: string }
    if (code === 'ENOENT') throw new DomainError('notImplemented', `There is no program ${program} here.`)
    const said = (stderr ?? '').trim().split('\n').at(-1) || messageOf(error)
    throw new Error(`${program}: ${said}`, { cause: error })
  }
}

const hasProgram = (name: string): boolean =>
  searched()
    .split(':')
    .some((folder) => existsSync(join(folder, name)))

/** Why files can't be formatted as XFS and mounted here; empty: they can, as far as one sees without trying. */
export function missingForXfs(): string[] {
  const missing: string[] = []
  if (process.geteuid?.() !== 0) missing.push('Volant must run as root')
  if (!hasProgram('mkfs.xfs')) missing.push('the package xfsprogs must be installed (there is no mkfs.xfs)')
  for (const name of ['losetup', 'mount', 'umount']) {
    if (!hasProgram(name)) missing.push(`the program ${name} must be there`)
  }
  if (!existsSync('/dev/loop-control'))
    missing.push('the kernel must have loop devices (there is no /dev/loop-control)')
  return missing
}

/** The UUID in a file that XFS is on; undefined for any other. */
export async function xfsUuidOf(path: string): Promise<string | undefined> {
  const file = await open(path, 'r')
  try {
    const block = Buffer.alloc(48)
    const { bytesRead } = await file.read(block, 0, 48, 0)
    if (bytesRead < 48 || block.toString('latin1', 0, 4) !== 'XFSB') return undefined
    return block.toString('hex', 32, 48)
  } finally {
    await file.close()
  }
}

export interface Mount {
  /** Major and minor number, as in `/sys/dev/block`. */
  device: string
  path: string
  filesystem: string
}

/** Octal escapes of blanks and the like in /proc. */
const unescape = (text: string): string =>
  text.replaceAll(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)))

/** Everything that is mounted, in the order of mounting: of two at one path the later one is seen. */
export async function mounts(): Promise<Mount[]> {
  const lines = (await readFile('/proc/self/mountinfo', 'utf8')).trimEnd().split('\n')
  return lines.map((line) => {
    const [own = '', end = ''] = line.split(' - ')
    const [, , device = '', , path = ''] = own.split(' ')
    return { device, path: unescape(path), filesystem: end.split(' ')[0] ?? '' }
  })
}

export async function mountAt(path: string): Promise<Mount | undefined> {
  const real = await realPathOf(path)
  return (await mounts()).findLast((mount) => mount.path === real)
}

/** The file behind a loop device; undefined where it is none, or the file was removed. */
export async function fileBehind(device: string): Promise<string | undefined> {
  try {
    return unescape((await readFile(`/sys/dev/block/${device}/loop/backing_file`, 'utf8')).trimEnd())
  } catch {
    return undefined
  }
}

/** Loop devices and the files behind them. */
export async function loops(): Promise<{ device: string; file: string }[]> {
  const found: { device: string; file: string }[] = []
  for (const name of await readdir('/sys/block')) {
    if (!name.startsWith('loop')) continue
    try {
      const file = (await readFile(`/sys/block/${name}/loop/backing_file`, 'utf8')).trimEnd()
      found.push({ device: `/dev/${name}`, file: unescape(file) })
    } catch {
      continue // it is free
    }
  }
  return found
}

export async function loopsOf(file: string): Promise<string[]> {
  const real = await realPathOf(file)
  return (await loops()).filter((one) => one.file === real).map(({ device }) => device)
}

/** Also of what is not there (any more), in a folder that is. */
export async function realPathOf(path: string): Promise<string> {
  try {
    return await realpath(path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || path === dirname(path)) throw error
    return join(await realPathOf(dirname(path)), path.slice(path.lastIndexOf('/') + 1))
  }
}

/** Whether the very folder at `path` is the root of something mounted: cheap, and in no turn of anybody's. */
export function isMountRoot(path: string): boolean {
  try {
    return statSync(path).dev !== statSync(dirname(path)).dev
  } catch {
    return false
  }
}

/** Processes that have something below `path` open, or are in it, as people know them; for messages. */
export async function usersOf(path: string): Promise<string[]> {
  const real = await realPathOf(path)
  const isIn = (target: string): boolean => target === real || target.startsWith(`${real}/`)
  const users: string[] = []
  for (const pid of await readdir('/proc')) {
    if (!/^\d+$/.test(pid)) continue
    try {
      const fds = (await readdir(`/proc/${pid}/fd`)).map((fd) => `/proc/${pid}/fd/${fd}`)
      const links = [`/proc/${pid}/cwd`, `/proc/${pid}/root`, ...fds]
      const targets = await Promise.all(links.map((link) => readlink(link).catch(() => '')))
      if (!targets.some(isIn)) continue
      users.push(`${(await readFile(`/proc/${pid}/comm`, 'utf8')).trim()} (process ${pid})`)
    } catch {
      continue // it ended meanwhile
    }
  }
  return users
}

/** A loop device over the file. Where one is left, it: two devices over one file would destroy what is in it. */
export async function ensureLoop(file: string): Promise<string> {
  const [left] = await loopsOf(file)
  if (left !== undefined) return left
  const words = ['--find', '--show', file]
  // Not every file system can do direct I/O; without it the page cache has everything twice.
  const device = await run('losetup', '--direct-io=on', ...words).catch(async (error: unknown) => {
    const [made] = await loopsOf(file)
    if (made !== undefined) return made
    return run('losetup', ...words).catch(() => {
      throw error
    })
  })
  return device.trim()
}

/** From here on it goes with its last mount, whoever unmounts it; without a mount, at once. */
export async function detachLoop(device: string): Promise<void> {
  await run('losetup', '--detach', device)
}

/** Unmounts as long as `isOurs` says that it is. Throws `conflict` while somebody uses it, and says who. */
export async function unmountAll(path: string, isOurs: () => Promise<boolean>): Promise<void> {
  const end = performance.now() + busyForMs
  while (await isOurs()) {
    try {
      await run('umount', path)
    } catch (error) {
      // What was stopped just now may take a moment to let go.
      if (performance.now() < end) {
        await sleep(100)
        continue
      }
      const users = await usersOf(path)
      const reason = users.length > 0 ? `${users.slice(0, 5).join(', ')} use it` : messageOf(error)
      throw new DomainError('conflict', `${path} can't be unmounted: ${reason}.`, { cause: error })
    }
  }
}

/** Ends the loop devices over the file, and waits until they are gone. Throws `conflict` where one is kept. */
export async function endLoops(file: string): Promise<void> {
  for (const device of await loopsOf(file)) await detachLoop(device).catch(() => {})
  const gone = performance.now() + loopGoneWithinMs
  for (; (await loopsOf(file)).length > 0; await sleep(20)) {
    if (performance.now() < gone) continue
    throw new DomainError(
      'conflict',
      `A loop device still has ${file}: ${(await loopsOf(file)).join(', ')}; something has it open.`,
    )
  }
}

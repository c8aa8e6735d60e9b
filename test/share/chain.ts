/** The processes of one Volant between an NFS client and its bytes, by their command lines. */
import { readdirSync, readFileSync } from 'node:fs'

export const chainRoles = [
  'block device worker',
  'block device supervisor',
  'volume head',
  'NFS server',
  'message bus',
  'agents',
] as const
export type ChainRole = (typeof chainRoles)[number]

export interface ChainProcess {
  role: ChainRole
  pid: number
  commandLine: string
}

/** All that name the state folder, so none of anybody else. */
export function chainOf(stateDir: string): ChainProcess[] {
  const found: ChainProcess[] = []
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue
    const words = wordsOf(name)
    if (!words.some((word) => word.includes(stateDir))) continue
    const role = roleOf(words)
    if (role !== undefined) found.push({ role, pid: Number(name), commandLine: words.join(' ') })
  }
  return found
}

function wordsOf(pid: string): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')
  } catch {
    return [] // it has just ended
  }
}

function roleOf(words: readonly string[]): ChainRole | undefined {
  const program = words[0]?.split('/').at(-1) ?? ''
  if (/^(volant-)?fuse-nbd/.test(program)) {
    return words[1] === 'work' ? 'block device worker' : 'block device supervisor'
  }
  if (program === 'ganesha.nfsd') return 'NFS server'
  if (program === 'dbus-daemon') return 'message bus'
  if (program === 'qemu-storage-daemon') return 'volume head'
  if (program === 'node' && words.includes('node')) return 'agents'
  return undefined
}

import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { promisify } from 'node:util'
import type { GuestSpec } from '@volant/contract'
import { DomainError, messageOf } from '@volant/contract'
import { askedWhile } from '@volant/qemu/asked-once.ts'
import { isTapName, tapName } from './names.ts'

const run = promisify(execFile)
const timeout = 10_000

/** Words before a command that runs it in a network namespace (a path such as /run/netns/h1). */
export const inNetns = (netns: string | undefined, words: string[]): [string, string[]] => {
  const [command = '', ...args] = netns === undefined ? words : ['nsenter', `--net=${netns}`, '--', ...words]
  return [command, args]
}

const ip = async (netns: string | undefined, ...words: string[]): Promise<void> => {
  await run(...inNetns(netns, ['ip', ...words]), { timeout })
}

const exists = (netns: string | undefined, name: string): Promise<boolean> =>
  ip(netns, 'link', 'show', 'dev', name).then(
    () => true,
    () => false,
  )

/** A tap interface for each port of the server, on its bridge. Throws `invalid` for a bridge that is not there. */
export const ensureTaps = async (
  netns: string | undefined,
  spec: GuestSpec,
  salt?: string,
): Promise<void> => {
  for (const { bridge, mac } of spec.nics) {
    if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,14}$/.test(bridge) || !(await exists(netns, bridge))) {
      throw new DomainError(
        'invalid',
        `There is no bridge "${bridge}" on this host; create it (ip link add ${bridge} type bridge) or choose another network.`,
      )
    }
    const tap = tapName(spec.serverId, mac, salt)
    try {
      if (!(await exists(netns, tap))) await ip(netns, 'tuntap', 'add', 'dev', tap, 'mode', 'tap')
      await ip(netns, 'link', 'set', 'dev', tap, 'master', bridge, 'up')
    } catch (error) {
      await ensureNoTaps(netns, spec, salt)
      throw new DomainError(
        'unavailable',
        `Port ${mac} could not be put on bridge ${bridge}: ${messageOf(error)}`,
        {
          cause: error,
        },
      )
    }
  }
}

/** Removes the server's tap interfaces; its QEMU must have ended. */
export const ensureNoTaps = async (
  netns: string | undefined,
  spec: GuestSpec,
  salt?: string,
): Promise<void> => {
  for (const { mac } of spec.nics) {
    const tap = tapName(spec.serverId, mac, salt)
    if (await exists(netns, tap)) await ip(netns, 'link', 'delete', 'dev', tap)
  }
}

/** Names of the bridges in the namespace. */
const listBridges = async (netns: string | undefined): Promise<string[]> => {
  const { stdout } = await run(...inNetns(netns, ['ip', '-j', 'link', 'show', 'type', 'bridge']), { timeout })
  return ((stdout.trim() === '' ? [] : JSON.parse(stdout)) as { ifname: string }[]).map(
    ({ ifname }) => ifname,
  )
}

/**
 * The same, asked for again when an interface has come or gone since, guests' own aside: each live migration asks several
 * times, and a process for each answer takes longer than all else that it asks for.
 */
export const bridgeLister = (netns: string | undefined): (() => Promise<string[]>) =>
  netns === undefined ? askedWhile(interfacesNow, () => listBridges(undefined)) : () => listBridges(netns)

const interfacesNow = (): string => interfacesIn(readFileSync('/proc/self/net/dev', 'utf8')).join(' ')

/** Names in `dev` (/proc/self/net/dev) but for guests' tap interfaces. */
export const interfacesIn = (dev: string): string[] =>
  [...dev.matchAll(/^ *([^ :]+):/gm)].map(([, name = '']) => name).filter((name) => !isTapName(name))

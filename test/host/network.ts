/**
 * Compute hosts and a storage node as machines of their own: a network namespace each, joined by two networks that know
 * nothing of each other. The control plane is outside, and reaches them over the control network only; so a host can be
 * cut off from it while its guests' storage stays within reach. A third one joins the bridges that guests are on.
 */
import { execFileSync } from 'node:child_process'

/** A machine. */
export interface Place {
  name: string
  netns: string
  /** Address at which the control plane reaches it. */
  control: string
  /** Address for exports, and for guests on their way. */
  data: string
  /** Takes down its link to one network; what was on its way is lost. */
  cut(network: NetworkName): void
  heal(network: NetworkName): void
  /** The control plane hears nothing of it any more; the other machines do. */
  hide(): void
  show(): void
}

export type NetworkName = 'control' | 'data'

export interface HostNetwork {
  storage: Place
  hosts: Place[]
  /** The bridge that guests can be put on, by the same name on each compute host. */
  bridge: string
  /** Behind which compute host the guests' network last saw this MAC address; undefined: it never did. */
  hostOfMac(mac: string): string | undefined
  close(): void
}

const ip = (...words: string[]): string =>
  execFileSync('ip', words, { stdio: 'pipe', encoding: 'utf8' }).trim()

/** Why this machine can't have such networks; false where it can. Said aloud: what is skipped is not proved. */
export const skipHosts: string | false = reasonToSkip()

function reasonToSkip(): string | false {
  const name = `vh${process.pid}t`
  try {
    ip('netns', 'add', name)
    ip('-n', name, 'link', 'add', 'one', 'type', 'veth', 'peer', 'name', 'other')
    return false
  } catch (error) {
    const reason = `NOT PROVED: this machine forbids network namespaces, so there are no compute hosts to move servers between (${String((error as { stderr?: string }).stderr ?? error).trim()})`
    console.error(reason)
    return reason
  } finally {
    try {
      ip('netns', 'del', name)
    } catch {
      // It was never there.
    }
  }
}

const bridge = 'br-int'
const dataNetwork = '10.98.0'

/** One in each process: names of namespaces are made from its id, which is how what was left behind is known. */
export function openHostNetwork(hostCount: number): HostNetwork {
  const stem = `vh${process.pid}`
  const outside = `${stem}c`
  const control = freeNetwork()
  const made: string[] = []
  const close = (): void => {
    // The other end of a link goes with its namespace.
    for (const netns of made.splice(0).toReversed()) ip('netns', 'del', netns)
  }
  const add = (letter: string): string => {
    const netns = `${stem}${letter}`
    ip('netns', 'add', netns)
    made.push(netns)
    ip('-n', netns, 'link', 'set', 'lo', 'up')
    return netns
  }
  const addHub = (letter: string): string => {
    const netns = add(letter)
    addBridge(netns, 'hub')
    return netns
  }
  try {
    const hubs = { control: addHub('x'), data: addHub('y'), guests: addHub('z') }
    ip('link', 'add', outside, 'type', 'veth', 'peer', 'name', 'outside', 'netns', hubs.control)
    ip('-n', hubs.control, 'link', 'set', 'outside', 'master', 'hub', 'up')
    ip('addr', 'add', `${control}.1/24`, 'dev', outside)
    ip('link', 'set', outside, 'up')
    const addPlace = (name: string, index: number): Place => {
      const netns = add('abcdefgh'[index] as string)
      const place = { name, netns, control: `${control}.${10 + index}`, data: `${dataNetwork}.${10 + index}` }
      for (const network of ['control', 'data'] as const) {
        plug(netns, network, hubs[network], name)
        ip('-n', netns, 'addr', 'add', `${place[network]}/24`, 'dev', network)
      }
      return {
        ...place,
        cut: (network) => void ip('-n', netns, 'link', 'set', network, 'down'),
        heal: (network) => void ip('-n', netns, 'link', 'set', network, 'up'),
        hide: () => void ip('-n', netns, 'route', 'replace', 'blackhole', `${control}.1/32`),
        show: () => void ip('-n', netns, 'route', 'replace', `${control}.1/32`, 'dev', 'control'),
      }
    }
    const storage = addPlace('store', 0)
    const hosts = Array.from({ length: hostCount }, (_, i) => {
      const host = addPlace(`compute-${i + 1}`, i + 1)
      addBridge(host.netns, bridge)
      plug(host.netns, 'guests', hubs.guests, host.name)
      ip('-n', host.netns, 'link', 'set', 'guests', 'master', bridge)
      return host
    })
    return { storage, hosts, bridge, hostOfMac: (mac) => portOfMac(hubs.guests, mac), close }
  } catch (error) {
    close()
    throw error
  }
}

function addBridge(netns: string, name: string): void {
  ip('-n', netns, 'link', 'add', name, 'type', 'bridge')
  ip('-n', netns, 'link', 'set', name, 'up')
}

/** A link into a hub, whose port there has the machine's name. */
function plug(netns: string, name: string, hub: string, port: string): void {
  ip('-n', netns, 'link', 'add', name, 'type', 'veth', 'peer', 'name', port, 'netns', hub)
  ip('-n', hub, 'link', 'set', port, 'master', 'hub', 'up')
  ip('-n', netns, 'link', 'set', name, 'up')
}

function portOfMac(hub: string, mac: string): string | undefined {
  const words = ['-n', hub, '-j', 'fdb', 'show', 'br', 'hub']
  const entries = JSON.parse(execFileSync('bridge', words, { encoding: 'utf8' })) as {
    mac: string
    ifname: string
  }[]
  return entries.find((entry) => entry.mac === mac)?.ifname
}

/**
 * Three numbers of a network that nobody on this machine has. The control plane is in the machine's own namespace, where
 * other tests' control networks may be, too; they are of a range that is kept for tests of networks (RFC 2544).
 */
function freeNetwork(): string {
  const taken = ip('-o', '-4', 'addr', 'show')
  for (let i = 0; i < 512; i++) {
    const number = (process.pid + i) % 512
    const network = `198.${18 + (number >> 8)}.${number & 255}`
    if (!taken.includes(` ${network}.`)) return network
  }
  throw new Error('no network of 198.18.0.0/15 is free')
}

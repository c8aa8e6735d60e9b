/** Where the share's clients and servers of one test meet: a bridge in a network namespace of its own. */
import { execFileSync } from 'node:child_process'

const ip = (...args: string[]): void => void execFileSync('ip', args, { stdio: 'pipe' })

/** A port of the bridge for one guest's network card. */
export interface Tap {
  name: string
  /** Of the guest, with the network's size: 10.97.0.101/24. */
  address: string
}

export interface ShareNetwork {
  /** The namespace with the bridge: the guests' QEMU runs there. */
  hub: string
  /** Storage nodes, in the order in which they were asked for; each has an address of its own, 10.97.0.1 and on. */
  nodes: { netns: string; address: string }[]
  /** A further address of a node: a LIF. */
  addLif(node: number, address: string): void
  /** The next guest's port; its address is 10.97.0.101 and on. */
  addTap(): Tap
  /** Runs a program there; its own mounts stay this process's, which `ip netns exec` would not let it share. */
  inside(netns: string, command: string, ...args: string[]): string[]
  close(): void
}

export const pathOfNetns = (netns: string): string => `/run/netns/${netns}`

/** One at a time in each process: names of namespaces are made from its id, which is how what was left behind is known. */
export function openShareNetwork(nodeCount: number): ShareNetwork {
  const stem = `vs${process.pid}`
  const hub = `${stem}h`
  const made: string[] = []
  const add = (netns: string): void => {
    ip('netns', 'add', netns)
    made.push(netns)
    ip('-n', netns, 'link', 'set', 'lo', 'up')
  }
  const close = (): void => {
    for (const netns of made.splice(0)) ip('netns', 'del', netns)
  }
  let taps = 0
  try {
    add(hub)
    ip('-n', hub, 'link', 'add', 'br0', 'type', 'bridge')
    ip('-n', hub, 'link', 'set', 'br0', 'up')
    const nodes = Array.from({ length: nodeCount }, (_, i) => {
      const node = { netns: `${stem}${'abcdefg'[i] ?? ''}`, address: `10.97.0.${i + 1}` }
      add(node.netns)
      ip('-n', node.netns, 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', `p${i}`, 'netns', hub)
      ip('-n', hub, 'link', 'set', `p${i}`, 'master', 'br0', 'up')
      ip('-n', node.netns, 'addr', 'add', `${node.address}/24`, 'dev', 'eth0')
      ip('-n', node.netns, 'link', 'set', 'eth0', 'up')
      return node
    })
    return {
      hub,
      nodes,
      addLif: (node, address) =>
        ip('-n', nodes[node]?.netns ?? '', 'addr', 'add', `${address}/24`, 'dev', 'eth0'),
      addTap() {
        const name = `tap${taps}`
        ip('-n', hub, 'tuntap', 'add', 'dev', name, 'mode', 'tap')
        ip('-n', hub, 'link', 'set', name, 'master', 'br0', 'up')
        return { name, address: `10.97.0.${101 + taps++}/24` }
      },
      inside: (netns, command, ...args) => ['nsenter', `--net=${pathOfNetns(netns)}`, command, ...args],
      close,
    }
  } catch (error) {
    close()
    throw error
  }
}

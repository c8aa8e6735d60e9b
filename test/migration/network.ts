import { execFileSync } from 'node:child_process'

const ip = (...args: string[]): void => void execFileSync('ip', args, { stdio: 'pipe' })

/** Three network namespaces on one bridge: two storage nodes and a compute host. */
export interface Network {
  names: [string, string, string]
  close(): void
}

export function openNetwork(): Network {
  const stem = `vt${process.pid}`
  const names: [string, string, string] = [`${stem}a`, `${stem}b`, `${stem}c`]
  const hub = `${stem}h`
  ip('netns', 'add', hub)
  ip('-n', hub, 'link', 'add', 'br0', 'type', 'bridge')
  ip('-n', hub, 'link', 'set', 'br0', 'up')
  for (const [i, name] of names.entries()) {
    ip('netns', 'add', name)
    ip('-n', name, 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', `p${i}`, 'netns', hub)
    ip('-n', hub, 'link', 'set', `p${i}`, 'master', 'br0', 'up')
    ip('-n', name, 'addr', 'add', `10.98.0.${i + 1}/24`, 'dev', 'eth0')
    ip('-n', name, 'link', 'set', 'eth0', 'up')
    ip('-n', name, 'link', 'set', 'lo', 'up')
  }
  return {
    names,
    close: () => {
      for (const name of [...names, hub]) ip('netns', 'del', name)
    },
  }
}

/** Every machine another one: images are reached through export daemons, NBD over TLS between the namespaces. */
export const configOf =
  ({ names }: Network) =>
  (stateDir: string) =>
    `
clusters:
  - name: cinder-lma
    nodes:
      - name: lma-01
        machine: store-a
        data_address: 10.98.0.1
        netns: ${names[0]}
        aggregates: [{ name: aggr1, path: ${stateDir}/lma/aggr1 }]
    flexvols: [{ name: cinder_flexvol_OSTK02, lif: 10.98.0.1, node: lma-01, aggregate: aggr1 }]
  - name: cinder-lmb
    nodes:
      - name: lmb-01
        machine: store-b
        data_address: 10.98.0.2
        netns: ${names[1]}
        aggregates: [{ name: aggr1, path: ${stateDir}/lmb/aggr1 }]
    flexvols: [{ name: cinder_flexvol_OSTK09, lif: 10.98.0.2, node: lmb-01, aggregate: aggr1 }]
compute_hosts:
  - { name: compute-1, machine: host-1, netns: ${names[2]} }
`

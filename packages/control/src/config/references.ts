import { isIP } from 'node:net'
import { isAbsolute, normalize } from 'node:path'
import { internalZone, poolName, type Cluster, type Topology } from '../domain/topology.ts'
import type { ConfigPath, ProblemCollector } from './problem.ts'

/** Refuses the second of two things with one name. */
function unique(problems: ProblemCollector, what: string, within: string) {
  const seen = new Map<string, string>()
  return (key: string, path: ConfigPath, shown = key): void => {
    if (seen.has(key)) problems.add(path, `${what} '${shown}' is there twice; it must be unique ${within}`)
    seen.set(key, shown)
  }
}

function checkAddress(problems: ProblemCollector, address: string, path: ConfigPath): void {
  if (isIP(address) === 0) {
    problems.add(path, `'${address}' is no IP address; write one like 10.250.118.49 or fd00::49`)
  }
}

function checkFlexVols(problems: ProblemCollector, cluster: Cluster, at: ConfigPath): void {
  const names = unique(problems, 'FlexVol', 'in its cluster')
  const pools = unique(problems, 'the pool (LIF and junction path)', 'in its cluster')
  for (const [index, flexvol] of cluster.flexvols.entries()) {
    const path = [...at, 'flexvols', index]
    names(flexvol.name, [...path, 'name'])
    pools(poolName(flexvol), [...path, 'lif'])
    checkAddress(problems, flexvol.lif, [...path, 'lif'])
    const node = cluster.nodes.find((candidate) => candidate.name === flexvol.node)
    if (node === undefined) {
      const known = cluster.nodes.map((candidate) => candidate.name).join(', ')
      problems.add([...path, 'node'], `cluster '${cluster.name}' has no node '${flexvol.node}', but ${known}`)
    } else if (!node.aggregates.some((aggregate) => aggregate.name === flexvol.aggregate)) {
      const known = node.aggregates.map((aggregate) => aggregate.name).join(', ')
      problems.add(
        [...path, 'aggregate'],
        `node '${node.name}' has no aggregate '${flexvol.aggregate}', but ${known}`,
      )
    }
  }
}

/** One string for each address, however it is written. */
const canonicalAddress = (address: string): string =>
  isIP(address) === 6 ? new URL(`http://[${address.replace(/%.*$/, '')}]`).hostname : address

/** One LIF is one NFS server, of one cluster; a Manila backend is told from a Cinder backend by its name alone. */
function sharesCheck(problems: ProblemCollector, topology: Topology) {
  const backends = unique(problems, 'the Manila backend', 'in the file')
  const lifs = unique(problems, 'the LIF of shares', 'in the file: it is one NFS server, of one cluster')
  const cinder = new Set(topology.clusters.map(({ name }) => name))
  return ({ name, nodes, shares }: Cluster, at: ConfigPath): void => {
    if (shares === undefined) return
    const path = [...at, 'shares']
    const { backend, lif, node } = shares
    if (cinder.has(backend)) {
      problems.add(
        [...path, 'backend'],
        `'${backend}' is the name of a cluster, and so of a Cinder backend at the same host; choose another, such as manila-${backend.replace(/^(cinder|manila)-/, '')}`,
      )
    } else backends(backend, [...path, 'backend'])
    if (isIP(lif) !== 0 && ['0.0.0.0', '[::]'].includes(canonicalAddress(lif))) {
      problems.add(
        [...path, 'lif'],
        `'${lif}' means every address of the machine; name the one at which shares are mounted`,
      )
    } else {
      checkAddress(problems, lif, [...path, 'lif'])
      lifs(canonicalAddress(lif), [...path, 'lif'], lif)
    }
    if (!nodes.some((candidate) => candidate.name === node)) {
      const known = nodes.map((candidate) => candidate.name).join(', ')
      problems.add([...path, 'node'], `cluster '${name}' has no node '${node}', but ${known}`)
    }
  }
}

/** What one part of the topology says about another: names once, references to things there are, real addresses. */
export function checkTopology(topology: Topology, problems: ProblemCollector): void {
  const clusters = unique(problems, 'cluster', 'in the file')
  const nodes = unique(problems, 'node', 'among all clusters')
  const folders = folderCheck(problems)
  const management = managementCheck(problems)
  const shares = sharesCheck(problems, topology)
  for (const [clusterIndex, cluster] of topology.clusters.entries()) {
    const at: ConfigPath = ['clusters', clusterIndex]
    clusters(cluster.name, [...at, 'name'])
    management(cluster, [...at, 'management'])
    const aggregates = unique(problems, 'aggregate', 'in its cluster')
    for (const [nodeIndex, node] of cluster.nodes.entries()) {
      const nodePath = [...at, 'nodes', nodeIndex]
      nodes(node.name, [...nodePath, 'name'])
      checkAddress(problems, node.dataAddress, [...nodePath, 'data_address'])
      for (const [index, aggregate] of node.aggregates.entries()) {
        aggregates(aggregate.name, [...nodePath, 'aggregates', index, 'name'])
        folders(node.machine, aggregate.path, [...nodePath, 'aggregates', index, 'path'])
        if (aggregate.filesystem === 'xfs' && aggregate.sizeBytes === undefined) {
          problems.add(
            [...nodePath, 'aggregates', index, 'filesystem'],
            "an aggregate that is 'xfs' is a file, and needs its 'size', such as size: 100GiB",
          )
        }
      }
    }
    checkFlexVols(problems, cluster, at)
    shares(cluster, at)
  }
  const hosts = unique(problems, 'compute host', 'in the file')
  for (const [index, host] of topology.computeHosts.entries()) {
    hosts(host.name, ['compute_hosts', index, 'name'])
    if (host.dataAddress === undefined) continue
    checkAddress(problems, host.dataAddress, ['compute_hosts', index, 'data_address'])
  }
  checkZones(topology, problems)
  checkAgents(topology, problems)
  checkEvacuation(topology, problems)
}

/** Each cluster's REST API has an address of its own, which no other machine can reach. */
function managementCheck(problems: ProblemCollector) {
  const addresses = unique(problems, 'the management address', 'in the file')
  return ({ management }: Cluster, path: ConfigPath): void => {
    if (management === undefined) return
    const { host, port } = management
    if (port < 1 || port > 65535) {
      problems.add(path, `'${host}' must be an address and a port from 1 to 65535, such as 127.0.0.1:8443`)
    } else if (!/^127\.(\d{1,3}\.){2}\d{1,3}$/.test(host) && host !== '::1') {
      problems.add(
        path,
        `'${host}' is no loopback address: the REST API has no TLS yet, so it must be 127.0.0.1:PORT (or another of 127.0.0.0/8, or [::1]:PORT)`,
      )
    } else if (isIP(host) === 0) {
      problems.add(path, `'${host}' is no IP address; write one like 127.0.0.1:8443`)
    } else addresses(`${host}:${port}`, path)
  }
}

/** Clients take `internal` for the zone of what runs no servers, and hide it. */
function checkZones(topology: Topology, problems: ProblemCollector): void {
  const check = (zone: string | undefined, path: ConfigPath): void => {
    if (zone === internalZone) {
      problems.add(path, `'${zone}' is the zone of the services that run no servers; choose another`)
    }
  }
  check(topology.availabilityZone, ['availability_zone'])
  for (const [index, host] of topology.computeHosts.entries())
    check(host.availabilityZone, ['compute_hosts', index, 'availability_zone'])
}

/** A host is in one group at the most, and witnesses must have an address to try. */
function checkEvacuation({ evacuation = [], computeHosts }: Topology, problems: ProblemCollector): void {
  const names = unique(problems, 'evacuation group', 'in the file')
  const members = unique(problems, 'compute host', 'in all evacuation groups')
  for (const [g, group] of evacuation.entries()) {
    names(group.name, ['evacuation', g, 'name'])
    for (const [h, name] of group.hosts.entries()) {
      const path = ['evacuation', g, 'hosts', h]
      members(name, path)
      const host = computeHosts.find((one) => one.name === name)
      if (host === undefined) {
        const known = computeHosts.map((one) => one.name).join(', ')
        problems.add(path, `there is no compute host '${name}', but ${known}`)
      } else if (host.agent === undefined) {
        problems.add(
          path,
          `'${name}' has no 'agent' of its own: other hosts could not try whether it is there, and it would end with the control plane`,
        )
      }
    }
    if (group.witnesses < computeHosts.length) continue
    problems.add(
      ['evacuation', g, 'witnesses'],
      `there are ${computeHosts.length - 1} other compute hosts at the most, so ${group.witnesses} witnesses can never agree`,
    )
  }
}

/** The storage nodes of a machine are one process of agents, and so are its compute hosts. */
function checkAgents(topology: Topology, problems: ProblemCollector): void {
  const check = (what: string) => {
    const first = new Map<string, string | undefined>()
    return ({ machine, agent }: { machine: string; agent?: string }, path: ConfigPath): void => {
      if (!first.has(machine)) first.set(machine, agent)
      const other = first.get(machine)
      if (other === agent) return
      problems.add(
        path,
        `the agents of the ${what} of machine '${machine}' are one process and have one address, here ${agent ?? 'none'} and elsewhere ${other ?? 'none'}`,
      )
    }
  }
  const node = check('storage nodes')
  for (const [c, cluster] of topology.clusters.entries())
    for (const [n, one] of cluster.nodes.entries())
      node(one, ['clusters', c, 'nodes', n, ...(one.agent === undefined ? [] : ['agent'])])
  const host = check('compute hosts')
  for (const [h, one] of topology.computeHosts.entries())
    host(one, ['compute_hosts', h, ...(one.agent === undefined ? [] : ['agent'])])
}

/** Aggregates need folders of their own: none the same as, or inside, another of the same machine. */
function folderCheck(problems: ProblemCollector) {
  const taken: { machine: string; folder: string }[] = []
  return (machine: string, path: string, at: ConfigPath): void => {
    const controlCharacter = [...path].some((character) => character < ' ')
    if (!isAbsolute(path) || controlCharacter || path.split('/').includes('..')) {
      problems.add(at, `'${path}' must be an absolute path without '..', such as /srv/volant/aggr1`)
      return
    }
    const folder = `${normalize(path).replace(/\/+$/, '')}/`
    const clash = taken.find(
      (other) =>
        other.machine === machine && (folder.startsWith(other.folder) || other.folder.startsWith(folder)),
    )
    if (folder === '/') problems.add(at, "the root folder '/' cannot be an aggregate")
    else if (clash !== undefined) {
      problems.add(at, `'${path}' is, or lies inside, another aggregate's folder (${clash.folder})`)
    }
    taken.push({ machine, folder })
  }
}

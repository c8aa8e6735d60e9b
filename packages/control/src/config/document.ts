import { paceText } from '@volant/contract/ndo/pace.ts'
import type { Cluster, ComputeHost, Topology } from '../domain/topology.ts'
import type { VolantConfig } from './config.ts'

const size = (bytes: number): string => (bytes % 1024 ** 3 === 0 ? `${bytes / 1024 ** 3}GiB` : String(bytes))

const managementText = ({ management }: Cluster): string => {
  if (management === undefined) return '    # management: 127.0.0.1:8443'
  const { host, port } = management
  return `    management: ${JSON.stringify(`${host.includes(':') ? `[${host}]` : host}:${port}`)}`
}

const sharesText = ({ shares }: Cluster): string[] =>
  shares === undefined
    ? ['    # shares: { lif: 10.250.118.49 }']
    : [
        '    shares:',
        `      backend: ${shares.backend}`,
        `      lif: ${JSON.stringify(shares.lif)}`,
        `      node: ${shares.node}`,
      ]

const clusterText = (cluster: Cluster): string[] => [
  `  - name: ${cluster.name}`,
  managementText(cluster),
  '    nodes:',
  ...cluster.nodes.flatMap((node) => [
    `      - name: ${node.name}`,
    `        machine: ${node.machine}`,
    `        data_address: ${node.dataAddress}`,
    ...(node.netns === undefined ? [] : [`        netns: ${node.netns}`]),
    ...(node.agent === undefined ? [] : [`        agent: ${node.agent}`]),
    '        aggregates:',
    ...node.aggregates.flatMap((aggregate) => [
      `          - name: ${aggregate.name}`,
      `            path: ${JSON.stringify(aggregate.path)}`,
      aggregate.sizeBytes === undefined
        ? '            # size: 100GiB'
        : `            size: ${aggregate.sizeBytes}`,
      aggregate.filesystem === 'xfs' ? '            filesystem: xfs' : '            # filesystem: folder',
    ]),
  ]),
  cluster.flexvols.length === 0 ? '    flexvols: []' : '    flexvols:',
  ...cluster.flexvols.flatMap((flexvol) => [
    `      - name: ${flexvol.name}`,
    `        lif: ${JSON.stringify(flexvol.lif)}`,
    `        junction_path: ${flexvol.junctionPath}`,
    `        node: ${flexvol.node}`,
    `        aggregate: ${flexvol.aggregate}`,
  ]),
  ...sharesText(cluster),
]

const computeHostText = (host: ComputeHost): string[] => [
  `  - name: ${host.name}`,
  `    machine: ${host.machine}`,
  host.dataAddress === undefined ? '    # data_address: 127.0.0.1' : `    data_address: ${host.dataAddress}`,
  ...(host.netns === undefined ? [] : [`    netns: ${host.netns}`]),
  ...(host.agent === undefined ? [] : [`    agent: ${host.agent}`]),
  host.availabilityZone === undefined
    ? '    # availability_zone: nova'
    : `    availability_zone: ${host.availabilityZone}`,
  host.vcpus === undefined ? '    # vcpus: 4' : `    vcpus: ${host.vcpus}`,
  host.memoryMiB === undefined ? '    # memory: 8GiB' : `    memory: ${host.memoryMiB}MiB`,
]

const evacuationText = (groups: Topology['evacuation']): string[] => [
  '# Hosts that are given up by themselves: silent for so long, and other hosts (witnesses) can not reach them either.',
  ...(groups === undefined
    ? [
        '# evacuation:',
        '#   - { name: rack1, hosts: [compute-1, compute-2, compute-3], after: 120s, witnesses: 2, at_once: 1 }',
      ]
    : [
        'evacuation:',
        ...groups.flatMap((group) => [
          `  - name: ${group.name}`,
          `    hosts: [${group.hosts.join(', ')}]`,
          `    after: ${group.afterSeconds}s`,
          `    witnesses: ${group.witnesses}`,
          `    at_once: ${group.atOnce}`,
        ]),
      ]),
  '',
]

const liveMigrationText = (policy: VolantConfig['settings']['liveMigration']): string[] => [
  'live_migration:',
  '  # How long a guest may stand still at the end, at first, and at most: the limit doubles each time that the copy of its',
  '  # memory makes no way for as long as the patience.',
  `  first_downtime: ${policy.firstDowntimeMs}ms`,
  `  downtime: ${policy.longestDowntimeMs}ms`,
  `  patience: ${policy.patienceMs}ms`,
  "  # Of the copy; 0: unlimited. auto_converge slows a guest's processors where it writes faster than it can be copied.",
  `  rate: ${policy.bandwidth}`,
  `  auto_converge: ${policy.autoConverge}`,
  `  connections: ${policy.channels}`,
  '  # For each GiB of memory, two at the least; then abort, or force_complete, however long the guest stands still.',
  `  completion_timeout: ${policy.secondsPerGib}s`,
  `  timeout_action: ${policy.timeoutAction}`,
]

/** A commented `volant.yaml` that says the same as `config`. */
export function configDocument(config: VolantConfig): string {
  const { topology, settings } = config
  const lines = [
    '# volant.yaml: clusters, pools, compute hosts and limits. Every key: docs/guides/configuration.md',
    '',
    '# The first part of every host string HOST@CLUSTER#POOL. Default: the name of this machine.',
    `host: ${topology.host}`,
    `availability_zone: ${topology.availabilityZone}`,
    '# The agents of nodes and hosts: inside the control plane, or as processes of their own beside it.',
    `agents: ${topology.agents ?? 'inside'}`,
    '',
    '# A cluster is a Cinder backend. Its nodes have aggregates: folders on a file system. A FlexVol lives on one',
    '# aggregate; the pool that clients see is LIF:JUNCTION_PATH. machine: processes of one machine open images as',
    '# files, those of another over NBD with TLS at the data address. size: a limit; without it the file system is it.',
    '# filesystem: xfs makes the aggregate a file PATH.xfs of that size, formatted with reflink and mounted at PATH.',
    '# shares: the Manila backend HOST@BACKEND#AGGREGATE; its NFS server listens at the LIF, on that node, and nowhere else.',
    "# management: where the cluster's ONTAP REST API listens; without it at any free port of the loopback address.",
    'clusters:',
    ...topology.clusters.flatMap(clusterText),
    '',
    '# Hosts that run servers. data_address: where guests come in that migrate from another machine. vcpus and memory: what servers may have in all; without them what the machine has, memory in equal shares.',
    topology.computeHosts.length === 0 ? 'compute_hosts: []' : 'compute_hosts:',
    ...topology.computeHosts.flatMap(computeHostText),
    '',
    ...evacuationText(topology.evacuation),
    'migration:',
    '  # For a migration that asks for no other rate; 0: unlimited. Changeable while it runs.',
    `  rate: ${settings.migration.rateBytesPerSecond}`,
    '  # How long one cutover may take to make both copies equal before it is tried again, and how often.',
    `  cutover_window: ${settings.migration.cutoverWindowSeconds}s`,
    `  cutover_attempts: ${settings.migration.cutoverAttempts}`,
    '  # The least that a client which writes faster than its copy may go on writing, per second.',
    `  client_floor: ${settings.migration.clientFloorBytesPerSecond}`,
    '  # How long the source is kept, read-only, after its volume has moved; 0: not at all.',
    `  retention: ${settings.migration.retentionSeconds}s`,
    'copy:',
    '  # What a copy holds to, where it was not asked for otherwise: 2x (the p99 of its clients stays within twice what it was',
    '  # without the copy), 5ms, 50M (a fixed rate), or full. Changeable while it runs.',
    `  pace: ${paceText(settings.copy.pace)}`,
    '  # What each copy has at the least; and where the latency of its client is not known.',
    `  floor: ${settings.copy.floorBps}`,
    `  unknown_rate: ${settings.copy.blindBps}`,
    '  # How far a slow copy is raised whose client outruns it, before that client is held back.',
    `  catch_up: ${settings.copy.catchUpBps}`,
    '  # What all copies from or to one storage node have together; 0: unlimited.',
    `  node_budget: ${settings.copy.nodeBudgetBps}`,
    'identity:',
    `  token_lifetime: ${settings.identity.tokenLifetimeSeconds}s`,
    'images:',
    `  max_size: ${size(settings.images.maxSizeBytes)}`,
    'compute:',
    '  # Root disks of servers that boot from an image: hidden volumes, with which they can go to other hosts, or local',
    '  # files on their hosts, with which they stay.',
    `  root_disks: ${settings.compute.rootDisks}`,
    '  # After how long a resized or cold-migrated server that nobody confirms is confirmed; 0: never.',
    `  resize_confirm_window: ${settings.compute.resizeConfirmWindowSeconds}s`,
    ...liveMigrationText(settings.liveMigration),
    '',
  ]
  return lines.join('\n')
}

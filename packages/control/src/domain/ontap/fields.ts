/** The fields that each resource has, whether or not a record has a value for them now. Pure. */
import type { RunRecord } from '@volant/saga'
import type { Cluster } from '../topology.ts'
import { newFlexVol } from '../volume.ts'
import { jobRecord } from './job.ts'
import { movementFields, movementRecord } from './movement.ts'
import { connectedClientRecord, nfsServiceRecord } from './nfs.ts'
import { fieldsOf, type OntapRecord } from './query.ts'
import {
  aggregateRecord,
  clusterRecord,
  fileRecord,
  interfaceRecord,
  nodeRecord,
  snapshotRecord,
  svmRecord,
  volumeRecord,
} from './records.ts'

const node = { name: 'n', machine: 'm', dataAddress: '127.0.0.1', aggregates: [] }
const cluster: Cluster = { name: 'c', nodes: [node], flexvols: [] }
const at = '2026-01-01T00:00:00.000Z'
const flexvol = newFlexVol(
  { cluster: 'c', name: 'f', lif: '127.0.0.1', junctionPath: '/f', node: 'n', aggregate: 'a' },
  at,
)
const run: RunRecord = {
  id: 'r',
  kind: 'flexvol.create',
  version: 1,
  steps: [],
  keys: [],
  input: {},
  parentId: null,
  state: 'failed',
  step: null,
  cancellable: false,
  control: { paused: false, cancelRequested: false, rate: null, pace: null, priority: null, revision: 0 },
  progress: null,
  failure: { step: 's', class: 'final', code: null, message: '' },
  owner: '',
  fence: 0,
  createdAt: at,
  updatedAt: at,
  endedAt: at,
}
const snapshot = {
  id: 's',
  shareId: null,
  volumeId: 'v',
  name: null,
  status: 'available' as const,
  createdAt: at,
  sizeGib: 1,
}

const of = (example: OntapRecord, ...more: string[]): ReadonlySet<string> =>
  new Set([...fieldsOf(example), ...more])

/** What stock clients ask about volumes beside what is shown: nothing here has it. */
const absentOfVolumes = [
  '_tags',
  'analytics',
  'analytics.state',
  'comment',
  'consistency_group',
  'consistency_group.name',
  'constituents',
  'efficiency.policy.name',
  'files.maximum',
  'flexcache_endpoint_type',
  'nas.export_policy',
  'nas.export_policy.name',
  'nas.gid',
  'nas.security_style',
  'nas.uid',
  'nas.unix_permissions',
  'qos',
  'qos.policy',
  'qos.policy.name',
  'snaplock',
  'snaplock.type',
  'space.logical_space.enforcement',
  'space.logical_space.reporting',
  'tiering.min_cooling_days',
  'tiering.policy',
]

export const knownFields = {
  cluster: of(clusterRecord(cluster, '', '')),
  nodes: of(nodeRecord(cluster, node, '', true)),
  jobs: of(jobRecord(cluster, run), 'svm', 'svm.name'),
  aggregates: of(
    aggregateRecord(cluster, {
      name: 'a',
      node: 'n',
      state: 'online',
      createdAt: null,
      space: null,
      volumes: 0,
    }),
  ),
  volumes: of(
    volumeRecord(cluster, {
      flexvol,
      isOnline: true,
      space: null,
      movement: movementRecord(cluster, {
        destination: 'a',
        state: 'success',
        percentComplete: 100,
        startedAt: at,
        cutoverWindowSeconds: 30,
        cutoverAction: 'retry_on_failure',
      }),
    }),
    ...movementFields,
    ...absentOfVolumes,
  ),
  snapshots: of(
    snapshotRecord(cluster, flexvol, snapshot),
    'owners',
    'snaplock_expiry_time',
    'snapmirror_label',
  ),
  files: of(fileRecord({ volumeId: 'v', snapshotId: null, sizeBytes: 1 })),
  svms: of(svmRecord(cluster, ['a'])),
  interfaces: of(interfaceRecord(cluster, '127.0.0.1'), 'location.home_node.name', 'services'),
  nfsServices: of(nfsServiceRecord(cluster, true), 'protocol.v3_enabled'),
  nfsClients: of(
    connectedClientRecord(cluster, {
      client: { svm: 's', address: '127.0.0.1', version: '4.1', shareIds: [], lastSeen: at },
      node: 'n',
      lif: '127.0.0.1',
      flexvol,
      now: new Date(at),
    }),
    'export_policy.name',
    'mount_path',
  ),
  disks: new Set(['uuid', 'name', 'aggregates.name', 'effective_type', 'type', 'state', 'node.name']),
  relationships: new Set([
    'uuid',
    'state',
    'healthy',
    'source.path',
    'source.svm.name',
    'destination.path',
    'destination.svm.name',
    'policy.type',
  ]),
  qosPolicies: new Set([
    'uuid',
    'name',
    'svm.name',
    'fixed.max_throughput_iops',
    'fixed.max_throughput_mbps',
    'fixed.min_throughput_iops',
    'adaptive.expected_iops',
    'adaptive.peak_iops',
  ]),
  peers: new Set(['uuid', 'name', 'state', 'svm.name', 'peer.svm.name', 'peer.cluster.name', 'applications']),
} satisfies Record<string, ReadonlySet<string>>

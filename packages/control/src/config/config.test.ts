/** Every section of `volant.yaml`, and what is wrong with it. One file, over 400 lines: most of it is the table of wrong ones. */
import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { zoneOf } from '../domain/topology.ts'
import {
  ConfigError,
  configDocument,
  defaultConfig,
  defaultSettings,
  loadConfig,
  parseConfig,
  readDuration,
  readRate,
  readShortDuration,
  readSize,
} from './index.ts'

const options = { file: 'volant.yaml', hostname: 'stlrx300s7-107' }
const valid = configDocument(defaultConfig({ stateDir: '/var/lib/volant', hostname: 'stlrx300s7-107' }))

/** The problems of `valid` with `from` replaced by `to`. */
function problemsOf(from: string, to: string) {
  assert.ok(valid.includes(from), `the example holds ${from}`)
  const text = valid.replace(from, to)
  try {
    parseConfig(text, options)
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error))
    return error.problems.map((problem) => ({
      ...problem,
      source: (text.split('\n')[problem.line - 1] ?? '').slice(problem.column - 1),
    }))
  }
  return assert.fail('accepted')
}

describe('the embedded default', () => {
  it('is what its own document says', () => {
    const config = defaultConfig({ stateDir: '/var/lib/volant', hostname: 'stlrx300s7-107' })
    assert.deepEqual(parseConfig(valid, options), config)
  })

  it('may have aggregates that are files, of whole blocks, and their document says so', () => {
    const text = valid.replace(
      '# size: 100GiB\n            # filesystem: folder',
      'size: 1GB\n            filesystem: xfs',
    )
    const config = parseConfig(text, options)
    const [first, second] = config.topology.clusters[0]?.nodes[0]?.aggregates ?? []
    assert.deepEqual(first, {
      name: 'aggr1',
      path: '/var/lib/volant/clusters/cinder-lma/aggr1',
      filesystem: 'xfs',
      sizeBytes: 999_997_440,
    })
    assert.equal(second?.filesystem, undefined)
    assert.deepEqual(parseConfig(configDocument(config), options), config)
  })

  it('may have management addresses, one for each cluster, and their document says so', () => {
    const one = valid.replace('# management: 127.0.0.1:8443', 'management: "[::1]:8443"')
    const config = parseConfig(one, options)
    assert.deepEqual(config.topology.clusters[0]?.management, { host: '::1', port: 8443 })
    assert.equal(config.topology.clusters[1]?.management, undefined)
    assert.deepEqual(parseConfig(configDocument(config), options), config)
    const both = one.replace('# management: 127.0.0.1:8443', 'management: "[::1]:8443"')
    assert.throws(() => parseConfig(both, options), /the management address '::1:8443' is there twice/)
  })

  it('has the shares of each cluster, at any address; the backend and the node have defaults', () => {
    const [lma] = defaultConfig({ stateDir: '/s', hostname: 'h' }).topology.clusters
    assert.deepEqual(lma?.shares, { backend: 'manila-lma', lif: '127.250.118.49', node: 'lma-01' })
    const long = /shares:\n +backend: manila-lma\n +lif: .*\n +node: lma-01\n/
    assert.match(valid, long)
    const short = parseConfig(valid.replace(long, 'shares: { lif: "fd00::49" }\n'), options)
    assert.deepEqual(short.topology.clusters[0]?.shares, {
      backend: 'manila-lma',
      lif: 'fd00::49',
      node: 'lma-01',
    })
    assert.deepEqual(parseConfig(configDocument(short), options), short)
    const none = parseConfig(valid.replace(new RegExp(` +${long.source}`), ''), options)
    assert.equal(none.topology.clusters[0]?.shares, undefined)
    assert.deepEqual(parseConfig(configDocument(none), options), none)
  })

  it('has compute hosts in availability zones of their own', () => {
    const one = parseConfig(valid.replace('# availability_zone: nova', 'availability_zone: east'), options)
    const { topology } = one
    assert.deepEqual(
      topology.computeHosts.map((host) => [host.name, zoneOf(topology, host)]),
      [
        ['compute-1', 'east'],
        ['compute-2', 'nova'],
      ],
    )
    assert.deepEqual(parseConfig(configDocument(one), options), one)
  })

  it('has the two clusters, pools and compute hosts of the documentation', () => {
    const { topology } = defaultConfig({ stateDir: '/s', hostname: 'h' })
    const pools = topology.clusters.map(
      (cluster) => `${cluster.name}#${cluster.flexvols[0]?.lif}:${cluster.flexvols[0]?.junctionPath}`,
    )
    assert.deepEqual(pools, [
      'cinder-lma#127.250.118.49:/cinder_flexvol_OSTK02',
      'cinder-lmb#127.250.118.51:/cinder_flexvol_OSTK09',
    ])
    assert.deepEqual(
      topology.computeHosts.map((host) => host.name),
      ['compute-1', 'compute-2'],
    )
    for (const cluster of topology.clusters) assert.equal(cluster.nodes[0]?.aggregates.length, 2)
  })
})

describe('a wrong volant.yaml is refused with the place and what would be right', () => {
  const cases: [string, string, string, RegExp, string][] = [
    ['an unknown key', 'flexvols:', 'flexvol:', /is 'flexvols' meant/, 'flexvol:'],
    ['a wrong type', 'name: lma-01', 'name: 7', /must be text, not the number 7/, '7'],
    ['an at sign in a name', 'name: cinder-lma', 'name: cinder@lma', /divide host strings/, 'cinder@lma'],
    ['a hash in a name', 'name: cinder-lma', 'name: "a#b"', /divide host strings/, '"a#b"'],
    ['a blank in a name', 'name: compute-1', 'name: compute 1', /divide host strings/, 'compute 1'],
    ['a slash in a name', 'name: compute-1', 'name: ../x', /divide host strings/, '../x'],
    ['a name twice', 'name: cinder-lmb', 'name: cinder-lma', /'cinder-lma' is there twice/, 'cinder-lma'],
    ['a node twice', 'name: lmb-01', 'name: lma-01', /node 'lma-01' is there twice/, 'lma-01'],
    ['a host twice', 'name: compute-2', 'name: compute-1', /'compute-1' is there twice/, 'compute-1'],
    [
      'the internal zone',
      'availability_zone: nova',
      'availability_zone: internal',
      /run no servers/,
      'internal',
    ],
    [
      'a colon in a zone',
      '# availability_zone: nova',
      'availability_zone: a:b',
      /divide host strings/,
      'a:b',
    ],
    [
      'an evacuation of a host without an agent',
      'migration:',
      'evacuation: [{ name: rack1, hosts: [compute-1] }]\nmigration:',
      /'compute-1' has no 'agent' of its own/,
      'compute-1] }]',
    ],
    [
      'an evacuation of nobody',
      'migration:',
      'evacuation: [{ name: rack1, hosts: [compute-9] }]\nmigration:',
      /no compute host 'compute-9', but compute-1, compute-2/,
      'compute-9',
    ],
    [
      'more witnesses than hosts',
      'migration:',
      'evacuation: [{ name: rack1, hosts: [compute-1], witnesses: 2 }]\nmigration:',
      /2 witnesses can never agree/,
      '2 }]',
    ],
    ['an unknown node', 'node: lma-01', 'node: lma-02', /has no node 'lma-02', but lma-01/, 'lma-02'],
    ['an unknown aggregate', 'aggregate: aggr1', 'aggregate: aggr9', /but aggr1, aggr2/, 'aggr9'],
    [
      'a relative path',
      'path: "/var/lib/volant/clusters/cinder-lma/aggr1"',
      'path: aggr1',
      /must be an absolute path/,
      'aggr1',
    ],
    [
      'a folder inside another',
      'path: "/var/lib/volant/clusters/cinder-lma/aggr2"',
      'path: /var/lib/volant/clusters/cinder-lma/aggr1/x',
      /lies inside/,
      '/var/lib',
    ],
    [
      'an address',
      'data_address: 127.250.118.49',
      'data_address: 127.0.0.256',
      /no IP address/,
      '127.0.0.256',
    ],
    [
      'an address of a compute host',
      '# data_address: 127.0.0.1',
      'data_address: 127.0.0',
      /no IP address/,
      '127.0.0',
    ],
    [
      'a management address without a port',
      '# management: 127.0.0.1:8443',
      'management: 127.0.0.1',
      /must be an address and a port/,
      '127.0.0.1',
    ],
    [
      'a management address of the network',
      '# management: 127.0.0.1:8443',
      'management: 10.0.0.1:8443',
      /no loopback address: the REST API has no TLS yet/,
      '10.0.0.1',
    ],
    ['a junction path', 'junction_path: /cinder', 'junction_path: cinder', /must begin with '\/'/, 'cinder'],
    ['a size', '# size: 100GiB', 'size: 100 parsecs', /write it like 100GiB/, '100 parsecs'],
    ['a file system', '# filesystem: folder', 'filesystem: ext4', /must be 'folder' or 'xfs'/, 'ext4'],
    ['XFS without a size', '# filesystem: folder', 'filesystem: xfs', /needs its 'size', such as/, 'xfs'],
    [
      'XFS that is too small',
      '# size: 100GiB\n            # filesystem: folder',
      'size: 511MiB\n            filesystem: xfs',
      /at least 512MiB where 'filesystem' is 'xfs'/,
      '511MiB',
    ],
    ['a duration', 'retention: 600s', 'retention: -5', /write it like 30s/, '-5'],
    ['a value out of range', 'cutover_attempts: 5', 'cutover_attempts: 0', /must be >= 1/, '0'],
    ['how agents run', 'agents: inside', 'agents: outside', /must be 'inside' or 'processes'/, 'outside'],
    [
      "an agent's address",
      'data_address: 127.250.118.49',
      'data_address: 127.250.118.49\n        agent: http://a:1',
      /must be an address such as https/,
      'http://a:1',
    ],
    [
      'two addresses of one process of agents',
      'data_address: 127.250.118.49',
      'data_address: 127.250.118.49\n        agent: https://a:1',
      /are one process and have one address, here none and elsewhere https:\/\/a:1/,
      'name: lmb-01',
    ],
    [
      'a Manila backend with the name of a Cinder backend',
      'backend: manila-lma',
      'backend: cinder-lmb',
      /is the name of a cluster, and so of a Cinder backend.*such as manila-lmb$/,
      'cinder-lmb',
    ],
    [
      'a Manila backend twice',
      'backend: manila-lmb',
      'backend: manila-lma',
      /the Manila backend 'manila-lma' is there twice/,
      'manila-lma',
    ],
    [
      'one LIF for the shares of two clusters',
      'lif: "127.250.118.51"\n      node: lmb-01',
      'lif: "127.250.118.49"\n      node: lmb-01',
      /the LIF of shares '127.250.118.49' is there twice/,
      '"127.250.118.49"',
    ],
    [
      'a LIF of shares that is a name',
      'lif: "127.250.118.49"\n      node: lma-01',
      'lif: storage\n      node: lma-01',
      /'storage' is no IP address/,
      'storage',
    ],
    [
      'a LIF of shares that is every address',
      'lif: "127.250.118.49"\n      node: lma-01',
      'lif: "0::0"\n      node: lma-01',
      /'0::0' means every address/,
      '"0::0"',
    ],
    [
      'a node of shares that is of another cluster',
      'lif: "127.250.118.49"\n      node: lma-01',
      'lif: "127.250.118.49"\n      node: lmb-01',
      /cluster 'cinder-lma' has no node 'lmb-01', but lma-01/,
      'lmb-01',
    ],
    [
      'a downtime that begins above its end',
      'first_downtime: 50ms',
      'first_downtime: 2s',
      /2s must be at least 1ms, and no longer than 'downtime'/,
      '2s',
    ],
    [
      'no action after a timeout',
      'timeout_action: abort',
      'timeout_action: wait',
      /'force_complete'/,
      'wait',
    ],
    ['too many connections', 'connections: 1', 'connections: 17', /16/, '17'],
    ['a missing key', 'data_address: 127.250.118.49\n', '\n', /'data_address' is missing/, 'name: lma-01'],
    ['a key twice', 'host: stl', 'host: a\nhost: stl', /not valid YAML.*unique/, 'host: stl'],
    ['broken YAML', 'clusters:', 'clusters: [', /not valid YAML/, ''],
    ['no clusters', valid, '{}', /'clusters' is missing/, '{}'],
    ['an empty file', valid, '', /must be a block of keys, not nothing/, ''],
    ['a list', valid, '- a', /must be a block of keys, not a list/, '- a'],
  ]
  for (const [name, from, to, message, place] of cases) {
    it(name, () => {
      const problems = problemsOf(from, to)
      const problem = problems.find((candidate) => message.test(candidate.message))
      assert.ok(problem, `said: ${problems.map((p) => p.message).join(' | ')}`)
      assert.ok(problem.source.startsWith(place), `points at: ${problem.source}`)
    })
  }

  it('reports all that is wrong at once, in the order of the file, with line, column and a mark', () => {
    const text = valid.replace('node: lma-01', 'node: x').replace('lif: "127.250.118.51"', 'lif: nowhere')
    assert.throws(
      () => parseConfig(text, options),
      (error: ConfigError) => {
        assert.equal(error.problems.length, 2)
        assert.match(
          error.message,
          /^volant\.yaml:\d+:15: clusters\[0\]\.flexvols\[0\]\.node: .*\n +node: x\n +\^/,
        )
        return true
      },
    )
  })
})

describe('what is set for compute', () => {
  it('is read, and written down as it was read', () => {
    const text = valid
      .replace('resize_confirm_window: 0s', 'resize_confirm_window: 1h')
      .replace('first_downtime: 50ms', 'first_downtime: 30')
      .replace(' downtime: 500ms', ' downtime: 2s')
      .replace('patience: 5000ms', 'patience: 3s')
      .replace(/live_migration:([^]*)rate: 0/, 'live_migration:$1rate: 100MiB/s')
      .replace('auto_converge: true', 'auto_converge: false')
      .replace('connections: 1', 'connections: 4')
      .replace('completion_timeout: 800s', 'completion_timeout: 1m')
      .replace('timeout_action: abort', 'timeout_action: force_complete')
    const config = parseConfig(text, options)
    const { compute, liveMigration, migration } = config.settings
    assert.equal(compute.resizeConfirmWindowSeconds, 3600)
    assert.deepEqual(liveMigration, {
      firstDowntimeMs: 30,
      longestDowntimeMs: 2000,
      patienceMs: 3000,
      bandwidth: 100 * 1024 ** 2,
      autoConverge: false,
      channels: 4,
      secondsPerGib: 60,
      timeoutAction: 'force_complete',
      awayMs: defaultSettings.liveMigration.awayMs,
    })
    assert.equal(migration.rateBytesPerSecond, 0)
    assert.deepEqual(parseConfig(configDocument(config), options), config)
  })
  it('keeps the first downtime below the longest where that alone is given', () => {
    const text = valid.replace('  first_downtime: 50ms\n', '').replace(' downtime: 500ms', ' downtime: 20ms')
    const { firstDowntimeMs, longestDowntimeMs } = parseConfig(text, options).settings.liveMigration
    assert.deepEqual([firstDowntimeMs, longestDowntimeMs], [20, 20])
  })
})

describe('what is set for copies', () => {
  it('is read, and written down as it was read', () => {
    const text = valid
      .replace('pace: 2x', 'pace: 5ms')
      .replace(/floor: 8388608/, 'floor: 4MiB/s')
      .replace(/unknown_rate: \d+/, 'unknown_rate: 16MiB/s')
      .replace(/catch_up: \d+/, 'catch_up: 100MiB/s')
      .replace('node_budget: 0', 'node_budget: 200MiB/s')
    const config = parseConfig(text, options)
    assert.deepEqual(config.settings.copy, {
      pace: { kind: 'ms', ms: 5 },
      floorBps: 4 * 1024 ** 2,
      blindBps: 16 * 1024 ** 2,
      catchUpBps: 100 * 1024 ** 2,
      nodeBudgetBps: 200 * 1024 ** 2,
    })
    assert.deepEqual(parseConfig(configDocument(config), options), config)
  })
  it('is refused where it is no pace, and where copies would never end', () => {
    assert.throws(
      () => parseConfig(valid.replace('pace: 2x', 'pace: fast'), options),
      /copy\.pace.*none of 2x, 5ms/s,
    )
    assert.throws(
      () => parseConfig(valid.replace(/floor: 8388608/, 'floor: 0'), options),
      /copy\.floor.*64KiB/s,
    )
  })
})

describe('quantities', () => {
  it('reads sizes, durations and rates', () => {
    assert.deepEqual(readSize('1.5GiB'), { value: 1.5 * 1024 ** 3 })
    assert.deepEqual(readSize('1kB'), { value: 1000 })
    assert.deepEqual(readDuration('10m'), { value: 600 })
    assert.deepEqual(readDuration(0), { value: 0 })
    assert.deepEqual(readShortDuration('1.5s'), { value: 1500 })
    assert.deepEqual(readShortDuration(500), { value: 500 })
    assert.deepEqual(readRate('50M/s'), { value: 50 * 1024 ** 2 })
    assert.deepEqual(readRate('50MiB'), { value: 50 * 1024 ** 2 })
  })
  it('refuses what it does not understand', () => {
    for (const wrong of ['', 'fast', '-1', '1 PiB', null, true, Number.NaN, '9e9GiB']) {
      assert.ok('problem' in readRate(wrong), String(wrong))
    }
  })
})

describe('loading', () => {
  it('prefers the named file, then the state folder, then the default', async () => {
    const stateDir = await mkdtemp(join(tmpdir(), 'volant-config-'))
    try {
      const base = { stateDir, hostname: 'h' }
      assert.equal((await loadConfig(base)).file, undefined)
      await writeFile(join(stateDir, 'volant.yaml'), valid)
      assert.equal((await loadConfig(base)).topology.host, 'stlrx300s7-107')
      await assert.rejects(loadConfig({ ...base, file: join(stateDir, 'none.yaml') }), /there is none/)
    } finally {
      await rm(stateDir, { recursive: true })
    }
  })
})

/** What the sweep makes of everything that may exist: by examples, and whatever there is. One file, over 400 lines: both judge the same things. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { InventoryItem } from '@volant/contract'
import fc from 'fast-check'
import {
  inRemovalOrder,
  judge,
  type Found,
  type OwnerRecords,
  type SweptKind,
  type Tombstone,
} from './sweep.ts'
import type { Attachment, Copy } from './volume.ts'

const id = (n: number): string => `${String(n).padStart(8, '0')}-0000-4000-8000-000000000000`
const policy = { graceSeconds: 30 }
const storage = { agent: 'storage', name: 'lma-01' } as const
const machine = { agent: 'holders', name: 'm1' } as const
const host = { agent: 'compute', name: 'compute-1' } as const

const none: OwnerRecords = {
  copies: new Map(),
  attachments: new Map(),
  servers: new Map(),
  volumes: new Map(),
  shares: new Map(),
  nfsServers: new Set(['lma-01/svm_lma']),
  snapshots: new Map(),
  operations: new Map(),
  unfinished: [],
  tombstones: new Map(),
  flexvols: new Map([['fv', { name: 'vol1' }]]),
  aggregates: new Map([['lma-01/aggr3', '/srv/aggr3']]),
  aggregateFiles: new Set(['m1:/srv/aggr1.xfs', 'm2:/srv/aggr9.xfs']),
  machineOfNode: new Map([['lma-01', 'm1']]),
  machineOfHost: new Map([['compute-1', 'm1']]),
  standing: new Map(),
  silentMachines: [],
}

const item = (kind: SweptKind, more: Partial<InventoryItem> = {}): Found['item'] => ({
  id: 'x',
  what: 'x',
  identity: 'x',
  ageSeconds: 100,
  sizeBytes: 0,
  pids: [],
  ...more,
  kind,
})
const copyOf = (imageId: string, more: Partial<Copy> = {}): Copy => ({
  imageId,
  volumeId: id(50),
  snapshotId: null,
  flexvolId: 'fv',
  node: 'lma-01',
  aggregate: 'aggr1',
  sizeBytes: 4096,
  state: 'live',
  operationId: null,
  reservedBytes: 0,
  retainedUntil: null,
  createdAt: '',
  ...more,
})
const attachmentOf = (attachmentId: string, more: Partial<Attachment> = {}): Attachment => ({
  id: attachmentId,
  volumeId: id(50),
  serverId: id(60),
  projectId: 'p',
  host: 'compute-1',
  headId: 'a',
  status: 'attached',
  shareId: null,
  rootOf: null,
  attachMode: 'rw',
  mountpoint: null,
  bootIndex: null,
  deleteOnTermination: false,
  connector: null,
  attachedAt: null,
  createdAt: '',
  ...more,
})
const graveOf = (kind: Tombstone['kind'], of: string, more: Partial<Tombstone> = {}): Tombstone => ({
  kind,
  id: of,
  volumeId: id(50),
  serverId: null,
  state: kind === 'copy' ? 'target' : 'attached',
  operationId: kind === 'copy' ? id(70) : null,
  removedAt: '2026-11-22T10:00:00.000Z',
  ...more,
})
const at = { aggregate: 'aggr1', flexvol: 'vol1' }
const verdictOf = (found: Found, records: Partial<OwnerRecords> = {}): string =>
  judge(found, { ...none, ...records }, policy).verdict
const ended = { kind: 'volume.migrate', state: 'cancelled', hasEnded: true }

describe('what the sweep makes of', () => {
  test('an image: owned, given up as a target, put back, unknown, elsewhere', () => {
    const image = { place: storage, item: item('image', { imageId: id(1), ...at }) }
    const with1 = (copy: Copy) => ({ copies: new Map([[id(1), copy]]) })
    assert.equal(verdictOf(image, with1(copyOf(id(1)))), 'owned')
    assert.equal(verdictOf(image, with1(copyOf(id(1), { node: 'lmb-01' }))), 'stray-reported')
    assert.equal(verdictOf(image, with1(copyOf(id(1), { aggregate: 'aggr2' }))), 'stray-reported')
    assert.equal(verdictOf(image), 'stray-reported')
    const grave = (more: Partial<Tombstone> = {}) => ({
      tombstones: new Map([[`copy/${id(1)}`, graveOf('copy', id(1), more)]]),
    })
    const operations = new Map([[id(70), ended]])
    assert.equal(verdictOf(image, { ...grave(), operations }), 'stray-removable')
    assert.equal(verdictOf(image, grave()), 'stray-removable', 'forgotten operations have ended')
    const running = new Map([[id(70), { ...ended, state: 'running', hasEnded: false }]])
    assert.equal(verdictOf(image, { ...grave(), operations: running }), 'stray-reported')
    for (const state of ['live', 'retained']) {
      assert.equal(
        verdictOf(image, { ...grave({ state }), operations }),
        'stray-reported',
        'it held data once',
      )
    }
  })

  test('the file system of a share: served here, on its way, elsewhere, of a share that is gone, unknown', () => {
    const found = {
      place: { agent: 'shares', name: 'lma-01' } as const,
      item: item('file-system', { shareId: id(1) }),
    }
    const at = (node: string | null) => ({ shares: new Map([[id(1), { node }]]) })
    const tombstones = new Map([[`share/${id(1)}`, graveOf('share', id(1), { state: 'deleting' })]])
    assert.equal(verdictOf(found, at('lma-01')), 'owned')
    assert.equal(verdictOf(found, at(null)), 'owned')
    assert.equal(verdictOf(found, at('lmb-01')), 'stray-reported', 'two mounts of one image destroy it')
    assert.equal(verdictOf(found, { tombstones }), 'stray-removable')
    assert.equal(verdictOf(found), 'stray-reported')
    const deletion = { id: id(80), kind: 'share.delete', keys: [], input: JSON.stringify({ shareId: id(1) }) }
    assert.equal(verdictOf(found, { tombstones, unfinished: [deletion] }), 'busy')
    const head = { place: machine, item: item('holder', { holderId: id(2) }) }
    const removal = inRemovalOrder([head, found].map((one) => ({ ...one, judgement: null })))
    assert.deepEqual(
      removal.map(({ item: { kind } }) => kind),
      ['file-system', 'holder'],
      'before the head that it writes to',
    )
  })

  test('an NFS server: of an SVM that the node has, or of none: that is told', () => {
    const found = (node: string, svm: string) => ({
      place: { agent: 'shares', name: node } as const,
      item: item('nfs-server', { id: svm }),
    })
    assert.equal(verdictOf(found('lma-01', 'svm_lma')), 'owned')
    assert.equal(verdictOf(found('lma-01', 'svm_other')), 'stray-reported')
    assert.equal(verdictOf(found('lmb-01', 'svm_lma')), 'stray-reported')
  })

  test('an aggregate: on record, being made, unknown, a file of none', () => {
    const found = (aggregate?: string) => ({
      place: storage,
      item: item('aggregate', aggregate === undefined ? {} : { aggregate }),
    })
    assert.equal(verdictOf(found('aggr3')), 'owned')
    assert.equal(verdictOf(found('aggr4')), 'stray-reported', 'never removed: there may be data in it')
    assert.equal(verdictOf(found()), 'stray-reported')
    const file = (path: string) => ({ place: storage, item: item('aggregate', { id: path }) })
    assert.equal(verdictOf(file('/srv/aggr1.xfs')), 'owned', 'of another node of this machine')
    assert.equal(verdictOf(file('/srv/aggr1.xfs.gone')), 'owned')
    assert.equal(verdictOf(file('/srv/aggr9.xfs')), 'stray-reported', 'of a node of another machine')
    const making = { id: id(70), kind: 'aggregate.create', keys: ['aggregate/lma/aggr4'], input: '{}' }
    assert.equal(verdictOf(found('aggr4'), { unfinished: [making] }), 'busy')
  })

  test('an image that was given up, and that a holder stands on', () => {
    const image = { place: storage, item: item('image', { imageId: id(1), ...at }) }
    const row = {
      place: { agent: 'database', name: 'database' } as const,
      item: item('reservation', { imageId: id(1) }),
    }
    const operations = new Map([[id(70), ended]])
    const given = { operations, tombstones: new Map([[`copy/${id(1)}`, graveOf('copy', id(1))]]) }
    const held = {
      operations,
      copies: new Map([[id(1), copyOf(id(1), { state: 'target', operationId: id(70) })]]),
    }
    for (const [found, records] of [
      [image, given],
      [row, held],
    ] as const) {
      const on = (holder: string) => ({ standing: new Map([[id(1), [holder]]]) })
      assert.equal(verdictOf(found, records), 'stray-removable')
      assert.equal(verdictOf(found, { ...records, ...on(id(2)) }), 'stray-reported')
      assert.equal(
        verdictOf(found, { ...records, ...on(id(70)) }),
        'stray-removable',
        'a mover that is finished',
      )
      assert.equal(verdictOf(found, { ...records, silentMachines: ['m9'] }), 'busy')
    }
  })

  test('a holder: head of an attachment, here or elsewhere; of none any more; mover; unknown', () => {
    const holder = { place: machine, item: item('holder', { holderId: id(2) }) }
    const attachments = new Map([[id(2), attachmentOf(id(2))]])
    assert.equal(verdictOf(holder, { attachments }), 'owned')
    assert.equal(
      verdictOf({ ...holder, place: { ...machine, name: 'm2' } }, { attachments }),
      'stray-reported',
    )
    assert.equal(verdictOf(holder), 'stray-reported')
    const tombstones = new Map([[`attachment/${id(2)}`, graveOf('attachment', id(2))]])
    assert.equal(verdictOf(holder, { tombstones }), 'stray-removable')
    assert.equal(verdictOf(holder, { operations: new Map([[id(2), ended]]) }), 'stray-removable')
    const unended = new Map([[id(2), { ...ended, hasEnded: false }]])
    assert.equal(verdictOf(holder, { operations: unended }), 'stray-reported')
  })

  test('an export: of the truth; of another image of an attached volume; for a holder that is finished', () => {
    const one = { place: storage, item: item('export', { holderId: id(2), imageId: id(1) }) }
    const attachments = new Map([[id(2), attachmentOf(id(2))]])
    const truth = (imageId: string) => ({ attachments, volumes: new Map([[id(50), { imageId }]]) })
    assert.equal(verdictOf(one, truth(id(1))), 'owned')
    assert.equal(verdictOf(one, truth(id(9))), 'stray-reported')
    assert.equal(verdictOf(one, { operations: new Map([[id(2), ended]]) }), 'stray-removable')
  })

  test('a mirror: of an operation that has ended, at its cutover, of none that is known', () => {
    const mirror = (more = {}) => ({
      place: machine,
      item: item('mirror', { holderId: id(2), jobId: `migrate-${id(70)}`, ...more }),
    })
    const records = {
      attachments: new Map([[id(2), attachmentOf(id(2))]]),
      operations: new Map([[id(70), ended]]),
    }
    assert.equal(verdictOf(mirror(), records), 'stray-removable')
    assert.equal(verdictOf(mirror({ isAtCutover: true }), records), 'stray-reported')
    assert.equal(verdictOf(mirror()), 'stray-reported')
  })

  test('a guest: of a server here, elsewhere, deleted, unknown', () => {
    const guest = { place: host, item: item('guest', { serverId: id(60) }) }
    const server = (of: string | null, deletedAt: string | null) => ({
      servers: new Map([[id(60), { host: of, deletedAt }]]),
    })
    assert.equal(verdictOf(guest, server('compute-1', null)), 'owned')
    assert.equal(verdictOf(guest, server('compute-2', null)), 'stray-reported')
    assert.equal(verdictOf(guest, server(null, null)), 'stray-reported')
    assert.equal(verdictOf(guest, server('compute-1', '2026-11-22T10:00:00.000Z')), 'stray-removable')
    assert.equal(verdictOf(guest), 'stray-reported')
  })

  test('a part of an image: finished, unfinished, unknown', () => {
    const part = (isBeingRemoved: boolean) => ({
      place: storage,
      item: item('image-part', { imageId: id(1), isBeingRemoved, ...at }),
    })
    const grave = (state: string) => ({
      tombstones: new Map([[`copy/${id(1)}`, graveOf('copy', id(1), { state })]]),
    })
    assert.equal(verdictOf(part(true), grave('live')), 'stray-removable')
    assert.equal(verdictOf(part(false), grave('target')), 'stray-removable')
    assert.equal(verdictOf(part(false), grave('live')), 'stray-reported')
    for (const gone of [true, false]) {
      assert.equal(verdictOf(part(gone)), 'stray-reported')
      const copies = new Map([[id(1), copyOf(id(1))]])
      assert.equal(verdictOf(part(gone), { copies }), 'stray-reported', 'beside the truth')
    }
    const retained = new Map([[id(1), copyOf(id(1), { state: 'retained' })]])
    assert.equal(verdictOf(part(true), { copies: retained }), 'owned')
  })

  test('a reservation: of an operation that failed; of one that succeeded; of the truth', () => {
    const row = {
      place: { agent: 'database', name: 'database' } as const,
      item: item('reservation', { imageId: id(1), volumeId: id(50) }),
    }
    const copies = new Map([[id(1), copyOf(id(1), { state: 'target', operationId: id(70) })]])
    const operations = new Map([[id(70), ended]])
    assert.equal(verdictOf(row, { copies, operations }), 'stray-removable')
    assert.equal(verdictOf(row, { copies }), 'stray-reported')
    const succeeded = new Map([[id(70), { ...ended, state: 'succeeded' }]])
    assert.equal(verdictOf(row, { copies, operations: succeeded }), 'stray-reported')
    const volumes = new Map([[id(50), { imageId: id(1) }]])
    assert.equal(verdictOf(row, { copies, operations, volumes }), 'stray-reported')
  })

  test('of a snapshot: its image is owned, its target swept, its truth never', () => {
    const image = { place: storage, item: item('image', { imageId: id(1), ...at }) }
    const row = {
      place: { agent: 'database', name: 'database' } as const,
      item: item('reservation', { imageId: id(1), volumeId: id(50) }),
    }
    const ofSnapshot = { snapshotId: id(80), operationId: id(70) }
    const operations = new Map([[id(70), ended]])
    const live = new Map([[id(1), copyOf(id(1), ofSnapshot)]])
    assert.equal(verdictOf(image, { copies: live, operations }), 'owned')
    const copies = new Map([[id(1), copyOf(id(1), { ...ofSnapshot, state: 'target' })]])
    assert.equal(verdictOf(row, { copies, operations }), 'stray-removable')
    const snapshots = new Map([[id(80), { imageId: id(1) }]])
    assert.equal(verdictOf(row, { copies, operations, snapshots }), 'stray-reported')
    // The snapshot's work is not known by its volume alone.
    const unfinished = [{ id: id(71), kind: 'snapshot.delete', keys: [`snapshot/${id(80)}`], input: '{}' }]
    assert.equal(verdictOf(row, { copies, operations, unfinished }), 'busy')
  })

  test('what it cannot put a name to: only told', () => {
    assert.equal(verdictOf({ place: storage, item: item('file') }), 'stray-reported')
    assert.equal(verdictOf({ place: host, item: item('process') }), 'stray-reported')
    assert.equal(verdictOf({ place: host, item: item('file', { ageSeconds: 1 }) }), 'busy')
  })

  test('strays in their order: users before what they use', () => {
    const kinds = ['image', 'export', 'holder', 'guest'] as const
    const sorted = inRemovalOrder(kinds.map((kind) => ({ place: storage, item: item(kind) })))
    assert.deepEqual(
      sorted.map((one) => one.item.kind),
      kinds.toReversed(),
    )
  })
})

/** Few ids, so that things and records meet. */
const someId = fc.integer({ min: 1, max: 6 }).map(id)
/** What an agent can tell of each kind. */
const hints = {
  image: ['imageId'],
  'image-part': ['imageId'],
  export: ['holderId', 'imageId'],
  holder: ['holderId', 'volumeId'],
  mirror: ['holderId', 'volumeId', 'imageId', 'jobId'],
  register: ['holderId'],
  guest: ['serverId'],
  remains: ['holderId', 'serverId'],
  aggregate: [],
  'file-system': ['shareId'],
  'nfs-server': [],
  process: ['imageId'],
  file: [],
  reservation: ['imageId', 'volumeId'],
} as const satisfies Record<SweptKind, readonly (keyof InventoryItem)[]>
/** Kinds that are never removed by the sweep. */
const onlyTold: readonly SweptKind[] = ['file', 'process', 'aggregate', 'nfs-server']
const allKinds = Object.keys(hints) as SweptKind[]
const foundOf = (kinds: readonly SweptKind[]): fc.Arbitrary<Found> =>
  fc
    .record({
      kind: fc.constantFrom(...kinds),
      ageSeconds: fc.constantFrom(0, 29, 30, 1000, 1e6),
      imageId: someId,
      holderId: someId,
      serverId: someId,
      volumeId: someId,
      shareId: someId,
      jobId: someId.map((one) => `migrate-${one}`),
      isAtCutover: fc.boolean(),
      isBeingRemoved: fc.boolean(),
      isOpen: fc.boolean(),
      place: fc.constantFrom(storage, machine, host),
    })
    .map(({ place, kind, ageSeconds, isAtCutover, isBeingRemoved, isOpen, ...rest }) => {
      const named = Object.fromEntries(hints[kind].map((hint) => [hint, rest[hint]]))
      return { place, item: item(kind, { ...at, ageSeconds, isAtCutover, isBeingRemoved, isOpen, ...named }) }
    })

const anyFound = foundOf(allKinds)

const mapOf = <T>(of: (one: string) => fc.Arbitrary<T>) =>
  fc
    .uniqueArray(someId)
    .chain((ids) => fc.tuple(...ids.map((one) => of(one).map((value) => [one, value] as const))))
    .map((entries) => new Map(entries))

const anyRecords: fc.Arbitrary<OwnerRecords> = fc
  .record({
    copies: mapOf((one) =>
      fc
        .record({
          volumeId: someId,
          state: fc.constantFrom('target', 'live', 'retained'),
          operationId: fc.option(someId),
          node: fc.constantFrom('lma-01', 'lmb-01'),
        })
        .map((fields) => copyOf(one, fields)),
    ),
    attachments: mapOf((one) =>
      fc
        .record({ volumeId: someId, serverId: someId, host: fc.constantFrom('compute-1', null) })
        .map((fields) => attachmentOf(one, fields)),
    ),
    servers: mapOf(() =>
      fc.record({ host: fc.constantFrom('compute-1', null), deletedAt: fc.constantFrom(null, '2026') }),
    ),
    volumes: mapOf(() => fc.record({ imageId: fc.option(someId) })),
    shares: mapOf(() => fc.record({ node: fc.constantFrom('lma-01', 'lmb-01', null) })),
    operations: mapOf(() =>
      fc
        .constantFrom('succeeded', 'failed', 'failed', 'cancelled', 'cancelled', 'running', 'needs-attention')
        .map((state) => ({
          kind: 'k',
          state,
          hasEnded: ['succeeded', 'failed', 'cancelled'].includes(state),
        })),
    ),
    graves: fc.array(
      fc.record({
        kind: fc.constantFrom('copy' as const, 'attachment' as const, 'share' as const),
        id: someId,
        volumeId: someId,
        serverId: fc.option(someId),
        state: fc.constantFrom('target', 'target', 'target', 'live', 'retained', 'attached'),
        operationId: fc.option(someId),
        removedAt: fc.constant('2026'),
      }),
      { minLength: 3, maxLength: 8 },
    ),
    standing: fc.oneof(
      { weight: 3, arbitrary: fc.constant(new Map<string, string[]>()) },
      { weight: 1, arbitrary: mapOf(() => fc.array(someId, { minLength: 1, maxLength: 2 })) },
    ),
    silentMachines: fc.constantFrom<string[]>([], [], [], [], [], [], [], ['m9']),
    inputs: mapOf(() => fc.record({ volumeId: someId, more: fc.option(someId) })),
  })
  .map(({ graves, inputs, ...rest }) => ({
    ...none,
    ...rest,
    tombstones: new Map(graves.map((grave) => [`${grave.kind}/${grave.id}`, grave])),
    // As the database has it: what has not ended is in the list of the unfinished.
    unfinished: [...rest.operations]
      .filter(([, { hasEnded }]) => !hasEnded)
      .map(([one]) => {
        const input = inputs.get(one) ?? { volumeId: 'none' }
        return { id: one, kind: 'k', keys: [`volume/${input.volumeId}`], input: JSON.stringify(input) }
      }),
  }))

const idsOf = ({ imageId, holderId, serverId, shareId, volumeId, jobId }: Found['item']): string[] =>
  [imageId, holderId, serverId, shareId, volumeId, jobId?.slice('migrate-'.length)].filter(
    (one) => one !== undefined,
  )

/** Said again in other words than the judgement's: what must not be true of anything that is removed. */
function ownersOf({ place, item: one }: Found, records: OwnerRecords): string[] {
  const owners: string[] = []
  const { imageId = '', holderId = '', serverId = '', kind } = one
  for (const operation of records.unfinished) {
    const text = `${operation.id} ${operation.input} ${operation.keys.join(' ')}`
    if (idsOf(one).some((each) => text.includes(each))) owners.push(`operation ${operation.id}`)
  }
  if ((kind === 'image' || kind === 'image-part') && records.copies.has(imageId)) owners.push('copy')
  if (kind === 'holder' && place.name === 'm1' && records.attachments.has(holderId)) owners.push('attachment')
  if (kind === 'export' && records.attachments.has(holderId)) owners.push('attachment')
  if (kind === 'remains' && records.attachments.has(holderId)) owners.push('attachment')
  if (kind === 'guest' && records.servers.get(serverId)?.deletedAt === null) owners.push('server')
  if (kind === 'remains' && records.servers.get(serverId)?.deletedAt === null) owners.push('server')
  for (const { imageId: truth } of kind === 'reservation' ? records.volumes.values() : []) {
    const copy = records.copies.get(imageId)
    if (truth === imageId && copy && records.volumes.get(copy.volumeId)?.imageId === imageId)
      owners.push('truth')
  }
  const holders = kind === 'image' || kind === 'reservation' ? (records.standing.get(imageId) ?? []) : []
  for (const each of holders) {
    const finished =
      records.operations.get(each)?.hasEnded === true || records.tombstones.has(`attachment/${each}`)
    if (records.attachments.has(each) || !finished) owners.push(`holder ${each}`)
  }
  if ((kind === 'image' || kind === 'reservation') && records.silentMachines.length > 0)
    owners.push('who knows')
  if (kind === 'file' || kind === 'process') owners.push('nobody knows')
  if (one.ageSeconds < policy.graceSeconds) owners.push('too young')
  if (kind === 'file-system' && records.shares.has(one.shareId ?? '')) owners.push('share')
  if (kind === 'mirror' && one.isAtCutover === true) owners.push('a cutover')
  return owners
}

describe('whatever there is', () => {
  test('nothing is removed that has an owner, that an operation may own, or that is young', (t) => {
    const rates: string[] = []
    for (const kind of allKinds) {
      let removed = 0
      fc.assert(
        fc.property(foundOf([kind]), anyRecords, (found, records) => {
          const judgement = judge(found, records, policy)
          if (judgement.verdict !== 'stray-removable') return
          removed += 1
          assert.deepEqual(ownersOf(found, records), [])
          assert.ok(judgement.proof.length > 0)
        }),
        { numRuns: 1500 },
      )
      // Seldom enough that this says something, often enough that no seed misses it.
      if (onlyTold.includes(kind)) assert.equal(removed, 0)
      else assert.ok(removed > 0, `no ${kind} was removed`)
      rates.push(`${kind} ${removed}`)
    }
    t.diagnostic(`of 1500 each, removed: ${rates.join(', ')}`)
  })

  test('without evidence nothing is removed but what its agent itself proves to be over', () => {
    fc.assert(
      fc.property(anyFound, anyRecords, (found, records) => {
        fc.pre(found.item.kind !== 'remains' && found.item.kind !== 'register')
        const silent = { ...records, operations: new Map(), tombstones: new Map(), servers: new Map() }
        assert.notEqual(judge(found, silent, policy).verdict, 'stray-removable')
      }),
      { numRuns: 3000 },
    )
  })

  test('an operation that takes it up, or a row that comes to own it, ends its removal', () => {
    let tried = 0
    fc.assert(
      fc.property(anyFound, anyRecords, fc.nat(), (found, records, pick) => {
        if (judge(found, records, policy).verdict !== 'stray-removable') return
        const ids = idsOf(found.item)
        const one = ids[pick % Math.max(1, ids.length)]
        if (one === undefined) return
        tried += 1
        const operation = { id: id(99), kind: 'k', keys: [], input: JSON.stringify({ deep: { x: one } }) }
        const taken = { ...records, unfinished: [...records.unfinished, operation] }
        assert.equal(judge(found, taken, policy).verdict, 'busy')
      }),
      { numRuns: 4000 },
    )
    assert.ok(tried > 100, `${tried} strays were taken up`)
  })
})

/** The ONTAP REST API of a real Volant, by a stock client: curl and jq. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { readFile, open, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { promisify } from 'node:util'
import { openPlace, type Place } from '../cli/place.ts'
import { digestOf } from '../move/digest.ts'

const mib = 2 ** 20
const script = join(import.meta.dirname, '../../examples/ontap-rest/move.sh')
const flexvol = 'cinder_flexvol_OSTK02'

interface Access {
  name: string
  url: string
  user: string
  password: string
}

let place: Place
before(async () => {
  place = await openPlace()
})
after(() => place.close())

const accessFile = (): string => join(place.folder, 'clusters.json')
const accesses = async (): Promise<Access[]> => JSON.parse(await readFile(accessFile(), 'utf8')) as Access[]

/** By curl, as the script does it. */
async function ontap(method: string, path: string, body?: object) {
  const access = (await accesses()).find(({ name }) => name === 'cinder-lma')
  assert.ok(access !== undefined, 'clusters.json has the cluster')
  const parts = ['--silent', '--user', `${access.user}:${access.password}`, '--request', method]
  const payload = body === undefined ? [] : ['--data', JSON.stringify(body)]
  const { stdout } = await promisify(execFile)('curl', [
    ...parts,
    '--header',
    'content-type: application/json',
    ...payload,
    `${access.url}/api${path}`,
  ])
  // oxlint-disable-next-line typescript/no-explicit-any -- what a test reads of an answer it asserts
  return JSON.parse(stdout) as any
}

const move = (...args: string[]) =>
  new Promise<{ code: number | null; stdout: string; stderr: string }>((resolve) => {
    const child = execFile(script, ['--state', place.folder, ...args], (_error, stdout, stderr) =>
      resolve({ code: child.exitCode, stdout, stderr }),
    )
  })

async function digest(): Promise<string> {
  const { path } = await place.client.ndo.placement(place.volumeId)
  return digestOf(path ?? '')
}

test('clusters.json is its owner’s alone, and the password stays when Volant starts again', async () => {
  const first = await accesses()
  assert.deepEqual(
    first.map(({ name }) => name),
    ['cinder-lma', 'cinder-lmb'],
  )
  assert.equal((await stat(accessFile())).mode & 0o777, 0o600)
  const status = await place.run('status', '--json')
  const { clusters } = JSON.parse(status.stdout) as { clusters: { management_url: string }[] }
  assert.deepEqual(
    clusters.map((cluster) => cluster.management_url),
    first.map(({ url }) => url),
  )
  await place.run('down')
  await place.up()
  assert.deepEqual(
    (await accesses()).map(({ password }) => password),
    first.map(({ password }) => password),
  )
  assert.equal((await ontap('GET', '/cluster?fields=name')).name, 'cinder-lma')
})

test('a FlexVol with a volume in it moves to another aggregate and back; only the aggregate changes', async () => {
  const { path } = await place.client.ndo.placement(place.volumeId)
  const file = await open(path ?? '', 'r+')
  for (let part = 0; part < 4; part++) await file.write(randomBytes(4 * mib), 0, 4 * mib, part * 100 * mib)
  await file.close()
  const [content, host] = [await digest(), await place.host()]
  const [before] = (await ontap('GET', `/storage/volumes?name=${flexvol}&fields=uuid,space,svm,nas`)).records
  assert.ok(before.space.used >= 16 * mib, JSON.stringify(before.space))
  for (const aggregate of ['aggr2', 'aggr1']) {
    const moved = await move('cinder-lma', flexvol, aggregate)
    assert.equal(moved.code, 0, moved.stdout + moved.stderr)
    assert.match(moved.stdout, /\n {2}success\n/)
    const now = await place.client.ndo.placement(place.volumeId)
    assert.equal(now.aggregate, aggregate)
    assert.equal(await digest(), content)
    assert.equal(await place.host(), host)
    const [shown] = (
      await ontap('GET', `/storage/volumes?name=${flexvol}&fields=aggregates,svm,nas,movement`)
    ).records
    assert.deepEqual([shown.uuid, shown.svm, shown.nas], [before.uuid, before.svm, before.nas])
    assert.equal(shown.aggregates[0].name, aggregate)
    assert.deepEqual([shown.movement.state, shown.movement.percent_complete], ['success', 100])
  }
  const jobs = await ontap('GET', '/cluster/jobs?description=PATCH*&fields=state')
  assert.deepEqual(
    jobs.records.map(({ state }: { state: string }) => state),
    ['success', 'success'],
  )
})

test('what cannot move is said, with a code', async () => {
  const there = await move('cinder-lma', flexvol, 'aggr1')
  assert.deepEqual([there.code, /aggr1 already.*\(code 8\)/.test(there.stderr)], [1, true], there.stderr)
  const nowhere = await move('cinder-lma', flexvol, 'aggr9')
  assert.deepEqual([nowhere.code, /\(code 787140\)/.test(nowhere.stderr)], [1, true], nowhere.stderr)
  assert.equal((await move('cinder-lma', 'nothing', 'aggr1')).code, 1)
  assert.equal((await move('cinder-lmx', flexvol, 'aggr1')).code, 1)
  assert.equal((await move('--nonsense')).code, 2)
})

test('an aggregate and a FlexVol on it are made, are a pool to which a volume migrates, and go again', async () => {
  const wait = 'return_timeout=120'
  const size = 600 * mib
  const made = await ontap('POST', `/storage/aggregates?${wait}`, {
    name: 'made',
    node: { name: 'lma-01' },
    space: { block_storage: { size } },
  })
  assert.equal(made.error, undefined, JSON.stringify(made))
  const [aggregate] = (await ontap('GET', '/storage/aggregates?name=made&fields=space,state')).records
  assert.equal(aggregate.state, 'online')
  assert.ok(aggregate.space.block_storage.size > 0.8 * size, JSON.stringify(aggregate))

  const created = await ontap('POST', `/storage/volumes?${wait}&return_records=true`, {
    name: 'second',
    svm: { name: 'svm_cinder-lma' },
    aggregates: [{ name: 'made' }],
    size: '200MB',
  })
  assert.equal(created.error, undefined, JSON.stringify(created))
  const { uuid } = created.records[0]
  const pools = (await place.client.volume.pools()).map(({ name }) => name)
  const pool = pools.find((name) => name.endsWith(':/second'))
  assert.ok(pool !== undefined, pools.join())

  const { id } = await place.client.ndo.migrate({ volume: place.volumeId, host: pool })
  let state = ''
  for await (const operation of place.client.ndo.watch(id)) state = operation.state
  assert.equal(state, 'succeeded')
  assert.equal(await place.host(), pool)

  const busy = await ontap('DELETE', `/storage/volumes/${uuid}`)
  assert.equal(busy.error.code, '8')
  assert.match(busy.error.message, /1 volume/)
  const inUse = await ontap('DELETE', `/storage/aggregates/${aggregate.uuid}`)
  assert.equal(inUse.error.code, '8', JSON.stringify(inUse))
  const small = await ontap('PATCH', `/storage/volumes/${uuid}`, { size: '20MB' })
  assert.deepEqual(small, {}, 'the volume occupies 16 MiB')

  const openrc = join(place.folder, 'openrc')
  await promisify(execFile)('sh', ['-c', '. "$0"; cinder delete "$1"', openrc, place.volumeId])
  const gone = async () => (await ontap('DELETE', `/storage/volumes/${uuid}?${wait}`)).error === undefined
  for (const end = Date.now() + 60_000; !(await gone());) {
    assert.ok(Date.now() < end, 'not in 60 s: the FlexVol is empty, and is deleted')
    await new Promise((resolve) => setTimeout(resolve, 200))
  }
  const removed = await ontap('DELETE', `/storage/aggregates/${aggregate.uuid}?${wait}`)
  assert.equal(removed.error, undefined, JSON.stringify(removed))
  assert.equal((await ontap('GET', '/storage/aggregates?name=made')).num_records, 0)
})

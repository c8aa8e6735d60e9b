import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { assertNothingLost, bootProbe, openPlane, until, type Job, type Plane } from '../migration/plane.ts'
import { openrc, runClient } from './client-processes.ts'

/** Debian's clients, unmodified, against a Volant as it is without any configuration: two compute hosts, real guests. */
let plane: Plane
let job: Job
let environment: Record<string, string>

before(async () => {
  plane = await openPlane()
  environment = await openrc(plane.stateDir)
  job = await bootProbe(plane)
})
after(() => plane.close())

async function run(program: string, ...args: string[]): Promise<{ code: number; output: string }> {
  const { code, stdout, stderr } = await runClient(program, args, environment)
  return { code, output: stdout + stderr }
}

async function ok(program: string, ...args: string[]): Promise<string> {
  const { code, output } = await run(program, ...args)
  assert.equal(code, 0, `${program} ${args.join(' ')}: ${output}`)
  return output
}

const shown = () => plane.client.compute.show(job.serverId)
const hostOf = async (): Promise<string> => String((await shown())['OS-EXT-SRV-ATTR:host'])
const other = (host: string): string => (host === 'compute-1' ? 'compute-2' : 'compute-1')
const isAt = (host: string) =>
  until(`the server runs at ${host}`, 60_000, async () => {
    const server = await shown()
    const rests = server.status === 'ACTIVE' && server['OS-EXT-STS:task_state'] === null
    return rests && server['OS-EXT-SRV-ATTR:host'] === host
  })

/** The rows of a table of a client, by the words of its headings. */
function rowsOf(table: string): Record<string, string>[] {
  const lines = table.split('\n').filter((line) => line.startsWith('|'))
  const [head = [], ...rows] = lines.map((line) =>
    line
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim()),
  )
  return rows.map((row) => Object.fromEntries(head.map((name, i) => [name, row[i] ?? ''])))
}

const newest = async () => {
  const { operations } = await plane.client.ndo.operations({ kind: 'server.live-migrate', limit: 1 })
  return operations[0]
}

/** Under way so slowly that it does not end by itself. */
async function slowMigration(): Promise<{ operationId: string; number: string }> {
  const before = (await newest())?.id
  await ok('nova', 'live-migration', 'ubuntu-instance')
  let operationId = ''
  await until('it is under way', 30_000, async () => {
    const operation = await newest()
    if (operation === undefined || operation.id === before) return false
    operationId = operation.id
    return true
  })
  await plane.client.ndo.setRate(operationId, 1024 * 1024)
  await until('it copies', 60_000, async () => (await newest())?.progress.total_bytes !== null)
  const shownNow = await newest()
  assert.deepEqual(
    [shownNow?.phase, shownNow?.commands.some((one) => / pause /.test(one))],
    ['copying', false],
  )
  await assert.rejects(plane.client.ndo.pause(operationId), /can't be paused/)
  const [row] = rowsOf(await ok('nova', 'server-migration-list', 'ubuntu-instance'))
  assert.equal(row?.['Status'], 'running')
  assert.ok(Number(row['Total Memory Bytes']) > 0)
  return { operationId, number: row['Id'] ?? '' }
}

test('openstack server migrate --live-migration: the guest writes on, at the other host', async () => {
  const home = await hostOf()
  const away = other(home)
  const migrate = ['--os-compute-api-version', '2.90', 'server', 'migrate', '--live-migration', '--host']
  await ok('openstack', ...migrate, away, 'ubuntu-instance')
  await isAt(away)
  const operation = await newest()
  assert.deepEqual(
    [operation?.source, operation?.target, operation?.resource.name],
    [home, away, 'ubuntu-instance'],
  )
  assert.ok((operation?.client_pause_ms ?? 0) > 0, 'its pause is told')
})

test('nova live-migration-abort: the guest goes on where it was', async () => {
  const home = await hostOf()
  const same = await run('nova', 'live-migration', 'ubuntu-instance', home)
  assert.match(same.output, /to current host .*HTTP 400/s, 'a refusal says why')
  const { number } = await slowMigration()
  await ok('nova', 'live-migration-abort', 'ubuntu-instance', number)
  await isAt(home)
})

test('nova live-migration-force-complete: the switch comes at once', async () => {
  const away = other(await hostOf())
  const { operationId, number } = await slowMigration()
  await ok('nova', 'live-migration-force-complete', 'ubuntu-instance', number)
  await until('it has switched over', 60_000, async () => (await newest())?.finished_at !== null)
  assert.equal((await plane.client.ndo.operation(operationId)).state, 'succeeded')
  await isAt(away)
  await assertNothingLost(plane, job)
})

import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { findCredentials } from '@volant/cli'
import { createClient } from '@volant/client'
import type { SweepReport } from '@volant/contract/ndo/sweep.ts'
import { volant, type Ran } from './volant.ts'

test('volant sweep, its dry run, and the line in volant status', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'vc-'))
  const run = (...args: string[]): Promise<Ran> => volant(...args, '--state', folder)
  t.after(async () => {
    await run('down', '--all')
    await rm(folder, { recursive: true, force: true })
  })
  const up = await run('up', '--port', '0')
  assert.equal(up.code, 0, up.stderr)
  const client = createClient(await findCredentials(folder, true))
  const volume = await client.volume.create({ name: 'data', size: 1 })
  for (const end = Date.now() + 60_000; (await client.volume.show(volume.id)).status !== 'available';) {
    assert.ok(Date.now() < end, 'not in 60 s: the volume is available')
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  const swept = await run('sweep')
  assert.equal(swept.code, 0, swept.stderr)
  assert.match(swept.stdout, /^No strays\. Looked at 1: 1 owned/)
  const dry = JSON.parse((await run('sweep', '--dry-run', '--json')).stdout) as SweepReport
  assert.deepEqual([dry.dry_run, dry.strays, dry.unreachable, dry.owned], [true, [], [], 1])
  const young = JSON.parse((await run('sweep', '--dry-run', '--grace', '0', '--json')).stdout) as SweepReport
  assert.deepEqual([young.strays, young.busy], [[], 0])
  const refused = await run('sweep', '--grace', '0')
  assert.equal(refused.code, 4, 'what removes keeps its grace time')
  assert.match(refused.stderr, /dry run only/)
  assert.match((await run('status')).stdout, /^Strays: none$/m)
  assert.equal((await client.ndo.status()).strays, 0)
})

import assert from 'node:assert/strict'
import { randomInt } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { findCredentials } from '@volant/cli'
import { createClient } from '@volant/client'
import type { ShareDetail } from '@volant/contract/ndo/share.ts'
import { loopsIn, mountsIn, openFolder } from '../dataplane/aggregate-place.ts'
import { until } from '../dataplane/rig.ts'
import { volant } from './volant.ts'

const skip = process.getuid?.() === 0 ? false : 'only root can mount'

/** One node with two aggregates, whose LIF nobody else has. */
const configOf = (folder: string, shares: string): string => `
clusters:
  - name: cinder-lma
    nodes:
      - name: lma-01
        data_address: 127.0.0.1
        aggregates: [{ name: aggr1, path: ${join(folder, 'aggr1')} }, { name: aggr2, path: ${join(folder, 'aggr2')} }]
    flexvols: []
${shares}
compute_hosts: []
`

test(
  'a share in the command line: listed, shown, moved, through down --all and the next start',
  { skip },
  async (t) => {
    const folder = openFolder(t, (made) => volant('down', '--all', '--state', join(made, 'state')))
    const state = join(folder, 'state')
    for (const name of ['aggr1', 'aggr2']) await mkdir(join(folder, name))
    const config = join(folder, 'volant.yaml')
    const lif = `127.${randomInt(16, 255)}.${randomInt(256)}.${randomInt(1, 255)}`
    await writeFile(config, configOf(folder, `    shares: { lif: ${lif} }`))
    const run = (...args: string[]) => volant(...args, '--state', state)
    const good = async (...args: string[]): Promise<string> => {
      const { code, stdout, stderr } = await run(...args)
      assert.equal(code, 0, `${args.join(' ')}: ${stderr}`)
      return stdout
    }
    const shown = async (): Promise<ShareDetail> =>
      JSON.parse(await good('share', 'docs', '--json')) as ShareDetail
    await good('up', '--port', '0', '--config', config)
    assert.match(await good('shares'), /There are no shares/)
    assert.deepEqual(JSON.parse(await good('shares', '--json')), [])
    assert.match(await good('status'), /^Shares: none$/m)
    assert.equal((await run('share', 'docs')).code, 3)
    const unknown = await run('move', 'docs', 'aggr2')
    assert.deepEqual(
      [unknown.code, /no FlexVol or share 'docs'/.test(unknown.stderr)],
      [3, true],
      unknown.stderr,
    )

    // Looks again and again are cheaper than a command each.
    const client = async () => createClient(await findCredentials(state, true))
    const { session, ndo } = await client()
    const body = { share: { name: 'docs', share_proto: 'NFS', size: 1 } }
    await session.json('POST', '/share/v2/shares', { body })
    await until('the share is available', async () => {
      const [one] = await ndo.shares()
      assert.notEqual(one?.status, 'error', 'its creation failed')
      return one?.status === 'available'
    })
    assert.match(await good('shares'), /docs .* available .* 1\.00 GiB/)
    const before = await shown()
    assert.deepEqual([before.share.is_served, before.share.trouble], [true, null])
    assert.match(before.share.export_location ?? '', new RegExp(`^${lif}:/share_`))
    const whats = before.processes.map(({ what }) => what)
    assert.deepEqual(whats, ['NFS server of svm_cinder-lma', 'block device', 'block device', 'volume head'])
    assert.match(
      await good('status'),
      new RegExp(`manila-lma +\\| lma-01 \\| ${lif} +\\| \\d+ +\\| 1 +\\| 0 +\\| up`),
    )
    assert.match(await good('sweep', '--dry-run', '--grace', '0'), /No strays/)

    assert.match(await good('move', 'docs', 'aggr2', '--dry-run'), /share docs .*which stays mounted/)
    assert.match(
      await good('move', 'docs', 'aggr2', '--watch'),
      /longest client pause at a cutover: [\d.]+ ms/,
    )
    assert.match(await good('moves', 'docs'), /share docs +\| aggr1@lma-01 \| aggr2@lma-01 \| success/)
    const moved = await shown()
    assert.match(moved.share.host ?? '', /@manila-lma#aggr2$/)
    assert.equal(moved.share.export_location, before.share.export_location)
    assert.deepEqual(moved.processes, before.processes, 'nothing was started anew')

    assert.match(await good('down', '--all'), /shares and storage daemons are stopped/)
    assert.deepEqual([mountsIn(state), loopsIn(state)], [[], []])
    for (const { pid, what } of moved.processes) {
      // Dead at once; whoever adopted it may take a moment to notice.
      await until(`no ${what} is left`, async () => !existsSync(`/proc/${pid}/exe`))
    }
    await writeFile(config, configOf(folder, ''))
    const without = await run('up', '--port', '0', '--config', config)
    assert.equal(without.code, 4, without.stderr)
    assert.match(without.stderr, new RegExp(`shares of cluster cinder-lma at the LIF ${lif} on node lma-01`))
    await writeFile(config, configOf(folder, `    shares: { lif: ${lif} }`))
    await good('up', '--port', '0', '--config', config)
    const again = (await client()).ndo
    await until('the share is served again', async () => (await again.shares())[0]?.is_served === true)
    await good('down', '--all')
    assert.deepEqual([mountsIn(state), loopsIn(state)], [[], []])
  },
)

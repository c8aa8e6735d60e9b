import assert from 'node:assert/strict'
import { open, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { findCredentials } from '@volant/cli'
import { createClient } from '@volant/client'
import { loopsIn, mountsIn, openFolder } from '../dataplane/aggregate-place.ts'
import { until } from '../dataplane/rig.ts'
import { volant } from './volant.ts'

const skip = process.getuid?.() === 0 ? false : 'only root can mount'
const MiB = 1024 ** 2

/** A configuration whose first aggregate is a file. */
const configOf = (folder: string, size: string): string => `
clusters:
  - name: cinder-lma
    nodes:
      - name: lma-01
        data_address: 127.0.0.1
        aggregates: [{ name: aggr1, path: ${join(folder, 'pools/aggr1')}, filesystem: xfs, size: ${size} }]
    flexvols: [{ name: fv1, lif: 127.0.0.1, node: lma-01, aggregate: aggr1 }]
compute_hosts: []
`

test(
  'aggregates that are files, configured and made at run time, through down --all and the next start',
  { skip },
  async (t) => {
    const folder = openFolder(t, (made) => volant('down', '--all', '--state', join(made, 'state')))
    const state = join(folder, 'state')
    const config = join(folder, 'volant.yaml')
    const run = (...args: string[]) => volant(...args, '--state', state)
    const good = async (...args: string[]): Promise<string> => {
      const { code, stdout, stderr } = await run(...args)
      assert.equal(code, 0, stderr)
      return stdout
    }
    const up = () => good('up', '--port', '0', '--config', config)

    // A folder that is missing is a disk that is missing: no file is made in its place.
    await writeFile(config, configOf(folder, '1GiB'))
    const early = await run('up', '--port', '0', '--config', config)
    assert.notEqual(early.code, 0)
    assert.match(early.stderr, /there is no folder .*\/pools for its file/)
    await writeFile(config, configOf(state, '1GiB'))
    await up()
    const file = join(state, 'pools/aggr1.xfs')
    assert.equal((await stat(file)).size, 1024 * MiB)

    const client = createClient(await findCredentials(state, true))
    const { id } = await client.volume.create({ name: 'data', size: 1 })
    await until('the volume is available', async () => (await client.volume.show(id)).status === 'available')
    const path = String((await client.ndo.placement(id)).path)
    assert.ok(path.startsWith(`${join(state, 'pools/aggr1')}/fv1/`), path)
    const image = await open(path, 'r+')
    await image.write(Buffer.alloc(MiB, 'v'), 0, MiB, 0)
    await image.close()

    await good('aggregates', 'create', 'aggr2', '--size', '600MiB')
    const text = await good('aggregates', 'list')
    assert.match(text, /aggr1 +\| lma-01 \| xfs +\| yes/)
    assert.match(text, /aggr2 +\| lma-01 \| xfs +\| yes/)
    assert.match(await good('status', '--json'), /"aggr2"/)
    const refused = await run('aggregates', 'delete', 'aggr1')
    assert.notEqual(refused.code, 0)
    assert.match(refused.stderr, /remove it from volant\.yaml/)
    assert.deepEqual([mountsIn(state).length, loopsIn(state).length], [2, 2])
    assert.match(await good('sweep', '--dry-run', '--grace', '0'), /No strays/)

    await good('down', '--all')
    assert.deepEqual([mountsIn(state), loopsIn(state)], [[], []])
    await writeFile(config, configOf(state, '600MiB'))
    const smaller = await run('up', '--port', '0', '--config', config)
    assert.notEqual(smaller.code, 0)
    assert.match(smaller.stderr, /XFS cannot shrink: aggregate aggr1 has 1073741824 bytes/)
    assert.deepEqual(mountsIn(state), [])

    await writeFile(config, configOf(state, '2GiB'))
    await up()
    assert.deepEqual((await readFile(path)).subarray(0, MiB), Buffer.alloc(MiB, 'v'))
    assert.equal((await stat(file)).size, 2048 * MiB)
    assert.deepEqual([mountsIn(state).length, loopsIn(state).length], [2, 2])
    // What nobody has is told, and left alone.
    await writeFile(join(state, 'pools/aggr3.xfs'), 'mine')
    assert.match(
      await good('sweep', '--dry-run', '--grace', '0'),
      /file of an aggregate that nobody has[\s\S]*1 strays/,
    )
    await rm(join(state, 'pools/aggr3.xfs'))

    await good('aggregates', 'delete', 'aggr2')
    assert.deepEqual([mountsIn(state).length, loopsIn(state).length], [1, 1])
    await assert.rejects(stat(join(state, 'pools/aggr2.xfs')), { code: 'ENOENT' })
    await good('down', '--all')
    assert.deepEqual([mountsIn(state), loopsIn(state)], [[], []])
  },
)

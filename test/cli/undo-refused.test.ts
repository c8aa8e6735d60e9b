import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { openPlace, type Place } from './place.ts'
import type { Ran } from './volant.ts'

describe('volant undo where it is not possible', () => {
  let place: Place
  const run = (...args: string[]): Promise<Ran> => place.run(...args)
  before(async () => {
    place = await openPlace()
  })
  after(() => place?.close())

  it('refuses with the reason: no such operation (3), another kind (4), a disabled pool (4), no argument (2)', async () => {
    assert.equal((await run('undo', 'nothing')).code, 3)
    assert.equal((await run('undo')).code, 2)
    const { operations } = await place.client.ndo.operations({ kind: 'volume.create' })
    const created = await run('undo', operations[0]?.id ?? '')
    assert.equal(created.code, 4)
    assert.match(created.stderr, new RegExp(`cinder delete ${place.volumeId}`))

    const id = await place.migrate('cinder-lmb')
    const { session } = place.client
    const service = { binary: 'cinder-volume', host: (await place.host()).split('@')[0] + '@cinder-lma' }
    const put = async (what: string) =>
      session.json('PUT', `/volume/v3/${await session.projectId()}/os-services/${what}`, { body: service })
    await put('disable')
    const planned = await run('undo', id, '--dry-run')
    assert.equal(planned.code, 4)
    assert.match(planned.stdout, /It would be refused\. Nothing was changed\./)
    const refused = await run('undo', id)
    assert.equal(refused.code, 4)
    assert.match(refused.stderr, /cinder-lma is disabled/)
    assert.match(await place.host(), /@cinder-lmb#/)
    await put('enable')
    assert.equal((await run('undo', id, '--watch')).code, 0)
  })

  it('refuses when the retention time is over, with the command for a migration, which then does it', async () => {
    const file = join(place.folder, 'volant.yaml')
    assert.equal((await run('down')).code, 0)
    const config = (await run('config')).stdout
    assert.match(config, /retention: \S+/)
    await writeFile(file, config.replace(/retention: \S+/, 'retention: 1s'))
    await place.up()
    const id = await place.migrate('cinder-lmb')
    await sleep(1000)
    const refused = await run('undo', id)
    assert.equal(refused.code, 4)
    const command = /volant (migrate) (\S+) '(\S+)'/.exec(refused.stderr)
    assert.ok(command, refused.stderr)
    assert.equal((await run(...command.slice(1), '--watch')).code, 0)
    assert.match(await place.host(), /@cinder-lma#/)
  })
})

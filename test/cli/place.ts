import assert from 'node:assert/strict'
import { mkdtemp, open, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { findCredentials } from '@volant/cli'
import { createClient, type VolantClient } from '@volant/client'
import { volant, type Ran } from './volant.ts'

/** A Volant with one detached volume, `data`, in cinder-lma. */
export interface Place {
  folder: string
  client: VolantClient
  volumeId: string
  run(...args: string[]): Promise<Ran>
  host(): Promise<string>
  /** Writes to the volume's image, which nobody has open. */
  write(bytes: number): Promise<void>
  /** Migrates to its end; the operation's id. */
  migrate(backend: string): Promise<string>
  /** Starts it (again). */
  up(): Promise<void>
  close(): Promise<void>
}

export async function openPlace(): Promise<Place> {
  const folder = await mkdtemp(join(tmpdir(), 'vc-'))
  const run = (...args: string[]): Promise<Ran> => volant(...args, '--state', folder)
  const place: Place = {
    folder,
    client: undefined as unknown as VolantClient,
    volumeId: '',
    run,
    host: async () => (await place.client.volume.show(place.volumeId))['os-vol-host-attr:host'] ?? '',
    async write(bytes) {
      const { path } = await place.client.ndo.placement(place.volumeId)
      const file = await open(path ?? '', 'r+')
      await file.write(Buffer.alloc(bytes, 1), 0, bytes, 0)
      await file.close()
    },
    async migrate(backend) {
      const { client, volumeId } = place
      const host = (await client.volume.pools()).find(({ name }) => name.includes(`@${backend}#`))?.name ?? ''
      const { id } = await client.ndo.migrate({ volume: volumeId, host })
      for await (const { state, error } of client.ndo.watch(id)) {
        assert.ok(['running', 'succeeded'].includes(state), error?.reason ?? state)
      }
      return id
    },
    async up() {
      const up = await run('up', '--port', '0')
      assert.equal(up.code, 0, up.stderr)
      place.client = createClient(await findCredentials(folder, true))
    },
    async close() {
      await run('down', '--all')
      await rm(folder, { recursive: true, force: true })
    },
  }
  try {
    await place.up()
    const { volume } = place.client
    place.volumeId = (await volume.create({ name: 'data', size: 1 })).id
    for (const end = Date.now() + 60_000; (await volume.show(place.volumeId)).status !== 'available';) {
      assert.ok(Date.now() < end, 'not in 60 s: the volume is available')
      await sleep(50)
    }
  } catch (error) {
    await place.close()
    throw error
  }
  return place
}

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { DomainError } from '@volant/contract'
import { createShareAgent } from './agent.ts'
import type { FileSystems } from './file-systems.ts'

test('a file system that cannot be stopped keeps no other one up; each that stays is named', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'shares-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const busy = new Set(['first', 'third'])
  const stopped: string[] = []
  const fileSystems = {
    ids: () => ['first', 'second', 'third', 'fourth'],
    async ensureNo(shareId: string) {
      if (busy.has(shareId)) throw new DomainError('unavailable', `/mnt/${shareId} is in use`)
      stopped.push(shareId)
    },
    detach() {},
  } as unknown as FileSystems
  const agent = createShareAgent({ node: 'n', stateDir: folder, runDir: join(folder, 'run'), fileSystems })
  t.after(() => agent.detach())

  await assert.rejects(agent.ensureAllStopped({ fence: 1 }), {
    code: 'unavailable',
    message: '/mnt/first is in use\n/mnt/third is in use',
  })
  assert.deepEqual(stopped, ['second', 'fourth'])

  busy.delete('first')
  await assert.rejects(agent.ensureAllStopped({ fence: 1 }), { message: '/mnt/third is in use' })
})

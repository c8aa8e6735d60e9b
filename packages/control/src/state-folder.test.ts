import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, mkdirSync, rmSync, chmodSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { openStateFolder, removeOutsideRunFolder, runFolder } from './state-folder.ts'

let folder = ''
before(() => {
  folder = mkdtempSync(join(tmpdir(), 'vs-'))
})
after(() => rmSync(folder, { recursive: true, force: true }))

describe('the folder of sockets', () => {
  it('lies in the state folder, and stays there', () => {
    const state = openStateFolder(join(folder, 's'))
    assert.equal(state.run, join(folder, 's', 'run'))
    removeOutsideRunFolder(state)
    assert.ok(existsSync(state.run))
  })

  describe('of a state folder with a long path', () => {
    const path = (): string => join(folder, 'x'.repeat(60 - folder.length))
    after(() => rmSync(runFolder(path()), { recursive: true, force: true }))

    it('lies below /tmp and leaves with the last daemon', () => {
      const state = openStateFolder(path())
      assert.match(state.run, /^\/tmp\/volant-\d+-[0-9a-f]{16}$/)
      removeOutsideRunFolder(state)
      assert.ok(!existsSync(state.run))
    })

    it('is refused where others may write to it', () => {
      mkdirSync(runFolder(path()))
      chmodSync(runFolder(path()), 0o777)
      assert.throws(() => openStateFolder(path()), { code: 'conflict', message: /this user's alone/ })
    })
  })
})

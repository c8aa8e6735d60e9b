import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, mkdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { marker, sweep } from './sweep.ts'

test('what a case leaves is found by its mark and by its folders, and nothing else is touched', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'vb-'))
  mkdirSync(join(folder, 'state'))
  const id = `test-${process.pid}`
  const script = 'process.stdout.write("up"); setInterval(() => {}, 1000)'
  const start = async (env: NodeJS.ProcessEnv, ...words: string[]) => {
    const child = spawn(process.execPath, ['-e', script, ...words], {
      env,
      detached: true,
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    await once(child.stdout, 'data')
    return { child, gone: once(child, 'exit') }
  }
  const marked = await start({ ...process.env, [marker]: id })
  const inFolder = await start({ PATH: process.env['PATH'] }, join(folder, 'state'))
  const stranger = await start({ ...process.env, [marker]: `${id}0` }, `${folder}x`)
  try {
    const found = await sweep({ id, folders: [folder], namespaces: ['vb-none'] })
    await Promise.all([marked.gone, inFolder.gone])
    assert.equal(found.length, 2)
    assert.equal(existsSync(folder), false)
    assert.equal(stranger.child.exitCode ?? stranger.child.signalCode, null, 'a stranger lives')
    assert.deepEqual(await sweep({ id, folders: [folder], namespaces: [] }), [])
  } finally {
    stranger.child.kill('SIGKILL')
    rmSync(folder, { recursive: true, force: true })
  }
})

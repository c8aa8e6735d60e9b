import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { test } from 'node:test'
import { skipNfs } from './nfs-rig.ts'

test(
  'version 3, where rpcbind runs: by the junction path, and invisible to whom no rule admits',
  { skip: skipNfs },
  async (t) => {
    const namespaces = [
      '--mount',
      '--net',
      '--pid',
      '--fork',
      '--kill-child',
      '--mount-proc',
      '--propagation',
      'private',
    ]
    const inside = new URL('nfs3-inside.ts', import.meta.url).pathname
    const child = spawn('unshare', [...namespaces, process.execPath, inside], {
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    t.after(() => child.kill('SIGKILL'))
    let said = ''
    child.stdout.on('data', (text) => (said += String(text)))
    child.stderr.on('data', (text) => (said += String(text)))
    const [code] = (await once(child, 'close')) as [number | null]
    assert.equal(code, 0, said)
  },
)

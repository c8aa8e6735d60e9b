import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { promisify } from 'node:util'
import { parse } from 'yaml'
import { writeClientFiles } from './client-files.ts'

const run = promisify(execFile)

describe('openrc and clouds.yaml', () => {
  let stateDir = ''
  const password = `it's "$HOME" \`id\` \\`
  before(async () => {
    stateDir = await mkdtemp(join(tmpdir(), 'volant-files-'))
    await writeClientFiles({
      stateDir,
      url: 'http://127.0.0.1:8780',
      username: 'admin',
      password,
      projectName: 'admin',
      domainName: 'Default',
      region: 'RegionOne',
    })
  })
  after(() => rm(stateDir, { recursive: true }))

  it('are for their owner only', async () => {
    for (const name of ['openrc', 'clouds.yaml']) {
      assert.equal((await stat(join(stateDir, name))).mode & 0o777, 0o600)
    }
  })

  for (const shell of ['sh', 'bash']) {
    it(`openrc works with ${shell}: password as it is, nothing left of another cloud`, async () => {
      const script = `set -eu; . '${stateDir}/openrc'; . '${stateDir}/openrc'; printf '%s\\n' "$OS_PASSWORD" "$OS_AUTH_URL" "\${OS_CLOUD-unset}" "\${OS_TOKEN-unset}" "$no_proxy"`
      const { stdout } = await run(shell, ['-c', script], {
        env: { PATH: process.env['PATH'], OS_CLOUD: 'other', OS_TOKEN: 'secret', no_proxy: 'example.org' },
      })
      assert.deepEqual(stdout.trimEnd().split('\n'), [
        password,
        'http://127.0.0.1:8780/identity/v3',
        'unset',
        'unset',
        'example.org,127.0.0.1',
      ])
    })
  }

  it('clouds.yaml names the cloud volant', async () => {
    const text = await readFile(join(stateDir, 'clouds.yaml'), 'utf8')
    const { clouds } = parse(text) as { clouds: { volant: { auth: { password: string } } } }
    assert.equal(clouds.volant.auth.password, password)
  })
})

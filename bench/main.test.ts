import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { test } from 'node:test'

/** It finds no program, so that it could not install anything if it tried. */
const bench = (...words: string[]) =>
  spawnSync(process.execPath, [`${import.meta.dirname}/main.ts`, ...words], {
    encoding: 'utf8',
    env: { PATH: '/nonexistent' },
  })

test('without its flag nothing of Cinder is measured or installed', () => {
  const { status, stderr, stdout } = bench('cinder')
  assert.equal(status, 2)
  assert.match(stderr, /^cinder is measured with --with-cinder alone: see --help\.$/m)
  assert.equal(stdout, '')
})

test('--help says what the flag installs', () => {
  const { status, stdout } = bench('--help')
  assert.equal(status, 0)
  assert.match(stdout, /--with-cinder .*installs/)
  for (const name of ['cinder-volume', 'ceph-osd', 'rabbitmq-server', 'mariadb-server-core']) {
    assert.ok(stdout.includes(` ${name}`), name)
  }
})

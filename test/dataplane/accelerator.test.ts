import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { until } from './rig.ts'

const root = join(import.meta.dirname, '../..')

/** A process that begins the trial of KVM and ends in the middle of it. */
const program = (folder: string) => `
import { findAccelerator } from ${JSON.stringify(join(root, 'packages/agent/src/compute/accelerator.ts'))}
import { ensureProbeGuest } from ${JSON.stringify(join(root, 'probe/build.ts'))}
const guest = await ensureProbeGuest(${JSON.stringify(join(root, '.cache'))})
const kernel = { path: guest.kernelPath, initrdPath: guest.initrdPath, commandLine: guest.commandLine }
void findAccelerator(${JSON.stringify(join(folder, 'verdict.json'))}, '7.2', kernel).then((verdict) => console.log(verdict))
`

async function processesNaming(word: string): Promise<string[]> {
  const lines = await Promise.all(
    (await readdir('/proc'))
      .filter((name) => /^\d+$/.test(name) && name !== String(process.pid))
      .map((pid) => readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')),
  )
  return lines.filter((line) => line.includes('qemu-system') && line.includes(word))
}

test('a trial of KVM ends with the process that makes it', { skip: !existsSync('/dev/kvm') }, async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'vg-kvm-'))
  t.after(() => rm(folder, { recursive: true, force: true }))
  const script = [
    '--input-type=module-typescript',
    '--disable-warning=ExperimentalWarning',
    '-e',
    program(folder),
  ]
  const maker = spawn(process.execPath, script, { env: { ...process.env, TMPDIR: folder }, stdio: 'ignore' })
  const ended = once(maker, 'exit')
  await until('the trial runs', async () => (await processesNaming(folder)).length > 0)
  maker.kill('SIGKILL')
  await ended
  await until('the trial has ended too', async () => (await processesNaming(folder)).length === 0)
})

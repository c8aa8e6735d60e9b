import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { rm } from 'node:fs/promises'
import { promisify } from 'node:util'
import { row, spreadOf, type BenchCase, type Row } from '../bench-case.ts'
import { median, timed } from '../measure.ts'
import { serve } from '../rig/control-plane.ts'

const run = promisify(execFile)

interface Started {
  /** From the start of the process, in milliseconds. */
  firstRequestMs: number
  firstCinderListMs: number
  /** `cinder list` once more, of a control plane that has long been there. */
  clientMs: number
  restartMs: number
}

/** How soon a control plane answers after its start. */
export const start: BenchCase = {
  name: 'start',
  title: 'Start',
  async run({ folder, quick, say }) {
    await run('cinder', ['--version']).catch(() => {
      throw new Error('the stock client `cinder` is not installed; Debian has it as python3-cinderclient.')
    })
    const all: Started[] = []
    for (let round = 0; round < (quick ? 3 : 5); round += 1) all.push(await once(join(folder, `s${round}`)))
    say(`${all.length} starts`)
    return rowsOf(all)
  },
}

/** A start with an empty state folder, and a second one of the same. */
async function once(stateDir: string): Promise<Started> {
  const fresh = await serve(stateDir)
  const { firstRequestMs } = fresh
  let firstCinderListMs
  let clientMs
  try {
    await cinderList(stateDir)
    firstCinderListMs = performance.now() - fresh.startedAt
    clientMs = (await timed(() => cinderList(stateDir))).ms
  } finally {
    await fresh.stop()
  }
  const again = await serve(stateDir)
  await again.stop()
  await rm(stateDir, { recursive: true, force: true })
  return { firstRequestMs, firstCinderListMs, clientMs, restartMs: again.firstRequestMs }
}

/** As a person does it; throws where the client fails. */
async function cinderList(stateDir: string): Promise<void> {
  const script = '. "$0/openrc" && exec cinder list'
  const env = { PATH: process.env['PATH'] ?? '', HOME: stateDir, PYTHONWARNINGS: 'ignore' }
  await run('sh', ['-c', script, stateDir], { env, timeout: 30_000 })
}

function rowsOf(all: Started[]): Row[] {
  const seconds = (pick: (one: Started) => number) => all.map((one) => pick(one) / 1000)
  const line = (name: string, values: number[], more: { target?: string; note?: string } = {}) =>
    row({ name, value: median(values), unit: 's', spread: spreadOf(values), ...more })
  return [
    line(
      'Start to first successful `cinder list`',
      seconds((one) => one.firstCinderListMs),
      {
        target: '<= 2',
        note: '`volant serve` with an empty state folder (makes the database, the certificates and the administrator), then `source openrc && cinder list`',
      },
    ),
    line(
      '… of it, `cinder list` itself',
      seconds((one) => one.clientMs),
      {
        note: 'the same command once more: Python, authentication and one list',
      },
    ),
    line(
      '… without the client',
      seconds((one) => one.firstCinderListMs - one.clientMs),
    ),
    line(
      'Start to first successful HTTP request, empty state folder',
      seconds((one) => one.firstRequestMs),
      {
        target: '<= 2',
      },
    ),
    line(
      'Start to first successful HTTP request, second start',
      seconds((one) => one.restartMs),
      { target: '<= 2' },
    ),
  ]
}

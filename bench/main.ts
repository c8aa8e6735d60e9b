/**
 * `npm run bench [-- NAME… --quick]`: measures what the budgets speak of, and writes bench/results/latest.md, latest.json
 * and a chart for each measurement. A missed target is a figure, not a failure: the exit code is 1 only where a figure
 * could not be taken.
 */
import { mkdirSync } from 'node:fs'
import { constants, loadavg } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { plan, type Planned } from './cases.ts'
import { describeMachine } from './machine.ts'
import { cinderPackages, ensureCinderInstalled } from './rig/cinder/packages.ts'
import { writeReport, type Section } from './report.ts'
import { createRunner, type Runner } from './runner.ts'

const fullMinutes = 35
/** Beyond that, where the real Cinder is asked for. */
const cinderMinutes = 8

const usage = `npm run bench [-- [--quick] [--minutes N] [--output FOLDER] [NAME…]]

Measures, side by side with its references, what Volant promises; writes latest.md, latest.json and charts as SVG.
A measurement that fails, or takes far longer than it should, is reported as such; the others go on.

  --quick          smaller images and fewer repeats: less exact
  --minutes N      when the whole run is to be over, default ${fullMinutes} (${fullMinutes + cinderMinutes} with Cinder); what it does not suffice for is left out, and named
  --with-cinder    also beside a real Cinder (cinder): installs, from Debian 12 and as root, what of it is missing, some 550 MB:
                   ${cinderPackages.join(' ')}
                   They stay installed. None of their services is started, then or by the measurement, which runs the
                   programs on loopback in a folder of its own; where the machine boots with systemd, disable them
  --output FOLDER  where the results go; default bench/results (all cases), .cache/bench (some)
  NAME             only these, in this order of the run; seconds on two idle cores, in brackets of a quick run:

${plan.map(lineOf).join('\n')}
`

process.exitCode = await main(process.argv.slice(2))

async function main(args: string[]): Promise<number> {
  const options = {
    quick: { type: 'boolean' },
    minutes: { type: 'string' },
    output: { type: 'string' },
    'with-cinder': { type: 'boolean' },
    help: { type: 'boolean', short: 'h' },
  } as const
  const { values, positionals } = parseArgs({ args, options, allowPositionals: true })
  const unknown = positionals.filter((name) => !plan.some(({ one }) => one.name === name))
  const minutes = Number(values.minutes ?? fullMinutes + (values['with-cinder'] === true ? cinderMinutes : 0))
  if (values.help === true || unknown.length > 0 || !(minutes > 0)) {
    if (unknown.length > 0) console.error(`There is no measurement ${unknown.join(', ')}.\n`)
    if (!(minutes > 0)) console.error('--minutes is a number above 0.\n')
    console.log(usage)
    return values.help === true ? 0 : 2
  }
  const withCinder = values['with-cinder'] ?? false
  const wanted = chosen(positionals, withCinder)
  if (typeof wanted === 'string') {
    console.error(wanted)
    return 2
  }
  if (wanted.some(({ flag }) => flag === 'with-cinder')) ensureCinderInstalled((text) => console.error(text))
  const root = join(import.meta.dirname, '..')
  const folder =
    values.output ?? (positionals.length === 0 ? join(root, 'bench/results') : join(root, '.cache/bench'))
  mkdirSync(folder, { recursive: true })
  const [startedAt, begun, load] = [new Date(), performance.now(), loadavg()[0] ?? 0]
  const quick = values.quick ?? false
  const runner = createRunner({
    quick,
    root,
    end: begun + minutes * 60_000,
    patienceMs: quick ? 10_000 : 60_000,
  })
  abandonOnSignals(runner)
  const sections: Section[] = []
  for (const one of wanted) {
    sections.push(await runner.run(one))
    // After each, so that what was measured is there whatever happens to the run.
    const seconds = (performance.now() - begun) / 1000
    writeReport(folder, { sections, machine: describeMachine(), quick, startedAt, seconds, load })
  }
  console.log(`\nThe results are in ${join(folder, 'latest.md')}.`)
  const failed = sections.filter(({ failure }) => failure !== undefined)
  for (const { title, failure } of failed) console.log(`NOT MEASURED: ${title}: ${failure}`)
  return failed.length > 0 ? 1 : 0
}

/** Those that are asked for, or why that can't be. */
function chosen(names: string[], withCinder: boolean): Planned[] | string {
  const asked = plan.filter(({ one }) => names.length === 0 || names.includes(one.name))
  const left = asked.filter(({ flag }) => flag !== undefined && !withCinder)
  if (names.length > 0 && left.length > 0) {
    return left.map(({ one, flag }) => `${one.name} is measured with --${flag} alone: see --help.`).join('\n')
  }
  return asked.filter((one) => !left.includes(one))
}

/** As `--help` has it. */
function lineOf({ one, seconds, quickSeconds, flag }: Planned): string {
  const times = `${seconds} (${quickSeconds})`
  return `    ${one.name.padEnd(18)}${times.padEnd(12)}${one.title}${flag === undefined ? '' : ` (with --${flag} alone)`}`
}

function abandonOnSignals(runner: Runner): void {
  let isEnding = false
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      if (isEnding) return
      isEnding = true
      console.error(`\n${signal}: ending what runs`)
      void runner.abandon().finally(() => process.exit(128 + constants.signals[signal]))
    })
  }
}

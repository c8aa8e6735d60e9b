/**
 * The main job, start to end, with evidence: `npm run demo`. Exits 0 only if everything that must hold was seen
 * to hold. `npm run demo -- --keep` leaves it running.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { createClient } from '@volant/client'
import { findCredentials } from '@volant/cli'
import { messageOf } from '@volant/contract/errors.ts'
import { processesUsing } from '../test/leftovers.ts'
import { findTypist } from './clients.ts'
import { evidenceText } from './evidence.ts'
import { heading, say } from './narrator.ts'
import { tellTheStory } from './story.ts'

const program = resolve(import.meta.dirname, '../../bin/volant')

/** The end of the last `bin/volant` that was started. */
let lastCommand: Promise<unknown> = Promise.resolve()

/** Runs `bin/volant`; its output is the demo's. Throws where it fails. A Ctrl-C for the demo does not reach it. */
async function volant(...argv: string[]): Promise<void> {
  const child = spawn(program, argv, { stdio: ['ignore', 'inherit', 'inherit'], detached: true })
  lastCommand = once(child, 'close')
  const [code] = (await once(child, 'exit')) as [number | null]
  if (code !== 0) throw new Error(`volant ${argv.join(' ')} ended with exit code ${code}`)
}

/** Stops everything below the state folder and proves it. */
async function stopAll(stateDir: string): Promise<void> {
  // Interrupted while it was starting, there would be nothing to stop yet.
  await lastCommand
  await volant('down', '--all', '--state', stateDir)
  const left = await processesUsing(stateDir)
  if (left.length > 0) {
    throw new Error(
      `still running: ${left.map(({ pid, command }) => `${pid} ${command.slice(0, 100)}`).join('; ')}`,
    )
  }
}

function keepText(stateDir: string): string {
  return [
    'It is left running. Look around:',
    `  source ${stateDir}/openrc`,
    '  nova start ubuntu-instance; nova console-log ubuntu-instance',
    '  cinder get-pools --detail; cinder list; openstack server list',
    '  bin/volant status; bin/volant migrate data cinder-lma --watch; bin/volant probe verify data',
    '  bin/volant operations list --kind volume.migrate; bin/volant undo OPERATION --dry-run',
    'Stop it, and remove it:',
    `  bin/volant down --all --state ${stateDir} && rm -r ${stateDir}`,
  ].join('\n')
}

async function play(stateDir: string): Promise<boolean> {
  heading('Volant starts on its built-in configuration: two storage clusters, two compute hosts')
  await volant('up', '--state', stateDir, '--port', '0')
  const client = createClient(await findCredentials(stateDir, true))
  const findings = await tellTheStory(client, await findTypist(join(stateDir, 'openrc'), client))
  heading('Evidence')
  say(evidenceText(findings))
  const holds = findings.every((finding) => finding.ok)
  say(holds ? '\nAll of it holds.' : '\nNOT all of it holds.')
  return holds
}

class Interrupted extends Error {}

/** Rejects with the first signal that asks to end. */
const interrupted = new Promise<never>((_, reject) => {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => reject(new Interrupted(`ended by ${signal}`)))
  }
})

const usage =
  'Usage: npm run demo [-- --keep]\n  --keep  leave it running, and say how to look around and how to stop it'

/** Undefined where there is anything else. */
function readArguments(): { keep?: boolean; help?: boolean } | undefined {
  try {
    return parseArgs({ options: { keep: { type: 'boolean' }, help: { type: 'boolean' } } }).values
  } catch {
    return undefined
  }
}

async function main(): Promise<number> {
  const values = readArguments()
  if (values === undefined) {
    process.stderr.write(`demo: unknown argument among ${process.argv.slice(2).join(' ')}\n${usage}\n`)
    return 2
  }
  if (values.help === true) {
    say(usage)
    return 0
  }
  const started = Date.now()
  const stateDir = await mkdtemp(join(tmpdir(), 'volant-demo-'))
  let holds = false
  let keepFiles = true
  let interruptedByUser = false
  try {
    holds = await Promise.race([play(stateDir), interrupted])
  } catch (error) {
    interruptedByUser = error instanceof Interrupted
    keepFiles = !interruptedByUser
    say(`\n${keepFiles ? 'FAILED: ' : ''}${messageOf(error)}`)
  }
  if (values.keep === true && holds) {
    say(`\n${keepText(stateDir)}`)
    return 0
  }
  try {
    await stopAll(stateDir)
  } catch (error) {
    say(`FAILED to stop everything: ${messageOf(error)}`)
    holds = false
    keepFiles = true
  }
  if (holds || !keepFiles) await rm(stateDir, { recursive: true, force: true })
  else
    say(
      `The logs and the images are kept: ${stateDir} (logs in ${stateDir}/log, each server's console below it)`,
    )
  say(`(${((Date.now() - started) / 1000).toFixed(0)} s)`)
  if (interruptedByUser) return 130
  return holds ? 0 : 1
}

process.exitCode = await main()
// A poll that was interrupted may still be waiting.
setTimeout(() => process.exit(), 1000).unref()

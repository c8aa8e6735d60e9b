import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, open, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { CliError, exitCodes } from '../exit-codes.ts'
import { programCommand } from './program-command.ts'
import { runningInstance, type InstanceRecord } from './record.ts'
import { prepareStateFolder } from './state-folder.ts'

export interface StartOptions {
  stateDir: string
  port: number
  configFile?: string
  /** The file with `main()`: run again, as `serve`. */
  program: string
  /** Milliseconds. */
  timeoutMs?: number
}

export interface Started {
  record: InstanceRecord & { url: string }
  alreadyRunning: boolean
}

const logFile = (stateDir: string): string => join(stateDir, 'log', 'volant.log')

/** What the new process has written to its log since `from`. */
async function newLog(stateDir: string, from: number): Promise<string> {
  const text = await readFile(logFile(stateDir))
  return text.subarray(from).toString('utf8')
}

/** The error of a start that did not succeed, with the exit code of `serve` where it had one. */
async function failure(
  stateDir: string,
  from: number,
  what: string,
  code: number | null = null,
): Promise<CliError> {
  const exitCode = Object.values(exitCodes).find((known) => known !== 0 && known === code) ?? exitCodes.failed
  const lines = (await newLog(stateDir, from)).trimEnd().split('\n')
  const said = lines
    .filter((line) => line.startsWith('volant: '))
    .map((line) => line.slice('volant: '.length))
  if (said.length > 0) return new CliError(exitCode, said.join('\n'))
  const tail = lines.slice(-15).map((line) => `  | ${line.slice(0, 500)}`)
  return new CliError(exitCode, `${what}. The end of ${logFile(stateDir)}:\n${tail.join('\n')}`)
}

async function spawnServe(options: StartOptions): Promise<{ child: ChildProcess; logFrom: number }> {
  const log = logFile(options.stateDir)
  await mkdir(join(options.stateDir, 'log'), { recursive: true, mode: 0o700 })
  const handle = await open(log, 'a', 0o600)
  try {
    const logFrom = (await stat(log)).size
    const config = options.configFile === undefined ? [] : ['--config', options.configFile]
    const [command, ...words] = programCommand(options.program)
    const child = spawn(
      command,
      [...words, 'serve', '--state', options.stateDir, '--port', String(options.port), ...config],
      { detached: true, stdio: ['ignore', handle.fd, handle.fd], cwd: '/' },
    )
    child.unref()
    return { child, logFrom }
  } finally {
    await handle.close()
  }
}

const isReady = (record: InstanceRecord | undefined): record is InstanceRecord & { url: string } =>
  record !== undefined && record.url !== null

/** Starts `serve` in the background; returns when it is ready, also where one runs already. */
export async function startInBackground(options: StartOptions): Promise<Started> {
  await prepareStateFolder(options.stateDir)
  const existing = await runningInstance(options.stateDir)
  if (isReady(existing)) return { record: existing, alreadyRunning: true }
  const { child, logFrom } = await spawnServe(options)
  let ended: string | undefined
  let endedWith: number | null = null
  child.on('exit', (code, signal) => {
    endedWith = code
    ended = `Volant ended while it started (${signal ?? `exit code ${code}`})`
  })
  child.on('error', (error) => {
    ended = `Volant could not be started: ${error.message}`
  })
  const deadline = Date.now() + (options.timeoutMs ?? 60_000)
  for (;;) {
    const record = await runningInstance(options.stateDir)
    const own = record === undefined || record.pid === child.pid
    // Of two that start at once, one has the folder; the other waits for it, and has what it wanted.
    if (isReady(record) && (own || ended !== undefined)) return { record, alreadyRunning: !own }
    if (ended !== undefined && own) throw await failure(options.stateDir, logFrom, ended, endedWith)
    if (Date.now() > deadline) {
      if (child.kill('SIGKILL')) await once(child, 'exit')
      throw await failure(options.stateDir, logFrom, 'Volant was not ready in time and was stopped')
    }
    await sleep(20)
  }
}

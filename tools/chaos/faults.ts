/** What breaks the system. Everything that is broken for a time is put right again before its promise resolves. */
import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, watch } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout as sleep } from 'node:timers/promises'
import { killNow, processesOf, type Process } from '../../test/crash/processes.ts'
import type { Place } from './place.ts'
import type { Victim } from './schedule.ts'

export type Tell = (text: string) => void

const pickOf = <T>(all: readonly T[], pick: number): T | undefined => all[Math.floor(pick * all.length)]

async function candidates({ plane }: Place, victim: Victim): Promise<Process[]> {
  const all = await processesOf(plane.stateDir)
  // In the order of their command lines: pids are another matter in each run.
  return all
    .filter(({ kind }) => kind === victim)
    .sort((a, b) => (a.command < b.command ? -1 : a.command > b.command ? 1 : a.pid - b.pid))
}

export async function kill(
  place: Place,
  victim: Victim | 'machine',
  pick: number,
  tell: Tell,
): Promise<boolean> {
  const chosen =
    victim === 'machine'
      ? await processesOf(place.plane.stateDir)
      : [pickOf(await candidates(place, victim), pick)].filter((process) => process !== undefined)
  if (chosen.length === 0) {
    tell(`no ${victim} to kill`)
    return false
  }
  tell(`kills ${chosen.map(({ kind, pid }) => `${kind} ${pid}`).join(', ')}`)
  await killNow(chosen.map(({ pid }) => pid))
  return chosen.some(({ kind }) => kind === 'control plane')
}

export async function stop(
  place: Place,
  victim: Victim,
  pick: number,
  ms: number,
  tell: Tell,
): Promise<void> {
  const chosen = pickOf(await candidates(place, victim), pick)
  if (chosen === undefined) return tell(`no ${victim} to stop`)
  tell(`stops ${victim} ${chosen.pid}`)
  await hold(chosen, ms, tell)
}

/** SIGSTOP for so long. */
async function hold({ pid, kind }: Process, ms: number, tell: Tell): Promise<void> {
  const signal = (name: NodeJS.Signals): void => {
    try {
      process.kill(pid, name)
    } catch (error) {
      // Killed meanwhile.
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
    }
  }
  signal('SIGSTOP')
  try {
    await sleep(ms)
  } finally {
    signal('SIGCONT')
    tell(`lets ${kind} ${pid} go on`)
  }
}

/** How long a strike waits for a cutover. */
const ambushMs = 15_000

/** Waits until a cutover is begun (its guard is ready), a little longer, and then kills or stops; false: none came. */
export async function strike(
  place: Place,
  deed: { victim: Victim; pick: number; ms: number; delayMs: number; kills: boolean },
  tell: Tell,
): Promise<boolean> {
  const { victim, pick, ms, delayMs, kills } = deed
  // Looked for before: that takes longer than the moment that is meant. The guard is there only then.
  let chosen = pickOf(await candidates(place, victim), pick)
  if (!(await nextCutover(place))) {
    tell('no cutover to strike at')
    return false
  }
  if (victim === 'guard') chosen = pickOf(await candidates(place, victim), pick)
  await sleep(delayMs)
  if (chosen === undefined || !isThere(chosen)) {
    tell(`a cutover, and no ${victim}`)
    return false
  }
  tell(`a cutover: ${kills ? 'kills' : 'stops'} ${victim} ${chosen.pid}`)
  if (kills) {
    await killNow([chosen.pid])
    return victim === 'control plane'
  }
  await hold(chosen, ms, tell)
  return false
}

/** Whether it is still that process: its number may be another one's by now. */
function isThere({ pid, command }: Process): boolean {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim() === command
  } catch {
    return false
  }
}

/** Whether a guard gets ready inside the bound. */
async function nextCutover({ plane }: Place): Promise<boolean> {
  const machines = join(plane.stateDir, 'machines')
  const closes: (() => void)[] = []
  try {
    return await new Promise((resolve) => {
      const timer = setTimeout(resolve, ambushMs, false)
      closes.push(() => clearTimeout(timer))
      for (const machine of readdirSync(machines)) {
        const folder = join(machines, machine, 'cutovers')
        if (!existsSync(folder)) continue
        const watcher = watch(folder, (_, name) => {
          if (name?.endsWith('.guard') === true && existsSync(join(folder, name))) resolve(true)
        })
        closes.push(() => watcher.close())
      }
    })
  } finally {
    for (const close of closes) close()
  }
}

const inNamespace = (program: 'ip' | 'tc', namespace: string, ...args: string[]): void =>
  void execFileSync(program, ['-n', namespace, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })

/** Names of cables that are down or slow now: one fault at a time for each. */
const busy = new Set<string>()

async function during(
  name: string,
  tell: Tell,
  begin: () => void,
  ms: number,
  end: () => void,
): Promise<void> {
  if (busy.has(name)) return tell(`${name} is broken already`)
  busy.add(name)
  try {
    begin()
    await sleep(ms)
  } finally {
    end()
    busy.delete(name)
  }
}

/** The machine's cable is pulled. */
export async function cut({ network }: Place, pick: number, ms: number, tell: Tell): Promise<void> {
  const name = pickOf(network.names, pick) as string
  await during(
    `cable of ${name}`,
    tell,
    () => {
      tell(`cuts ${name} off`)
      inNamespace('ip', name, 'link', 'set', 'eth0', 'down')
    },
    ms,
    () => {
      inNamespace('ip', name, 'link', 'set', 'eth0', 'up')
      tell(`${name} is connected again`)
    },
  )
}

/** What the machine sends goes through 4 Mbit/s. */
export async function throttle({ network }: Place, pick: number, ms: number, tell: Tell): Promise<void> {
  const name = pickOf(network.names, pick) as string
  const qdisc = ['dev', 'eth0', 'root']
  await during(
    `rate of ${name}`,
    tell,
    () => {
      tell(`throttles ${name}`)
      inNamespace(
        'tc',
        name,
        'qdisc',
        'add',
        ...qdisc,
        'tbf',
        'rate',
        '4mbit',
        'burst',
        '32k',
        'latency',
        '2s',
      )
    },
    ms,
    () => {
      inNamespace('tc', name, 'qdisc', 'del', ...qdisc)
      tell(`${name} is fast again`)
    },
  )
}

export async function fill({ disks }: Place, pick: number, ms: number, tell: Tell): Promise<void> {
  const index = Math.floor(pick * disks.length)
  const disk = disks[index]
  if (disk === undefined) return
  await during(
    `disk ${index}`,
    tell,
    () => {
      tell(`fills the disk of cluster ${index + 1}`)
      disk.fill()
    },
    ms,
    () => {
      disk.free()
      tell(`the disk of cluster ${index + 1} has room again`)
    },
  )
}

/** Another process holds the database's write lock. */
export async function lockDatabase({ plane }: Place, ms: number, tell: Tell): Promise<void> {
  const db = new DatabaseSync(join(plane.stateDir, 'volant.db'), { timeout: 500 })
  try {
    db.exec('begin immediate')
    tell('locks the database')
    await sleep(ms)
    db.exec('rollback')
    tell('lets go of the database')
  } catch (error) {
    tell(`the database was locked already: ${String(error)}`)
  } finally {
    db.close()
  }
}

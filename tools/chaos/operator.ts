/** What people do meanwhile: they migrate, pause, slow down, cancel, attach and detach. Refusals are part of it. */
import { setTimeout as sleep } from 'node:timers/promises'
import { ApiError } from '@volant/client'
import { messageOf } from '@volant/contract/errors.ts'
import { isSettled, type Operation } from '@volant/contract/ndo/operation.ts'
import { startMigration } from '../../test/migration/plane.ts'
import { detach } from '../../test/crash/world.ts'
import type { Tell } from './faults.ts'
import type { Place } from './place.ts'

/** A fault of the program: an answer 500. Everything else may be said by a system in which things are broken. */
export class ProgramFault extends Error {}

/** Does it, and tells how it went. */
async function attempt(what: string, tell: Tell, act: () => Promise<string>): Promise<void> {
  try {
    tell(`${what}: ${await act()}`)
  } catch (error) {
    if (error instanceof ApiError && error.status === 500) {
      throw new ProgramFault(`${what}: answered 500: ${error.message}`, { cause: error })
    }
    tell(`${what}: refused or not reached: ${messageOf(error)}`)
  }
}

const jobsOf = ({ jobs, extra }: Place) => [...jobs, extra]

export function migrate(place: Place, pick: number, rate: number, tell: Tell): Promise<void> {
  const all = jobsOf(place)
  const index = Math.floor(pick * all.length)
  const job = all[index]
  if (job === undefined) return Promise.resolve()
  return attempt(`migrates volume ${index + 1} at ${rate}`, tell, async () => {
    return (await startMigration(place.plane, job, { rate })).id
  })
}

async function activeMigrations({ plane }: Place): Promise<Operation[]> {
  const { operations } = await plane.client.ndo.operations({ kind: 'volume.migrate', limit: 50 })
  return operations.filter(({ state }) => !isSettled(state)).sort((a, b) => (a.id < b.id ? -1 : 1))
}

type Wish = (ndo: Place['plane']['client']['ndo'], id: string) => Promise<unknown>

/** Of a migration that is under way, if there is one. */
function wish(place: Place, what: string, pick: number, tell: Tell, act: Wish): Promise<void> {
  return attempt(what, tell, async () => {
    const all = await activeMigrations(place)
    const chosen = all[Math.floor(pick * all.length)]
    if (chosen === undefined) return 'nothing is under way'
    await act(place.plane.client.ndo, chosen.id)
    return chosen.id
  })
}

export const cancel = (place: Place, pick: number, tell: Tell): Promise<void> =>
  wish(place, 'cancels', pick, tell, (ndo, id) => ndo.cancel(id))

export const setRate = (place: Place, pick: number, rate: number, tell: Tell): Promise<void> =>
  wish(place, `sets the rate ${rate}`, pick, tell, (ndo, id) => ndo.setRate(id, rate))

export async function pause(place: Place, pick: number, ms: number, tell: Tell): Promise<void> {
  let paused: string | undefined
  await wish(place, 'pauses', pick, tell, async (ndo, id) => {
    await ndo.pause(id)
    paused = id
  })
  if (paused === undefined) return
  const id = paused
  await sleep(ms)
  await attempt('resumes', tell, async () => (await place.plane.client.ndo.resume(id)).id)
}

export function attachOrDetach({ plane, extra }: Place, tell: Tell): Promise<void> {
  return attempt('attaches or detaches the extra volume', tell, async () => {
    const { status } = await plane.client.volume.show(extra.volumeId)
    if (status === 'in-use') {
      await detach(plane, extra.serverId, extra.volumeId)
      return 'detached'
    }
    if (status === 'available') {
      await plane.client.compute.attach(extra.serverId, extra.volumeId)
      return 'attached'
    }
    return `it is ${status}`
  })
}

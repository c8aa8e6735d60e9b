/** The place of the move's crash tests: a FlexVol with an attached volume, a detached one, and snapshots of both. */
import { setTimeout as sleep } from 'node:timers/promises'
import { join } from 'node:path'
import { attachAndWrite, detach, newVolume, takeSnapshot, type Volume } from '../../move/cast.ts'
import { aggregateNames, openPlace, type Guest, type Place } from '../../move/place.ts'
import { usersOf } from '../../move/users.ts'
import { openGate, type Gate } from '../gate.ts'

/** Both aggregates on one node, beside the guest; or two nodes and the guest on three machines. */
export const moveWheres = ['here', 'apart'] as const
export type MoveWhere = (typeof moveWheres)[number]

export interface MoveWorld {
  where: MoveWhere
  place: Place
  gate: Gate
  volumes: Volume[]
  close(): Promise<void>
}

export const otherAggregate = (aggregate: string): string =>
  String(aggregateNames.find((name) => name !== aggregate))

export async function openMoveWorld(where: MoveWhere = 'here'): Promise<MoveWorld> {
  const place = await openPlace({
    guests: 1,
    apart: where === 'apart',
    say: () => {},
    config: 'agents: processes\n',
    program: join(import.meta.dirname, '../serve.ts'),
  })
  try {
    const users = usersOf(place.plane)
    const volumes: Volume[] = []
    for (const [name, snapshots] of [
      ['rest', 1],
      ['live', 2],
    ] as const) {
      const volume = newVolume(await users.create({ name, size: 1 }), name, 1)
      volumes.push(volume)
      await attachAndWrite(place, users, volume, place.guests[0] as Guest)
      for (let i = 0; i < snapshots; i++) {
        await sleep(1000)
        await takeSnapshot(place, users, volume)
      }
    }
    await detach(place, users, volumes[0] as Volume)
    return {
      where,
      place,
      gate: openGate(place.plane.stateDir),
      volumes,
      async close() {
        const problems = await place.close()
        if (problems.length > 0) throw new Error(problems.join('; '))
      },
    }
  } catch (error) {
    await place.close().catch(() => [])
    throw error
  }
}

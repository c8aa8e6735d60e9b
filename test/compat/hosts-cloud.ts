import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pino } from 'pino'
import { createImages } from '../../packages/control/src/http/image/service.ts'
import { systemClock } from '../../packages/control/src/ports/clock.ts'
import { openComputeRig } from '../integration/compute-rig.ts'
import { startCloud, type Cloud } from './stock-client.ts'

export interface HostsCloud {
  cloud: Cloud
  /** Run Debian's clients; what they print. A failure fails the test. */
  nova(...args: string[]): Promise<string>
  openstack(...args: string[]): Promise<string>
  stop(): Promise<void>
}

/** Two simulated compute hosts, the second in a zone of its own, and an image `small`, for the stock clients. */
export async function startHostsCloud(): Promise<HostsCloud> {
  let stopRig = async (): Promise<void> => {}
  const cloud = await startCloud(async ({ db, identity, stateDir }) => {
    const log = pino({ level: 'silent' })
    const images = await createImages({ db, stateDir, clock: systemClock, log, tokens: identity.tokens })
    const path = join(stateDir, 'kernel.file')
    await writeFile(path, Buffer.alloc(4096, 'k'))
    const kernel = await images.registry.ensureBuiltin({
      name: 'kernel',
      path,
      diskFormat: 'aki',
      containerFormat: 'aki',
      properties: {},
      visibility: 'public',
    })
    await images.registry.ensureBuiltin({
      name: 'small',
      path,
      diskFormat: 'raw',
      containerFormat: 'bare',
      properties: { kernel_id: kernel.id },
      visibility: 'public',
    })
    const rig = await openComputeRig({
      tokens: identity.tokens,
      images: images.registry,
      definitions: { 'compute-2': { availabilityZone: 'east', memoryMiB: 4096 } },
    })
    stopRig = rig.stop
    return [images.service, ...rig.services]
  })
  const client =
    (program: string) =>
    async (...args: string[]): Promise<string> => {
      const result = await cloud.run(program, args)
      assert.equal(result.code, 0, `${program} ${args.join(' ')}: ${result.stderr}${result.stdout}`)
      return result.stdout
    }
  return {
    cloud,
    nova: client('nova'),
    openstack: client('openstack'),
    async stop() {
      await stopRig()
      await cloud.stop()
    },
  }
}

/** The cells of each row of a client's table. */
export const rows = (table: string): string[][] =>
  table
    .split('\n')
    .filter((line) => line.startsWith('|'))
    .map((line) =>
      line
        .split('|')
        .slice(1, -1)
        .map((cell) => cell.trim()),
    )
export const rowOf = (table: string, ...cells: string[]): string[] =>
  rows(table).find((row) => cells.every((cell) => row.includes(cell))) ?? []
export const property = (table: string, name: string): string =>
  rows(table).find((row) => row[0] === name)?.[1] ?? ''

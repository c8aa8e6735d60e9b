import assert from 'node:assert/strict'
import { openShareRig, type ShareRig } from '../integration/share-rig.ts'
import { startCloud } from './stock-client.ts'

/** Rows of a table as the clients print it. */
export const rowsOf = (text: string): string[][] =>
  text
    .split('\n')
    .filter((line) => line.startsWith('|'))
    .map((line) =>
      line
        .slice(1, -1)
        .split('|')
        .map((cell) => cell.trim()),
    )
export const propertiesOf = (text: string): Record<string, string> =>
  Object.fromEntries(rowsOf(text).map(([key = '', value = '']) => [key, value]))

export async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  for (let look = 0; look < 2000; look++) {
    if (await holds()) return
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  throw new Error(`it never came true: ${what}`)
}

/** Debian's `manila`, unmodified, before the Shared File Systems API over simulated nodes. */
export async function openManila() {
  let made: ShareRig | undefined
  const cloud = await startCloud(async ({ identity }) => {
    made = await openShareRig({ tokens: identity.tokens })
    return made.services
  })
  const rig = made as ShareRig
  const manila = async (...args: string[]): Promise<string> => {
    const result = await cloud.run('manila', args)
    assert.equal(result.code, 0, `manila ${args.join(' ')}: ${result.stderr}`)
    return result.stdout
  }
  return {
    cloud,
    rig,
    manila,
    async refused(reason: RegExp, ...args: string[]): Promise<void> {
      const result = await cloud.run('manila', args)
      assert.notEqual(result.code, 0, `manila ${args.join(' ')} was not refused`)
      assert.match(result.stderr + result.stdout, reason)
    },
    shown: async (name: string) => propertiesOf(await manila('show', name)),
    /** By the records: the client is asked when it is true. */
    async taskState(id: string, state: string): Promise<void> {
      await until(`task state ${state}`, async () => {
        const query = rig.world.db.selectFrom('shares').select('task_state').where('id', '=', id)
        return (await query.executeTakeFirst())?.task_state === state
      })
    },
    async idle(id: string): Promise<void> {
      await rig.idle(`share-migration/${id}`)
      await rig.idle(`share/${id}`)
    },
    async stop(): Promise<void> {
      await cloud.stop()
      await rig.stop()
    },
  }
}

export type ManilaClient = Awaited<ReturnType<typeof openManila>>

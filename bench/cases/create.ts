import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { row, spreadOf, type BenchCase, type Row } from '../bench-case.ts'
import { quantile } from '../measure.ts'
import { serve } from '../rig/control-plane.ts'
import { openRequests, type Requests } from '../rig/requests.ts'

interface Shown {
  volume: { id: string; status: string }
}

/** How often the status is asked for: what is measured is exact to this. */
const askEveryMs = 2
const longestMs = 10_000

/** From `POST /volumes` to the first answer that says `available`. */
export const create: BenchCase = {
  name: 'create',
  title: 'Create a volume',
  async run({ folder, quick }) {
    const served = await serve(join(folder, 's'))
    try {
      const requests = await openRequests(served.credentials)
      const root = `/volume/v3/${requests.projectId}`
      await requests.send('PUT', `${root}/os-quota-sets/${requests.projectId}`, {
        quota_set: { volumes: -1, gigabytes: -1 },
      })
      for (let i = 0; i < 5; i += 1) await createOne(requests, root, i)
      const all: Created[] = []
      for (let i = 0; i < (quick ? 30 : 50); i += 1) all.push(await createOne(requests, root, i))
      requests.close()
      return rowsOf(all)
    } finally {
      await served.stop()
    }
  },
}

interface Created {
  availableMs: number
  answeredMs: number
}

async function createOne(requests: Requests, root: string, i: number): Promise<Created> {
  const begun = performance.now()
  const { text, ms } = await requests.send('POST', `${root}/volumes`, {
    volume: { name: `bench-${i}`, size: 1 },
  })
  const { volume } = JSON.parse(text) as Shown
  for (;;) {
    const shown = JSON.parse((await requests.send('GET', `${root}/volumes/${volume.id}`)).text) as Shown
    const availableMs = performance.now() - begun
    if (shown.volume.status === 'available') return { availableMs, answeredMs: ms }
    if (shown.volume.status !== 'creating' || availableMs > longestMs) {
      throw new Error(`A new volume is ${shown.volume.status} after ${availableMs.toFixed(0)} ms.`)
    }
    await sleep(askEveryMs)
  }
}

function rowsOf(all: Created[]): Row[] {
  const available = all.map(({ availableMs }) => availableMs)
  const answered = all.map(({ answeredMs }) => answeredMs)
  return [
    row({
      name: 'Create to available, p50',
      value: quantile(available, 0.5),
      unit: 'ms',
      target: '<= 30',
      spread: spreadOf(available, 1),
      note: `${all.length} volumes, one after the other; the status is asked for every ${askEveryMs} ms`,
    }),
    row({ name: 'Create to available, p99', value: quantile(available, 0.99), unit: 'ms' }),
    row({
      name: 'Answer to the request, p50',
      value: quantile(answered, 0.5),
      unit: 'ms',
      spread: spreadOf(answered, 1),
    }),
  ]
}

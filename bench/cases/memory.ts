import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { row, spreadOf, type BenchCase } from '../bench-case.ts'
import { median } from '../measure.ts'
import { serve, type Served } from '../rig/control-plane.ts'
import { drive, openRequests } from '../rig/requests.ts'
import { insertVolumes } from '../rig/volume-rows.ts'

const volumes = 10_000
const pageSize = 1000

/** Resident memory of `volant serve`. */
export const memory: BenchCase = {
  name: 'memory',
  title: 'Memory of the control plane',
  async run({ folder, quick }) {
    const stateDir = join(folder, 's')
    const repeats = quick ? 2 : 5
    const idle: number[] = []
    for (let i = 0; i < repeats; i += 1) idle.push(await withServed(stateDir, residentAfterRest))
    const owner = await withServed(stateDir, async ({ credentials }) => openRequests(credentials))
    owner.close()
    const ids = await insertVolumes(stateDir, owner, volumes)
    const full: number[] = []
    const worked: number[] = []
    for (let i = 0; i < repeats; i += 1) {
      await withServed(stateDir, async (served) => {
        full.push(await residentAfterRest(served))
        await useAll(served, ids)
        worked.push(await residentAfterRest(served))
      })
    }
    const line = (name: string, values: number[], more: { target?: string; note?: string } = {}) =>
      row({ name, value: median(values), unit: 'MiB', spread: spreadOf(values, 0), ...more })
    return [
      line('Resident, idle, no volumes', idle),
      line('Resident, idle, 10,000 volumes in the database', full),
      line('Resident, 10,000 volumes, after use', worked, {
        target: '<= 200',
        note: 'all of them listed in detail in pages of 1,000, and 2,000 shown, by 4 clients at once',
      }),
    ]
  },
}

async function withServed<T>(stateDir: string, task: (served: Served) => Promise<T>): Promise<T> {
  const served = await serve(stateDir)
  try {
    return await task(served)
  } finally {
    await served.stop()
  }
}

async function residentAfterRest({ pid }: Served): Promise<number> {
  await sleep(1000)
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) / 1024
}

async function useAll(served: Served, ids: string[]): Promise<void> {
  const requests = await openRequests(served.credentials)
  const root = `/volume/v3/${requests.projectId}/volumes`
  const page = (i: number): string => {
    const marker = i % 10 === 0 ? '' : `&marker=${ids[ids.length - (i % 10) * pageSize] ?? ''}`
    return `${root}/detail?limit=${pageSize}${marker}`
  }
  await drive(requests, { clients: 4, count: 20, path: page })
  await drive(requests, { clients: 4, count: 2000, path: (i) => `${root}/${ids[(i * 7919) % ids.length]}` })
  requests.close()
}

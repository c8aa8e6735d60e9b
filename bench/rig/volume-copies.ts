/** Copies of a volume as Volant's holder of its image makes them, without the records and the cutover around them. */
import { setTimeout as sleep } from 'node:timers/promises'
import { processesOf } from '../../test/crash/processes.ts'
import { attach, copyIn, detach, type DataPlane, type makeVolume } from './data-plane.ts'
import { startLoad, type LoadSamples } from './load.ts'
import type { Copied } from './peers.ts'
import { processorSeconds } from './processor-time.ts'

export type SourceVolume = Awaited<ReturnType<typeof makeVolume>>

export async function copyDetached(
  plane: DataPlane,
  volume: SourceVolume,
  sizeBytes: number,
): Promise<Copied> {
  const { holders, caller, backend } = plane
  const holderId = `mover-${crypto.randomUUID()}`
  const source = await plane.records.copies.get(volume.imageId ?? '')
  const image = await backend.openFor(caller, source, 'bench', holderId)
  await holders.ensureHolder(caller, { holderId, volumeId: volume.id, image, serves: false })
  try {
    return await mirror(plane, volume, holderId, sizeBytes)
  } finally {
    await holders.ensureNoHolder(caller, holderId)
  }
}

/** With a client that writes so many blocks of 4 KiB each second. */
export async function copyInUse(
  plane: DataPlane,
  volume: SourceVolume,
  sizeBytes: number,
  writesPerSecond: number,
): Promise<Copied & { samples: LoadSamples }> {
  const { attachment, disk } = await attach(plane, volume)
  try {
    const load = await startLoad({ ...disk, writesPerSecond })
    const copied = await mirror(plane, volume, attachment.id, sizeBytes)
    return { ...copied, samples: await load.stop() }
  } finally {
    await detach(plane, attachment)
  }
}

/** From the order to copy until the first pass is over and only what the client writes is left. */
async function mirror(
  plane: DataPlane,
  volume: SourceVolume,
  holderId: string,
  sizeBytes: number,
): Promise<Copied> {
  const { holders, caller, backend, lmb, folder } = plane
  const copy = copyIn(lmb, volume.id, sizeBytes)
  const jobId = `bench-${copy.imageId}`
  const pids = (await processesOf(folder)).filter(({ kind }) => kind === 'holder').map(({ pid }) => pid)
  await backend.ensureImage(caller, copy)
  try {
    const target = await backend.openFor(caller, copy, 'bench', holderId)
    const [begun, before] = [performance.now(), processorSeconds(pids)]
    await holders.ensureMirror(caller, { holderId, jobId, target, rate: 0 })
    for (;;) {
      const { phase, error } = await holders.mirrorStatus(holderId, jobId)
      if (phase === 'ready') break
      if (phase !== 'copying') throw new Error(`The mirror is ${phase}: ${error ?? 'no reason'}`)
      await sleep(10)
    }
    return { ms: performance.now() - begun, processor: processorSeconds(pids) - before }
  } finally {
    await holders.ensureNoMirror(caller, holderId, jobId)
    await backend.ensureNoImage(caller, copy)
  }
}

/** The place of the crash tests of live migration: a control plane that can be held, and a server with a root disk and a volume. */
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { openHostRig, type HostRig } from '../../host/rig.ts'
import { bootWriter, type Writer } from '../../host/writers.ts'
import { openGate, type Gate } from '../gate.ts'
import { registerQuietProbe } from '../world.ts'

export interface HostWorld {
  rig: HostRig
  gate: Gate
  writer: Writer
  close(): Promise<void>
}

export async function openHostWorld(): Promise<HostWorld> {
  const rig = await openHostRig({ hosts: 2, program: join(import.meta.dirname, '../serve.ts') })
  try {
    const image = await registerQuietProbe(rig.plane, 'probe-with-data', undefined, randomBytes(2 ** 20))
    const disks = { volumes: 2, image, rootDisk: true }
    const writer = await bootWriter(rig, { name: 'writer', host: 'compute-1', hasPort: true, ...disks })
    return { rig, gate: openGate(rig.plane.stateDir), writer, close: () => rig.close() }
  } catch (error) {
    await rig.close().catch(() => {})
    throw error
  }
}

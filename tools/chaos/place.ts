/** Where it happens: three machines in network namespaces, two small file systems, guests whose probes write. */
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, rmSync, statfsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { stopControlPlane } from '@volant/cli/instance/stop.ts'
import { messageOf } from '@volant/contract/errors.ts'
import { stopDataPlane } from '@volant/control/stop-all.ts'
import { configOf, openNetwork, type Network } from '../../test/migration/network.ts'
import {
  acknowledged,
  bootProbe,
  leftovers,
  openPlane,
  until,
  type Job,
  type Plane,
} from '../../test/migration/plane.ts'
import { registerQuietProbe } from '../../test/crash/world.ts'

export interface Place {
  plane: Plane
  network: Network
  /** Where the disks are mounted. */
  disksDir: string
  /** One for each cluster. */
  disks: Disk[]
  /** Guests with the volume that each writes to all the time. */
  jobs: Job[]
  /** A volume that is attached to the first guest and taken away again. */
  extra: Job
  /** Ends everything; the state folder stays where `keeps`. */
  close(keeps: boolean): Promise<void>
}

/** An aggregate on a file system of its own. */
export interface Disk {
  fill(): void
  free(): void
}

/** Retired sources go quickly, so that a round can wait until only the truth is left. */
const settings = 'agents: processes\nmigration: { retention: 3s }\n'
const diskMiB = 512

const run = (program: string, ...args: string[]): void =>
  void execFileSync(program, args, { stdio: ['ignore', 'pipe', 'pipe'] })

/** Mounted where the aggregate is; it goes with `umount`. */
function openDisk(path: string): Disk {
  mkdirSync(path, { recursive: true })
  const device = `${path}.blocks`
  run('truncate', '-s', `${diskMiB}M`, device)
  run('mkfs.ext4', '-q', '-F', '-m', '0', device)
  run('mount', '-o', 'loop', device, path)
  rmSync(join(path, 'lost+found'), { recursive: true })
  // Beside the aggregate's own files, and no image.
  const filler = join(path, '.filler')
  return {
    fill() {
      // The file system needs some of it for itself: what does not fit whole may fit in part.
      for (const part of [1, 1, 0.5, 0.5]) {
        const { bavail, bsize } = statfsSync(path)
        const bytes = Math.floor(bavail * part) * bsize
        if (bytes === 0) return
        try {
          run(
            'fallocate',
            '-o',
            String(statSync(filler, { throwIfNoEntry: false })?.size ?? 0),
            '-l',
            String(bytes),
            filler,
          )
        } catch (error) {
          if (!messageOf(error).includes('No space left')) throw error
        }
      }
    },
    free: () => rmSync(filler, { force: true }),
  }
}

export async function openPlace(options: { guests: number; say(text: string): void }): Promise<Place> {
  const { guests, say } = options
  // As bin/volant does: the control plane and the agents start again and again.
  process.env['NODE_COMPILE_CACHE'] ??= join(import.meta.dirname, '../../.cache/node')
  // Whoever opens a plane that fails must not remove what is mounted there: `close` does it, in order.
  process.env['VOLANT_TEST_KEEP'] = '1'
  const network = openNetwork()
  const disks: Disk[] = []
  const paths: string[] = []
  const disksDir = mkdtempSync('/var/tmp/vx-')
  let stateDir = ''
  const close = async (keeps: boolean): Promise<void> => {
    const problems: unknown[] = []
    const part = async (task: () => unknown): Promise<void> => {
      try {
        await task()
      } catch (error) {
        problems.push(error)
      }
    }
    if (stateDir !== '') {
      await part(() => stopControlPlane(stateDir))
      await part(() => stopDataPlane(stateDir))
      await part(async () => {
        const left = await leftovers(stateDir)
        if (left.length > 0) throw new Error(`still running: ${left.join('; ')}`)
      })
    }
    for (const path of paths) await part(() => run('umount', path))
    // Never below a mount that is still there.
    if (!keeps && problems.length === 0) {
      for (const folder of [stateDir, disksDir].filter((path) => path !== ''))
        rmSync(folder, { recursive: true, force: true })
    }
    await part(() => network.close())
    if (problems.length > 0) throw new AggregateError(problems, problems.map(String).join('\n'))
  }
  try {
    say('the system starts: three machines, agents in processes of their own')
    const plane = await openPlane((folder) => {
      stateDir = folder
      for (const name of ['lma', 'lmb']) {
        const path = join(disksDir, name, 'aggr1')
        disks.push(openDisk(path))
        paths.push(path)
      }
      return settings + configOf(network)(disksDir)
    })
    const image = await registerQuietProbe(plane)
    const jobs: Job[] = []
    for (let i = 0; i < guests; i++) {
      say(`guest ${i + 1} of ${guests} boots`)
      jobs.push(await bootProbe(plane, image))
    }
    const extra = await openExtra(plane, jobs[0] as Job)
    return { plane, network, disksDir, disks, jobs, extra, close }
  } catch (error) {
    // Whoever looks for the reason needs what is there.
    await close(existsSync(stateDir)).catch((second: unknown) => say(String(second)))
    throw new Error(`it did not come up${stateDir === '' ? '' : `; see ${stateDir}`}`, { cause: error })
  }
}

async function openExtra(plane: Plane, { serverId }: Job): Promise<Job> {
  const { id: volumeId } = await plane.client.volume.create({ name: 'extra', size: 1 })
  const is = (status: string): Promise<void> =>
    until(`the extra volume is ${status}`, 120_000, async () => {
      return (await plane.client.volume.show(volumeId)).status === status
    })
  await is('available')
  await plane.client.compute.attach(serverId, volumeId)
  await is('in-use')
  const extra = { serverId, volumeId }
  // Of a volume to which nothing was ever written nothing could be verified.
  await until('the probe writes to the extra volume', 120_000, async () => {
    return (await acknowledged(plane, extra)) > 100
  })
  return extra
}

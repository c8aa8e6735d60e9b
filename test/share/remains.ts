/** What is left of shares when all is said to be over: mounts, loop devices, and file systems that must be whole. */
import { execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { rowsOf } from '../move/place.ts'

export const aggregateNames = ['aggr1', 'aggr2'] as const

/** Where the aggregate is mounted; its file has the same name, and `.xfs`. */
export const aggregateFolder = (stateDir: string, aggregate: string): string =>
  join(stateDir, 'lma', aggregate, 'disk')

export interface ShareImage {
  aggregate: string
  /** Within the aggregate's folder. */
  path: string
}

/** `from`: joins and conditions below `copies c`, with the FlexVol as `f`. */
export const shareImages = (stateDir: string, from: string): ShareImage[] =>
  existsSync(join(stateDir, 'volant.db'))
    ? rowsOf(stateDir, `select c.aggregate, c.image_id, f.name from copies c ${from}`).map((row) => ({
        aggregate: String(row['aggregate']),
        path: join(String(row['name']), String(row['image_id'])),
      }))
    : []

/** Mount points in the state folder. */
export const mountsBelow = (stateDir: string): string[] =>
  readFileSync('/proc/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[1] ?? '')
    .filter((path) => path.startsWith(`${stateDir}/`))

/** Files in the state folder over which there are loop devices. */
export const loopsBelow = (stateDir: string): string[] =>
  execFileSync('losetup', ['-l', '-n', '-O', 'BACK-FILE'], { encoding: 'utf8' })
    .split('\n')
    .map((line) => line.trim())
    .filter((path) => path.startsWith(`${stateDir}/`))

/** What is wrong once nothing runs any more; what is still mounted is not looked into. */
export function remainsOf(stateDir: string, images: readonly ShareImage[]): string[] {
  const left = [
    ...mountsBelow(stateDir).map((path) => `${path} is still mounted`),
    ...loopsBelow(stateDir).map((path) => `there is still a loop device over ${path}`),
  ]
  if (left.length > 0) return left
  return aggregateNames.flatMap((aggregate) => repairProblems(stateDir, aggregate, images))
}

/** All is unmounted: the aggregate's file system must be whole, and that of each share in its image. */
function repairProblems(stateDir: string, aggregate: string, images: readonly ShareImage[]): string[] {
  const device = `${aggregateFolder(stateDir, aggregate)}.xfs`
  if (!existsSync(device)) return []
  const own = repair(device)
  const here = images.filter((image) => image.aggregate === aggregate)
  if (own !== undefined || here.length === 0) return own === undefined ? [] : [own]
  const at = mkdtempSync(join(tmpdir(), 'vr-'))
  execFileSync('mount', ['-o', 'ro,loop', device, at])
  try {
    return here.map(({ path }) => repair(join(at, path))).filter((problem) => problem !== undefined)
  } finally {
    execFileSync('umount', [at])
    rmdirSync(at)
  }
}

function repair(file: string): string | undefined {
  try {
    execFileSync('xfs_repair', ['-n', '-f', file], { stdio: 'pipe' })
    return undefined
  } catch (error) {
    const { stdout, stderr } = error as { stdout?: Buffer; stderr?: Buffer }
    return `xfs_repair -n of ${file}: ${String(stderr).slice(-400)} ${String(stdout).slice(-400)}`
  }
}

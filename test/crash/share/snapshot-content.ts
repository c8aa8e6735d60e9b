/** What a snapshot of a share holds: its image is cloned, and the clone mounted, beside everything else. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { rowsOf } from '../../move/place.ts'
import type { Mark } from './writer.ts'
import type { ShareWorld } from './world.ts'

/** It was taken between the two marks. */
export async function snapshotProblems(
  world: ShareWorld,
  snapshotId: string,
  first: Mark,
  second: Mark,
): Promise<string[]> {
  const [image] = rowsOf(
    world.plane.stateDir,
    'select c.image_id, c.aggregate, f.name from snapshots s join copies c on c.image_id = s.image_id ' +
      'join flexvols f on f.id = c.flexvol_id where s.id = ?',
    snapshotId,
  )
  if (image === undefined) return [`snapshot ${snapshotId} has no image`]
  const folder = world.folderOf(String(image['aggregate']))
  const clone = join(folder, `look-${process.pid}`)
  const at = mkdtempSync(join(tmpdir(), 'vsn-'))
  const run = (command: string, ...args: string[]): void =>
    void execFileSync(command, args, { stdio: 'pipe' })
  run('cp', '--reflink=always', join(folder, String(image['name']), String(image['image_id'])), clone)
  try {
    // It is what a loss of power would have left: its log is brought in.
    run('mount', '-o', 'loop,nouuid,noatime', clone, at)
    try {
      return await world.writer.checkAt(at, first, second)
    } finally {
      run('umount', at)
    }
  } finally {
    rmSync(clone, { force: true })
    rmdirSync(at)
  }
}

import { readdir, readFile, readlink } from 'node:fs/promises'
import { run } from '../storage/loop-mount.ts'

/**
 * Takes a device's file system out of the mount namespaces that other programs made while it was mounted: each has a
 * copy of the mount, and keeps the device as long as it has it. What can't be unmounted there is left. `device` is its
 * number as in `/proc/PID/mountinfo`: MAJOR:MINOR.
 */
export async function leaveOtherNamespaces(device: string): Promise<void> {
  const seen = new Set([await readlink('/proc/self/ns/mnt')])
  for (const pid of await readdir('/proc')) {
    if (!/^\d+$/.test(pid)) continue
    try {
      const namespace = await readlink(`/proc/${pid}/ns/mnt`)
      if (seen.has(namespace)) continue
      seen.add(namespace)
      const mounted = (await readFile(`/proc/${pid}/mountinfo`, 'utf8'))
        .split('\n')
        .map((line) => line.split(' '))
        .filter((words) => words[2] === device)
        .map((words) =>
          (words[4] ?? '').replaceAll(/\\([0-7]{3})/g, (_, digits: string) =>
            String.fromCharCode(Number.parseInt(digits, 8)),
          ),
        )
      for (const path of mounted) await run('nsenter', '--target', pid, '--mount', 'umount', path)
    } catch {
      continue // it ended meanwhile, or has it open
    }
  }
}

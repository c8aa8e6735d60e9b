import { readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Logger } from 'pino'
import { ensureProbeGuest, type ProbeGuest } from '../../../probe/build.ts'
import type { ImageRegistry } from './ports/images.ts'

/** Where the set-up builds the probe guest. */
export const defaultCacheDir = join(import.meta.dirname, '../../../.cache')

/** The probe guest that the set-up built; undefined where it did not. Nothing is downloaded here. */
export async function findProbeGuest(cacheDir: string): Promise<ProbeGuest | undefined> {
  const built = await readdir(join(cacheDir, 'probe')).catch(() => [])
  return built.some((name) => name.startsWith('vmlinuz-')) ? ensureProbeGuest(cacheDir) : undefined
}

/** Registers the public image `volant-probe`, with the kernel and ramdisk it boots from. Idempotent. */
export async function registerProbeGuest(
  registry: Pick<ImageRegistry, 'ensureBuiltin'>,
  probe: ProbeGuest | undefined,
  stateDir: string,
  log: Logger,
): Promise<void> {
  if (probe === undefined) {
    log.warn({}, "there is no image volant-probe: 'npm run setup' builds it")
    return
  }
  // Without data: the guest runs from its initramfs, and without a disk on its host it can go to another one.
  const noDisk = join(stateDir, 'volant-probe.raw')
  await writeFile(noDisk, '', { mode: 0o600 })
  const kernel = await registry.ensureBuiltin({
    name: 'volant-probe-kernel',
    path: probe.kernelPath,
    diskFormat: 'aki',
    containerFormat: 'aki',
    visibility: 'public',
  })
  const ramdisk = await registry.ensureBuiltin({
    name: 'volant-probe-ramdisk',
    path: probe.initrdPath,
    diskFormat: 'ari',
    containerFormat: 'ari',
    visibility: 'public',
  })
  await registry.ensureBuiltin({
    name: 'volant-probe',
    path: noDisk,
    diskFormat: 'raw',
    containerFormat: 'bare',
    properties: { kernel_id: kernel.id, ramdisk_id: ramdisk.id, os_command_line: probe.commandLine },
    visibility: 'public',
  })
}

import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { readFileSync, statfsSync } from 'node:fs'
import { availableParallelism, loadavg, totalmem, uptime } from 'node:os'
import { promisify } from 'node:util'
import { DomainError, messageOf } from '@volant/contract'
import type { HypervisorFacts } from '@volant/contract'

const run = promisify(execFile)
const mebibyte = 2 ** 20
const gibibyte = 2 ** 30

/** Version of the QEMU that guests run in, such as 7.2.22. Throws `unavailable` where there is none. */
export const readQemuVersion = async (): Promise<string> => {
  try {
    const { stdout } = await run('qemu-system-x86_64', ['--version'], { timeout: 10_000 })
    return /version (\S+)/.exec(stdout)?.[1] ?? 'unknown'
  } catch (error) {
    throw new DomainError('unavailable', `qemu-system-x86_64 does not run here: ${messageOf(error)}`, {
      cause: error,
    })
  }
}

/** Versioned machine types that a guest may come with. */
export const readMachines = async (): Promise<string[]> => {
  const { stdout } = await run('qemu-system-x86_64', ['-machine', 'help'], { timeout: 10_000 })
  return [...stdout.matchAll(/^(pc-i440fx-\d+\.\d+)\s/gm)].map(([, name = '']) => name)
}

/** The first processor of `cpuinfo` (/proc/cpuinfo): its model's name and a digest of its flags. */
export const processorFacts = (cpuinfo: string): Pick<HypervisorFacts, 'cpuModel' | 'cpuFlagsDigest'> => {
  const of = (key: string): string | undefined => new RegExp(`^${key}\\s*: (.*)$`, 'm').exec(cpuinfo)?.[1]
  const model = of('model name')
  const flags = of('flags')
  if (flags === undefined) return model === undefined ? {} : { cpuModel: model }
  const sorted = flags.trim().split(/\s+/).toSorted().join(' ')
  return {
    ...(model === undefined ? {} : { cpuModel: model }),
    cpuFlagsDigest: createHash('sha256').update(sorted).digest('hex'),
  }
}

const availableMemoryBytes = (): number => {
  const kibibytes = /^MemAvailable:\s+(\d+) kB/m.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1]
  return Number(kibibytes ?? 0) * 1024
}

/** Resources of the machine; `memoryMiB` overrides how much of its memory is for guests. */
export const machineFacts = (
  stateDir: string,
  memoryMiB: number | undefined,
  usedMemoryMiB: number,
): Pick<
  HypervisorFacts,
  'vcpus' | 'memoryMiB' | 'freeMemoryMiB' | 'localDiskGiB' | 'freeDiskGiB' | 'uptimeSeconds' | 'loadAverage'
> => {
  const disk = statfsSync(stateDir)
  const total = memoryMiB ?? Math.floor(totalmem() / mebibyte)
  const available = Math.floor(availableMemoryBytes() / mebibyte)
  return {
    vcpus: availableParallelism(),
    memoryMiB: total,
    freeMemoryMiB: Math.max(
      0,
      memoryMiB === undefined ? available : Math.min(available, total - usedMemoryMiB),
    ),
    localDiskGiB: Math.floor((disk.blocks * disk.bsize) / gibibyte),
    freeDiskGiB: Math.floor((disk.bavail * disk.bsize) / gibibyte),
    uptimeSeconds: Math.floor(uptime()),
    loadAverage: loadavg(),
  }
}

import { readFileSync } from 'node:fs'
import { DomainError } from '@volant/contract'
import type { DeviceLatency, LatencyHistogram } from '@volant/contract'
import type { ProcessIdentity } from '@volant/qemu/process.ts'

/** The descriptor of a worker at which it shares its counts: `struct latency` in `native/fuse-nbd.c`. */
const sharedDescriptor = 4
const magic = 'latency1'

/** How long the requests took that this worker of a block device answered. */
export function readDeviceLatency({ pid, startTime, bootId }: ProcessIdentity): DeviceLatency {
  const bytes = shared(pid)
  if (bytes.toString('latin1', 0, 8) !== magic) {
    throw new DomainError(
      'unavailable',
      `Process ${pid} of a share's block device, of an older Volant or at its very beginning, counts nothing.`,
    )
  }
  const number = (index: number): number => Number(bytes.readBigUInt64LE(8 * index))
  const bounds = number(1)
  const numbers = (from: number, count: number): number[] =>
    Array.from({ length: count }, (_none, index) => number(from + index))
  const boundsNs = numbers(2, bounds)
  const histogram = (kind: number): LatencyHistogram => ({
    boundsNs,
    counts: numbers(2 + bounds + kind * (bounds + 1), bounds + 1),
  })
  return {
    since: `${pid} ${startTime} ${bootId}`,
    reads: histogram(0),
    writes: histogram(1),
    flushes: histogram(2),
  }
}

/** Empty where there is none. */
function shared(pid: number): Buffer {
  try {
    return readFileSync(`/proc/${pid}/fd/${sharedDescriptor}`)
  } catch (error) {
    // Gone; or another kind of descriptor, of another program.
    const { code = '' } = error as NodeJS.ErrnoException
    if (['ENOENT', 'ESRCH', 'ENXIO', 'EACCES', 'EINVAL'].includes(code)) return Buffer.alloc(0)
    throw error
  }
}

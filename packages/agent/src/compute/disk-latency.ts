import { randomUUID } from 'node:crypto'
import type { DiskLatency, GuestDisk, LatencyHistogram } from '@volant/contract'
import { latencyBoundsNs } from '@volant/contract'
import { QmpError } from '@volant/qemu'
import type { QmpClient } from '@volant/qemu'
import { diskBackendPath } from './names.ts'

/** Whoever asks again in a fraction of a second has no use for a late answer. */
const timeoutMs = 2000

interface Histogram {
  boundaries: number[]
  bins: number[]
}

/** Of `query-blockstats`. */
interface BlockStats {
  qdev?: string
  stats: {
    rd_latency_histogram?: Histogram
    wr_latency_histogram?: Histogram
    flush_latency_histogram?: Histogram
  }
}

/**
 * The counts that QEMU keeps of how long the requests of a guest's disks took: begun where they are not, and read.
 *
 * A count is begun once for each device of each QEMU, and never with other bounds afterwards: as the bins of a histogram
 * are replaced while requests end in the disk's I/O thread, QEMU (7.2 to 10) takes no lock, and would write to memory that was
 * freed. The first time is harmless: what has no bins is not counted. So one with the bounds of another release stays.
 */
export class DiskLatencies {
  /** `since` by device, of those whose histograms were seen; a device that has none begins a new count. */
  readonly #since = new Map<string, string>()
  #reading: Promise<DiskLatency[]> | undefined

  /** Those who ask at once get one answer, so that none begins what another just began. */
  read(qmp: QmpClient, disks: GuestDisk[]): Promise<DiskLatency[]> {
    this.#reading ??= this.#read(qmp, disks).finally(() => (this.#reading = undefined))
    return this.#reading
  }

  async #read(qmp: QmpClient, disks: GuestDisk[]): Promise<DiskLatency[]> {
    const present = await this.#counted(qmp, disks)
    const lacking = disks.filter((disk) => present.get(disk) === null)
    if (lacking.length === 0) return [...present.values()].filter((one) => one !== null)
    for (const { attachmentId } of lacking) await begin(qmp, diskBackendPath(attachmentId))
    return [...(await this.#counted(qmp, disks)).values()].filter((one) => one !== null)
  }

  /** By disk that is a device now; null: it has no histograms yet. */
  async #counted(qmp: QmpClient, disks: GuestDisk[]): Promise<Map<GuestDisk, DiskLatency | null>> {
    const answer = (await qmp.execute('query-blockstats', {}, timeoutMs)) as BlockStats[]
    const byDevice = new Map(answer.map(({ qdev = '', stats }) => [qdev, stats]))
    const found = new Map<GuestDisk, DiskLatency | null>()
    const devices = new Set<string>()
    for (const disk of disks) {
      const device = diskBackendPath(disk.attachmentId)
      const stats = byDevice.get(device)
      if (stats === undefined) continue
      const {
        rd_latency_histogram: reads,
        wr_latency_histogram: writes,
        flush_latency_histogram: flushes,
      } = stats
      if (reads === undefined || writes === undefined || flushes === undefined) {
        found.set(disk, null)
        continue
      }
      devices.add(device)
      const since = this.#since.get(device) ?? randomUUID()
      this.#since.set(device, since)
      const { attachmentId, volumeId } = disk
      const counts = { reads: histogram(reads), writes: histogram(writes), flushes: histogram(flushes) }
      found.set(disk, { attachmentId, volumeId, since, ...counts })
    }
    for (const device of this.#since.keys()) if (!devices.has(device)) this.#since.delete(device)
    return found
  }
}

const histogram = ({ boundaries, bins }: Histogram): LatencyHistogram => ({
  boundsNs: boundaries,
  counts: bins,
})

/** A device that went meanwhile has nothing to count. */
const begin = async (qmp: QmpClient, id: string): Promise<void> => {
  try {
    await qmp.execute('block-latency-histogram-set', { id, boundaries: latencyBoundsNs }, timeoutMs)
  } catch (error) {
    if (!(error instanceof QmpError)) throw error
  }
}

import { setTimeout as sleep } from 'node:timers/promises'
import { DomainError } from '@volant/contract'
import { isUnderWay, queryMigration, setMigrationParameters } from '@volant/qemu'
import type { MigrationInfo, QmpClient } from '@volant/qemu'
import { standsStill } from './power.ts'
import type { RunState } from './monitor.ts'

/** What is left of the first pass, in bytes, when it is slowed, and when the guest is stopped. */
const slowAt = 96 * 2 ** 20
const holdAt = 32 * 2 ** 20
/** Bytes per second in between. */
const slowBps = 32 * 2 ** 20
const lookMs = 10
const firstLookWithinMs = 10_000
const settleMs = 2000
/** The guest stands still: whatever is left is sent. */
const holdDowntimeMs = 600_000
/** An emulated guest's downtime limit until then: QEMU is never to find by itself that little is left. */
export const emulatedDowntimeMs = 1

export interface EmulatedCopyContext {
  connect(): Promise<{ qmp: QmpClient }>
  /** The copy is under way, and the guest was not stopped for its end. */
  isCopying(): boolean
  bandwidth(): number
  /** Durably: from now on the guest may have been stopped for the copy. */
  noteHeld(): void
  giveUp(reason: string): void
}

/**
 * The copy of an emulated guest's memory. A write of an emulated processor may escape QEMU (7.2) while a migration looks which
 * pages have changed: its thread, preempted at the wrong instruction, takes the page for one that is still watched. The
 * destination then has an old page, and the guest's kernel panics; on a busy machine every few migrations. So an
 * emulated guest stands still whenever QEMU looks: for a moment as the copy begins, and from the end of the first pass until
 * it goes on at the destination. What it changes during one pass is little. Guests under KVM need none of it.
 */
export class EmulatedCopy {
  readonly #context: EmulatedCopyContext
  /** `performance.now()` of the stop. */
  heldAt: number | undefined
  #isWatching = false
  #closed = false

  constructor(context: EmulatedCopyContext) {
    this.#context = context
  }

  /** `start` tells QEMU to migrate; the guest goes on once it is copied and watched. */
  async begin(qmp: QmpClient, start: () => Promise<void>): Promise<void> {
    const runs = await isRunning(qmp)
    if (runs) await qmp.execute('stop')
    try {
      await start()
      for (const end = performance.now() + firstLookWithinMs; ; await sleep(2)) {
        const info = await queryMigration(qmp)
        if (looksOf(info) > 0 || !isUnderWay(info)) break
        if (performance.now() > end) {
          await qmp.execute('migrate_cancel')
          throw new DomainError('unavailable', 'The destination took too long to let the connection in.')
        }
      }
    } finally {
      if (runs) await qmp.execute('cont')
    }
  }

  /** Until the first pass is nearly over; then the guest is stopped, and all the rest is sent. */
  watch(): void {
    if (this.#isWatching) return
    this.#isWatching = true
    void this.#watch().finally(() => (this.#isWatching = false))
  }

  async #watch(): Promise<void> {
    let isSlowed = false
    for (; !this.#closed && this.#context.isCopying(); await sleep(lookMs)) {
      try {
        const { qmp } = await this.#context.connect()
        const info = await queryMigration(qmp)
        if (info.status !== 'active') continue
        const remaining = info.ram?.remaining ?? Infinity
        if (looksOf(info) > 1)
          return this.#context.giveUp('QEMU was faster than the look at an emulated guest')
        if (remaining < holdAt) return await this.hold(qmp)
        if (remaining >= slowAt || isSlowed) continue
        isSlowed = true
        const bandwidth = this.#context.bandwidth()
        await setMigrationParameters(qmp, {
          bandwidth: bandwidth === 0 ? slowBps : Math.min(bandwidth, slowBps),
        })
      } catch {
        // A monitor that does not answer is seen by those who wait for the migration.
      }
    }
  }

  /** The guest stands still from now on. */
  async hold(qmp: QmpClient): Promise<void> {
    this.#context.noteHeld()
    const runs = await isRunning(qmp)
    this.heldAt ??= performance.now()
    if (runs) await qmp.execute('stop')
    await setMigrationParameters(qmp, { bandwidth: 0, downtimeMs: holdDowntimeMs })
  }

  close(): void {
    this.#closed = true
  }
}

/** A guest that was stopped for its copy goes on: QEMU, which found it stopped, leaves it `postmigrate` then. */
export async function letRun(qmp: QmpClient): Promise<void> {
  const state = async () => ((await qmp.execute('query-status')) as { status: RunState }).status
  let found = await state()
  for (const end = performance.now() + settleMs; found === 'finish-migrate' && performance.now() < end;) {
    await sleep(lookMs)
    found = await state()
  }
  if (standsStill(found)) await qmp.execute('cont')
}

const looksOf = (info: MigrationInfo): number => info.ram?.['dirty-sync-count'] ?? 0

async function isRunning(qmp: QmpClient): Promise<boolean> {
  return ((await qmp.execute('query-status')) as { status: string }).status === 'running'
}

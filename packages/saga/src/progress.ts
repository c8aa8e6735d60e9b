import { isStaleFence } from './failure.ts'
import type { Engine } from './driver.ts'

/**
 * Progress is made durable for free with the next write of the log, and else now and then: after a restart an
 * old value is shown for a moment, which is no harm, whereas a durable write for each percent would be.
 */
export class ProgressWriter {
  readonly #engine: Engine
  readonly #runId: string
  #unwritten: { value: unknown } | null = null
  #timer: NodeJS.Timeout | null = null

  constructor(engine: Engine, runId: string) {
    this.#engine = engine
    this.#runId = runId
  }

  set(value: unknown): void {
    this.#unwritten = { value }
    this.#timer ??= setTimeout(() => void this.#write(), this.#engine.progressEveryMs).unref()
  }

  /** For a write that takes the progress along. */
  take(): { progress?: { value: unknown } } {
    const unwritten = this.#unwritten
    this.stop()
    return unwritten ? { progress: unwritten } : {}
  }

  stop(): void {
    if (this.#timer) clearTimeout(this.#timer)
    this.#timer = null
    this.#unwritten = null
  }

  async #write(): Promise<void> {
    this.#timer = null
    const { progress } = this.take()
    if (!progress || this.#engine.isDead()) return
    const { store, writer, health, clock } = this.#engine
    const at = clock.written()
    try {
      await store.setProgress({ ...writer, runId: this.#runId, at, value: progress.value })
    } catch (error) {
      if (isStaleFence(error)) this.#engine.fenced(error)
      // The next look reports it again: nothing waits for it.
      else health.failed(null, error)
    }
  }
}

import type { LogEntry, RunRecord } from './types.ts'

export type EngineEvent =
  /** What a run shows has changed: state, step, control or failure. */
  | { type: 'run'; run: RunRecord }
  | { type: 'progress'; runId: string; kind: string; progress: unknown }
  /** Added to the log, durably. */
  | { type: 'log'; runId: string; kind: string; entries: LogEntry[] }
  /** Another control plane has taken over. This engine has stopped; the process should end. */
  | { type: 'fenced'; error: unknown }
  /** A call into the operation failed; with the error itself, for the log. The run goes on by its own rules. */
  | { type: 'call-failed'; runId: string; kind: string; step: string; during: 'do' | 'undo'; error: unknown }
  /** The store did not take a write; it is tried again. `attempts` and `failedForMs` since it last took one. */
  | { type: 'store-failed'; runId: string | null; error: unknown; attempts: number; failedForMs: number }
  /** The store takes writes again; all runs go on. */
  | { type: 'store-recovered'; attempts: number; failedForMs: number }
  /** A fault of the engine's own, or of a declaration: the run needs attention, or stands still until a restart. */
  | { type: 'broken'; runId: string; error: unknown }

export type Listener = (event: EngineEvent) => void

/** Listeners are called in order; one that throws hurts nobody else. */
export class Events {
  readonly #listeners = new Set<Listener>()

  /** Returns the function that ends the listening. */
  on(listener: Listener): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  emit(event: EngineEvent): void {
    for (const listener of this.#listeners) {
      try {
        listener(event)
      } catch (error) {
        queueMicrotask(() => process.emitWarning(error instanceof Error ? error : String(error)))
      }
    }
  }
}

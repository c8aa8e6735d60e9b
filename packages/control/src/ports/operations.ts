import type { CopyControl, LogEntry, Operation, RunRecord } from '@volant/saga'

/** The engine, as the application uses it. */
export interface OperationEngine {
  /**
   * Records an operation and begins it; durable when it resolves. Throws `conflict` where another one holds one
   * of its keys, naming it. One that gives way (domain/giving-way.ts) is cancelled first and its end waited for, for
   * some seconds at most; but those don't do so to each other.
   */
  start<Input, Ports>(
    operation: Operation<Input, Ports>,
    input: NoInfer<Input>,
    wishes?: {
      /** Bytes per second; null: unlimited. */
      rate?: number | null
      /** As `domain/pace.ts` writes them; null or absent: as configured. */
      pace?: string | null
      priority?: string | null
      /** The operation that it is a part of. */
      parent?: string
      /** A UUID that the caller chose. */
      id?: string
    },
  ): Promise<{ id: string }>
  /** Throws `conflict` where it has ended, or is of a kind that can't be paused (domain/unpausable.ts). */
  pause(operationId: string): Promise<void>
  resume(operationId: string): Promise<void>
  /** Rate (bytes per second; null: unlimited), pace and priority at once; what is left out stays as it is. */
  steer(operationId: string, wishes: Partial<CopyControl>): Promise<void>
  /** Throws `notFound`. */
  get(operationId: string): Promise<RunRecord>
  /** The parts of an operation, newest first, the ended ones as well. */
  partsOf(operationId: string): Promise<RunRecord[]>
  /** All of these kinds that have not ended, oldest first. */
  underWay(kinds: readonly string[]): Promise<RunRecord[]>
  /** Throws `conflict` where it is past its point of no return, or has ended. */
  cancel(operationId: string): Promise<void>
  /** The operation that holds a key such as `volume/ID`. */
  holderOf(key: string): Promise<{ id: string; kind: string } | undefined>
  /** Operations that hold, or held, a key, newest first; at most `limit`, 1 to 1000. */
  latestOf(key: string, limit: number): Promise<RunRecord[]>
  /** An operation's log, oldest first. */
  historyOf(operationId: string): Promise<LogEntry[]>
  /** Resolves when the operation has ended, or needs attention. */
  settled(operationId: string): Promise<RunRecord>
}

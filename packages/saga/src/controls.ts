/** The operator's wishes: each is made durable first, then the run's driver is told. */
import { DomainError } from '@volant/contract/errors.ts'
import type { SteadyClock } from './clock.ts'
import type { Driver } from './driver.ts'
import type { Fact } from './plan.ts'
import type { SagaStore, SetControlsParams, Writer } from './store.ts'
import { hasEnded, type RunRecord } from './types.ts'

export class Controls {
  readonly #store: SagaStore
  readonly #drivers: ReadonlyMap<string, Driver>
  readonly #writer: () => Writer
  readonly #clock: SteadyClock

  constructor(
    store: SagaStore,
    drivers: ReadonlyMap<string, Driver>,
    writer: () => Writer,
    clock: SteadyClock,
  ) {
    this.#store = store
    this.#drivers = drivers
    this.#writer = writer
    this.#clock = clock
  }

  pause(runId: string): Promise<RunRecord> {
    return this.#set(runId, { paused: true })
  }

  async resume(runId: string): Promise<RunRecord> {
    const driver = this.#driverOf(runId)
    const run = await this.#set(runId, { paused: false })
    if (!driver?.position.attention) return run
    await driver.command({ event: 'resumed', step: stepOf(driver) })
    return driver.run
  }

  async cancel(runId: string): Promise<RunRecord> {
    const driver = this.#driverOf(runId)
    const run = await this.#set(runId, { cancelRequested: true })
    const position = driver?.position
    const stuck = position?.attention && position.direction === 'forward'
    if (!driver || !stuck || position.committed || position.asking) return run
    await driver.command({ event: 'cancelled', step: stepOf(driver) })
    return driver.run
  }

  async setRate(runId: string, rate: number | null): Promise<RunRecord> {
    if (rate !== null && (!Number.isSafeInteger(rate) || rate < 1)) {
      throw new DomainError('invalid', `A rate of ${rate} is no whole number of bytes per second above 0.`)
    }
    return this.#set(runId, { rate })
  }

  skip(runId: string): Promise<RunRecord> {
    return this.#settle(runId, (driver) => {
      if (driver.position.asking) {
        throw new DomainError('conflict', `Operation ${runId} is at its commit: say whether it happened.`)
      }
      return { event: 'skipped', step: stepOf(driver) }
    })
  }

  decideCommit(runId: string, happened: boolean): Promise<RunRecord> {
    return this.#settle(runId, (driver) => {
      const step = stepOf(driver)
      if (!driver.position.asking) {
        throw new DomainError('conflict', `Operation ${runId} is not at its commit, but at ${step}.`)
      }
      if (happened) return { event: 'skipped', step }
      const message = 'The operator found that it did not happen.'
      return {
        event: 'not-happened',
        step,
        failure: { class: 'final', code: null, message },
        decision: 'unwind',
      }
    })
  }

  async #settle(runId: string, decide: (driver: Driver) => Fact): Promise<RunRecord> {
    const driver = this.#driverOf(runId)
    if (!driver?.position.attention) {
      const { state } = driver?.run ?? (await this.#existing(runId))
      throw new DomainError('conflict', `Operation ${runId} is ${state}; it needs no attention.`)
    }
    await driver.command(decide(driver))
    return driver.run
  }

  #driverOf(runId: string): Driver | undefined {
    this.#writer()
    return this.#drivers.get(runId)
  }

  async #set(runId: string, wish: Partial<SetControlsParams>): Promise<RunRecord> {
    const known = this.#drivers.get(runId)?.run ?? (await this.#existing(runId))
    if (hasEnded(known.state)) throw refused(known, wish)
    const at = this.#clock.written()
    const run = await this.#store.setControls({ ...this.#writer(), runId, at, ...wish })
    this.#drivers.get(runId)?.controlled(run.control)
    return this.#drivers.get(runId)?.run ?? run
  }

  async #existing(runId: string): Promise<RunRecord> {
    const run = await this.#store.get(runId)
    if (!run) throw new DomainError('notFound', `There is no operation ${runId}.`)
    return run
  }
}

const stepOf = (driver: Driver): string => driver.run.step ?? driver.run.steps.at(-1) ?? ''

/** Why a wish is refused: also for the stores, which must check it in their own transaction. */
export function refused(run: RunRecord, wish: Pick<SetControlsParams, 'cancelRequested'>): DomainError {
  const what = `Operation ${run.id} (${run.kind}) `
  const detail = { runId: run.id, state: run.state, step: run.step }
  if (hasEnded(run.state))
    return new DomainError('conflict', `${what}has ended: it is ${run.state}.`, { detail })
  if (!wish.cancelRequested) return new DomainError('conflict', `${what}is ${run.state}.`, { detail })
  const why =
    run.state === 'unwinding'
      ? 'is being undone already, after a failure'
      : `can be undone no more: it is ${run.state} at '${run.step}'`
  return new DomainError('conflict', `${what}cannot be cancelled: it ${why}.`, { detail })
}

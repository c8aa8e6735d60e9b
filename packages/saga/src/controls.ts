/** The operator's wishes: each is made durable first, then the run's driver is told. */
import { DomainError } from '@volant/contract/errors.ts'
import type { SteadyClock } from './clock.ts'
import type { Driver } from './driver.ts'
import type { Fact } from './plan.ts'
import type { StoreHealth, StoreTrouble } from './store-health.ts'
import type { SagaStore, SetControlsParams, Writer } from './store.ts'
import type { CopyControl, Failure, RunRecord } from './types.ts'
import { refusedWish, requirePossible, type Wish } from './wishes.ts'

export class Controls {
  readonly #store: SagaStore
  readonly #drivers: ReadonlyMap<string, Driver>
  readonly #writer: () => Writer
  readonly #clock: SteadyClock
  readonly #health: StoreHealth

  constructor(
    store: SagaStore,
    drivers: ReadonlyMap<string, Driver>,
    writer: () => Writer,
    clock: SteadyClock,
    health: StoreHealth,
  ) {
    this.#store = store
    this.#drivers = drivers
    this.#writer = writer
    this.#clock = clock
    this.#health = health
  }

  pause(runId: string): Promise<RunRecord> {
    return this.#set('pause', runId, { paused: true })
  }

  async resume(runId: string): Promise<RunRecord> {
    const run = await this.#set('resume', runId, { paused: false })
    const driver = this.#drivers.get(runId)
    if (!driver?.position.attention) return run
    await this.#recorded(driver, { event: 'resumed', step: stepOf(driver) })
    return driver.run
  }

  async cancel(runId: string): Promise<RunRecord> {
    const run = await this.#set('cancel', runId, { cancelRequested: true })
    const driver = this.#drivers.get(runId)
    if (!driver?.position.attention || driver.position.direction === 'backward') return run
    await this.#recorded(driver, { event: 'cancelled', step: stepOf(driver) })
    return driver.run
  }

  /** What is left out stays as it is. */
  async steer(runId: string, { rate, pace, priority }: Partial<CopyControl>): Promise<RunRecord> {
    if (rate !== undefined && rate !== null && (!Number.isSafeInteger(rate) || rate < 1)) {
      throw new DomainError('invalid', `A rate of ${rate} is no whole number of bytes per second above 0.`)
    }
    return this.#set('rate', runId, {
      ...(rate !== undefined && { rate }),
      ...(pace !== undefined && { pace }),
      ...(priority !== undefined && { priority }),
    })
  }

  skip(runId: string): Promise<RunRecord> {
    return this.#command('skip', runId, (driver) => ({ event: 'skipped', step: stepOf(driver) }))
  }

  decideCommit(runId: string, happened: boolean): Promise<RunRecord> {
    return this.#command('decide', runId, (driver) => {
      const step = stepOf(driver)
      if (happened) return { event: 'skipped', step }
      const message = 'The operator found that it did not happen.'
      const failure: Failure = { class: 'final', code: null, message }
      return { event: 'not-happened', step, failure, decision: 'unwind' }
    })
  }

  async #command(wish: Wish, runId: string, factOf: (driver: Driver) => Fact): Promise<RunRecord> {
    const driver = await this.#permitted(wish, runId)
    await this.#recorded(driver, factOf(driver))
    return driver.run
  }

  /** Whoever decides hears that it is on record, or that it is not yet. */
  async #recorded(driver: Driver, fact: Fact): Promise<void> {
    const before = this.#health.trouble
    if (before) throw new DomainError('unavailable', `Nothing was changed: ${before.reason}`)
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(notYet(this.#health.trouble)), recordPatienceMs)
    })
    try {
      await Promise.race([driver.command(fact), late])
    } finally {
      clearTimeout(timer)
    }
  }

  async #set(wish: Wish, runId: string, wanted: Partial<SetControlsParams>): Promise<RunRecord> {
    await this.#permitted(wish, runId)
    const at = this.#clock.written()
    const run = await this.#store.setControls({ ...this.#writer(), runId, at, ...wanted })
    this.#drivers.get(runId)?.controlled(run.control)
    return this.#drivers.get(runId)?.run ?? run
  }

  /** The run's driver, if the wish can be fulfilled now; whatever has not ended has one. */
  async #permitted(wish: Wish, runId: string): Promise<Driver> {
    this.#writer()
    const driver = this.#drivers.get(runId)
    if (!driver) throw await this.#over(runId)
    requirePossible(wish, driver)
    return driver
  }

  async #over(runId: string): Promise<DomainError> {
    const run = await this.#store.get(runId)
    if (!run) return new DomainError('notFound', `There is no operation ${runId}.`)
    return refusedWish(run, 'it has ended', [])
  }
}

/** How long a decision may take until it is on record. Milliseconds. */
const recordPatienceMs = 10_000

const notYet = (trouble: StoreTrouble | null): DomainError =>
  new DomainError(
    'unavailable',
    'The decision is not on record yet, and is carried out when it is. A restart before that forgets it: look again. ' +
      (trouble?.reason ?? ''),
  )

const stepOf = (driver: Driver): string => driver.run.step ?? driver.run.steps.at(-1) ?? ''

/** Why a store refuses a wish: it must check it in its own transaction, for a run may end at any moment. */
export const refused = (run: RunRecord, wish: Pick<SetControlsParams, 'cancelRequested'>): DomainError =>
  refusedWish(
    run,
    wish.cancelRequested ? 'it can be undone no more, and can only go on' : 'it takes no wish',
    [],
  )

/** A scripted fault of a simulated agent. */
export interface ScriptedFault {
  method: string
  error: Error
  /** 'before': nothing was done. 'after': the work was done and only the answer got lost. */
  when: 'before' | 'after'
}

export interface Faults {
  /** The next call of `method` throws: before it does anything, or after it has done its work. */
  failNext(method: string, error: Error, when?: 'before' | 'after'): void
  /** Scripted faults that no call has met yet; a test that scripts a fault asserts that none is left. */
  readonly pendingFaults: readonly ScriptedFault[]
  /** Names of the methods called, in order. */
  readonly calls: readonly string[]
}

/**
 * Wraps each method of a simulated agent such that scripted faults come to pass and calls are recorded.
 * `controls` are the methods by which a test drives the simulation: they are left as they are.
 */
export function withFaults<T extends object>(agent: T, controls: readonly (keyof T)[] = []): T & Faults {
  const faults: ScriptedFault[] = []
  const calls: string[] = []
  const take = (method: string, when: ScriptedFault['when']): Error | undefined => {
    const index = faults.findIndex((fault) => fault.method === method && fault.when === when)
    return index < 0 ? undefined : faults.splice(index, 1)[0]?.error
  }
  const control: Faults = {
    failNext: (method, error, when = 'before') => void faults.push({ method, error, when }),
    pendingFaults: faults,
    calls,
  }
  return new Proxy(agent, {
    get(target, name, receiver) {
      if (typeof name === 'string' && name in control) return Reflect.get(control, name) as unknown
      const value: unknown = Reflect.get(target, name, receiver)
      if (typeof value !== 'function' || typeof name !== 'string') return value
      if (controls.includes(name as keyof T)) return value
      return async (...args: unknown[]): Promise<unknown> => {
        calls.push(name)
        const early = take(name, 'before')
        if (early) throw early
        const result: unknown = await Reflect.apply(value, target, args)
        const late = take(name, 'after')
        if (late) throw late
        return result
      }
    },
  }) as T & Faults
}

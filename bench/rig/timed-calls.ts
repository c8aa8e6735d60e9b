/** `target`, of whose methods `names` each call is timed; `note` gets the milliseconds until its promise is settled. */
export function timedCalls<Target extends object>(
  target: Target,
  names: readonly (keyof Target)[],
  note: (ms: number) => void,
): Target {
  return new Proxy(target, {
    get(_target, name) {
      const value: unknown = Reflect.get(target, name, target)
      if (typeof value !== 'function') return value
      if (!names.includes(name as keyof Target)) return value.bind(target) as unknown
      return async (...parameters: unknown[]): Promise<unknown> => {
        const begun = performance.now()
        try {
          return await (value.apply(target, parameters) as Promise<unknown>)
        } finally {
          note(performance.now() - begun)
        }
      }
    },
  })
}

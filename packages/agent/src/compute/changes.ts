/** Wakes whoever waits for something to change. */
export class Changes {
  #count = 0
  readonly #waiting = new Set<() => void>()

  /** To be taken before one looks: what changes afterwards is not missed. */
  get count(): number {
    return this.#count
  }

  announce(): void {
    this.#count += 1
    for (const wake of this.#waiting) wake()
  }

  /** Returns as soon as there is a change after `count`, or after `timeoutMs`. */
  async after(count: number, timeoutMs: number): Promise<void> {
    if (count !== this.#count || timeoutMs <= 0) return
    await new Promise<void>((resolve) => {
      const wake = (): void => {
        clearTimeout(timer)
        this.#waiting.delete(wake)
        resolve()
      }
      const timer = setTimeout(wake, timeoutMs)
      this.#waiting.add(wake)
    })
  }
}

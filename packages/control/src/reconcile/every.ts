/** Runs a pass again and again, never twice at once; the returned function ends that and waits for the last. */
export function every(ms: number, pass: () => Promise<unknown>): () => Promise<void> {
  let last: Promise<unknown> = Promise.resolve()
  let busy = false
  const timer = setInterval(() => {
    if (busy) return
    busy = true
    last = pass()
      // A pass that failed says so itself; the next one tries again.
      .catch(() => {})
      .finally(() => (busy = false))
  }, ms)
  return async () => {
    clearInterval(timer)
    await last
  }
}

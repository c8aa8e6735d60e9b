/**
 * Runs a pass again and again, never twice at once. The returned function ends that, tells the last pass by its signal,
 * and waits for it.
 */
export function every(
  ms: number,
  pass: (stopping: AbortSignal) => Promise<unknown>,
  { atOnce = false }: { atOnce?: boolean } = {},
): () => Promise<void> {
  let last: Promise<unknown> = Promise.resolve()
  let busy = false
  const stopping = new AbortController()
  const begin = (): void => {
    if (busy) return
    busy = true
    last = pass(stopping.signal)
      // A pass that failed says so itself; the next one tries again.
      .catch(() => {})
      .finally(() => (busy = false))
  }
  const timer = setInterval(begin, ms)
  if (atOnce) begin()
  return async () => {
    clearInterval(timer)
    stopping.abort()
    await last
  }
}

/**
 * Asks once, and remembers the answer, for it stays true until the next start. What failed is not remembered: whoever asks
 * next tries again.
 */
export function askedOnce<Answer>(ask: () => Promise<Answer>): () => Promise<Answer> {
  let asked: Promise<Answer> | undefined
  return () => {
    asked ??= ask().catch((error: unknown) => {
      asked = undefined
      throw error
    })
    return asked
  }
}

/** The same for what stays true as long as `state` says the same: asked again when that has changed. */
export function askedWhile<Answer>(state: () => string, ask: () => Promise<Answer>): () => Promise<Answer> {
  let known: { state: string; ask: () => Promise<Answer> } | undefined
  return () => {
    // Before it is asked: what changes meanwhile is seen the next time.
    const now = state()
    if (known?.state !== now) known = { state: now, ask: askedOnce(ask) }
    return known.ask()
  }
}

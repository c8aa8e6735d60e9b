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

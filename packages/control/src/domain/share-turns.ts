/**
 * Who changes what serves a share, in this process: its head, its file system, its export. An operation holds the share's
 * key besides; the background pass, which holds none, asks in its turn whether somebody does.
 */
export class ShareTurns {
  readonly #last = new Map<string, Promise<unknown>>()

  /** Runs what it is given one after the other, for each share. A failure is its caller's. */
  async take<T>(shareId: string, work: () => Promise<T>): Promise<T> {
    const mine = (this.#last.get(shareId) ?? Promise.resolve()).then(work, work)
    const settled = mine.catch(() => {})
    this.#last.set(shareId, settled)
    try {
      return await mine
    } finally {
      if (this.#last.get(shareId) === settled) this.#last.delete(shareId)
    }
  }
}

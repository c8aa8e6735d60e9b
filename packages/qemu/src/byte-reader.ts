import type { Duplex } from 'node:stream'

/** Reads exact numbers of bytes from a stream, in order. One reader at a time. */
export class ByteReader {
  readonly #stream: Duplex
  #chunks: Buffer[] = []
  #have = 0
  #want: { bytes: number; resolve(bytes: Buffer): void; reject(error: Error): void } | undefined
  #error: Error | undefined
  readonly #onData = (chunk: Buffer): void => {
    this.#chunks.push(chunk)
    this.#have += chunk.length
    this.#serve()
  }
  readonly #onError = (error: Error): void => this.#fail(error)
  readonly #onClose = (): void => this.#fail(new Error('The connection has ended.'))

  constructor(stream: Duplex) {
    this.#stream = stream
    stream.on('data', this.#onData)
    stream.on('error', this.#onError)
    stream.on('close', this.#onClose)
    stream.on('end', this.#onClose)
  }

  take(bytes: number): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      this.#want = { bytes, resolve, reject }
      this.#serve()
    })
  }

  /** Leaves the stream to another reader, such as a TLS layer. Bytes already read must have been taken. */
  detach(): void {
    this.#stream.off('data', this.#onData)
    this.#stream.off('close', this.#onClose)
    this.#stream.off('end', this.#onClose)
    this.#stream.pause()
  }

  #serve(): void {
    const want = this.#want
    if (!want) return
    if (this.#have >= want.bytes) {
      const all = this.#chunks.length === 1 && this.#chunks[0] ? this.#chunks[0] : Buffer.concat(this.#chunks)
      this.#chunks = all.length > want.bytes ? [all.subarray(want.bytes)] : []
      this.#have = all.length - want.bytes
      this.#want = undefined
      want.resolve(all.subarray(0, want.bytes))
    } else if (this.#error) {
      this.#want = undefined
      want.reject(this.#error)
    }
  }

  #fail(error: Error): void {
    this.#error ??= error
    this.#serve()
  }
}

import type { IncomingHttpHeaders } from 'node:http'
import type { Dispatcher } from 'undici'

/** Bytes that may wait for who reads them before the server is made to wait. */
const QUEUE_MAX = 1 << 20

/**
 * One answer as it comes. It takes undici's events itself: the streams that undici would make of them cost more than the
 * request.
 */
export class Incoming implements Dispatcher.DispatchHandler {
  status = 0
  headers: IncomingHttpHeaders = {}
  readonly #started = Promise.withResolvers<void>()
  readonly #signal: AbortSignal
  #controller: Dispatcher.DispatchController | undefined
  #parts: Buffer[] = []
  #waiting = 0
  #isOver = false
  #error: Error | undefined
  #wake: () => void = () => {}

  constructor(pool: Dispatcher, options: Dispatcher.DispatchOptions, signal: AbortSignal) {
    this.#signal = signal
    signal.addEventListener('abort', this.#leave)
    pool.dispatch(options, this)
  }

  /** Rejects where no answer begins. */
  get started(): Promise<void> {
    return this.#started.promise
  }

  get isOver(): boolean {
    return this.#isOver
  }

  /** A connection that is not there yet is not waited for. */
  readonly #leave = () => {
    if (this.#controller) this.leave()
    else this.onResponseError(undefined, new Error('left'))
  }

  /** Nobody reads on. */
  leave(): void {
    if (!this.#isOver) this.#controller?.abort(new Error('left'))
  }

  /** What has come since, as much as it is; undefined at the end. Throws where the answer breaks off. */
  async take(): Promise<Buffer | undefined> {
    while (this.#parts.length === 0 && !this.#isOver)
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    const parts = this.#parts
    const [first] = parts
    if (first) {
      this.#parts = []
      this.#waiting = 0
      if (this.#controller?.paused) this.#controller.resume()
      return parts.length === 1 ? first : Buffer.concat(parts)
    }
    if (this.#error) throw this.#error
    return undefined
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller
    if (this.#signal.aborted) controller.abort(new Error('left'))
  }

  onResponseStart(_: Dispatcher.DispatchController, status: number, headers: IncomingHttpHeaders): void {
    if (status < 200) return
    this.status = status
    this.headers = headers
    this.#started.resolve()
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    this.#parts.push(chunk)
    this.#waiting += chunk.length
    if (this.#waiting > QUEUE_MAX) controller.pause()
    this.#wake()
  }

  onResponseEnd(): void {
    this.#end()
  }

  onResponseError(_: Dispatcher.DispatchController | undefined, error: Error): void {
    this.#error = error
    this.#started.reject(error)
    this.#end()
  }

  #end(): void {
    this.#isOver = true
    this.#signal.removeEventListener('abort', this.#leave)
    this.#wake()
  }
}

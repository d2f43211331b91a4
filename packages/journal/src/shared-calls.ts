import { whenTickEnds } from './tick.ts'

interface Waiting<Request, Result> {
  request: Request
  resolve: (result: Result) => void
  reject: (error: Error) => void
}

/**
 * Requests that come in one tick share a call, so that a round trip is paid for many of them. Each
 * is answered by itself.
 */
export class SharedCalls<Request, Result> {
  readonly #call: (requests: readonly Request[]) => Promise<readonly Result[]>
  readonly #sizeMax: number
  readonly #inFlightMax: number
  readonly #partFrom: number
  #waiting: Waiting<Request, Result>[] = []
  #inFlight = 0
  #scheduled = false

  /**
   * `call` gives a result for each request, in their order. Where more than `partFrom` wait, half of them go, and so many
   * at least: with one call in flight the server then works on the next part while the answers to the last are worked on
   * here, where it and its client would otherwise take turns. All that wait go at once unless it is given.
   */
  constructor(
    call: (requests: readonly Request[]) => Promise<readonly Result[]>,
    options: { sizeMax: number; inFlightMax: number; partFrom?: number },
  ) {
    this.#call = call
    this.#sizeMax = options.sizeMax
    this.#inFlightMax = options.inFlightMax
    this.#partFrom = options.partFrom ?? options.sizeMax
  }

  add(request: Request): Promise<Result> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ request, resolve, reject })
      if (this.#scheduled) return
      this.#scheduled = true
      whenTickEnds(() => {
        this.#scheduled = false
        this.#sendAll()
      })
    })
  }

  #sendAll(): void {
    const waiting = this.#waiting
    while (waiting.length > 0 && this.#inFlight < this.#inFlightMax) {
      const part = Math.max(Math.ceil(waiting.length / 2), this.#partFrom)
      void this.#send(waiting.splice(0, Math.min(part, this.#sizeMax)))
    }
  }

  async #send(batch: Waiting<Request, Result>[]): Promise<void> {
    this.#inFlight++
    let answer: (waiting: Waiting<Request, Result>, i: number) => void
    try {
      const results = await this.#call(batch.map(({ request }) => request))
      // One result for each request, as the call promises.
      answer = ({ resolve }, i) => resolve(results[i] as Result)
    } catch (error) {
      answer = ({ reject }) => reject(error as Error)
    }
    this.#inFlight--
    // Before these are answered: it is under way while they go on.
    this.#sendAll()
    batch.forEach(answer)
  }
}

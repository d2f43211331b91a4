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
  #waiting: Waiting<Request, Result>[] = []
  #inFlight = 0
  #scheduled = false

  /** `call` gives a result for each request, in their order. */
  constructor(
    call: (requests: readonly Request[]) => Promise<readonly Result[]>,
    options: { sizeMax: number; inFlightMax: number },
  ) {
    this.#call = call
    this.#sizeMax = options.sizeMax
    this.#inFlightMax = options.inFlightMax
  }

  add(request: Request): Promise<Result> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ request, resolve, reject })
      this.#schedule()
    })
  }

  #schedule(): void {
    if (this.#scheduled) return
    this.#scheduled = true
    whenTickEnds(() => {
      this.#scheduled = false
      while (this.#waiting.length > 0 && this.#inFlight < this.#inFlightMax)
        void this.#send(this.#waiting.splice(0, this.#sizeMax))
    })
  }

  async #send(batch: Waiting<Request, Result>[]): Promise<void> {
    this.#inFlight++
    try {
      const results = await this.#call(batch.map(({ request }) => request))
      // One result for each request, as the call promises.
      for (const [i, { resolve }] of batch.entries()) resolve(results[i] as Result)
    } catch (error) {
      for (const { reject } of batch) reject(error as Error)
    } finally {
      this.#inFlight--
      if (this.#waiting.length > 0) this.#schedule()
    }
  }
}

import { whenTickEnds } from './tick.ts'

interface Waiting<Request, Result> {
  request: Request
  resolve: (result: Result) => void
  reject: (error: Error) => void
}

/** So long a part waits for the answer to the one before, ms: about as long as a server on the same machine works on it. */
const PART_MS = 1

/**
 * Requests that come in one tick share a call, so that a round trip is paid for many of them. Each
 * is answered by itself.
 */
export class SharedCalls<Request, Result> {
  readonly #call: (requests: readonly Request[]) => Promise<readonly Result[]>
  readonly #sizeMax: number
  readonly #inFlightMax: number
  readonly #partFrom: number | undefined
  #waiting: Waiting<Request, Result>[] = []
  #inFlight = 0
  #scheduled = false
  #next: NodeJS.Timeout | undefined

  /**
   * `call` gives a result for each request, in their order. With `partFrom` those that wait go in parts, half of them and so
   * many at least; the next when the one before is answered, or a moment later where that takes long. So the server works
   * on a part while the answers to the last are worked on here, where all at once would make the two take turns.
   */
  constructor(
    call: (requests: readonly Request[]) => Promise<readonly Result[]>,
    options: { sizeMax: number; inFlightMax: number; partFrom?: number },
  ) {
    this.#call = call
    this.#sizeMax = options.sizeMax
    this.#inFlightMax = options.inFlightMax
    this.#partFrom = options.partFrom
  }

  add(request: Request): Promise<Result> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ request, resolve, reject })
      if (this.#scheduled) return
      this.#scheduled = true
      whenTickEnds(() => {
        this.#scheduled = false
        if (this.#partFrom === undefined || this.#inFlight === 0) this.#send()
        else this.#sendSoon()
      })
    })
  }

  #send(): void {
    clearTimeout(this.#next)
    this.#next = undefined
    const waiting = this.#waiting
    while (waiting.length > 0 && this.#inFlight < this.#inFlightMax) {
      const part = this.#partFrom === undefined ? waiting.length : Math.max(waiting.length >> 1, this.#partFrom)
      void this.#ask(waiting.splice(0, Math.min(part, this.#sizeMax)))
      if (this.#partFrom !== undefined) break
    }
    this.#sendSoon()
  }

  #sendSoon(): void {
    if (this.#waiting.length > 0 && this.#inFlight < this.#inFlightMax)
      this.#next ??= setTimeout(() => this.#send(), PART_MS)
  }

  async #ask(batch: Waiting<Request, Result>[]): Promise<void> {
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
    this.#send()
    batch.forEach(answer)
  }
}

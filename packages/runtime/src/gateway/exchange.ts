import type { RelayRequest } from '@muster/models'
import { MusterError } from '@muster/protocol'

/** What a client asks, in its own words. */
export type ClientRequest = Pick<RelayRequest, 'dialect' | 'body' | 'headers' | 'responseId' | 'kept'> & {
  route: string
}

/** What a client is given: the whole answer as JSON, or events as they come. */
export type GivenAnswer = { text: string } | { stream: AsyncIterable<string> }

/** A client's request while it is under way in this process: the only model step of its run executes it. */
export class Exchange {
  readonly request: ClientRequest
  /** When it came, ms since the epoch. */
  readonly at: number
  /** What the client is given, once the model has begun to answer. Rejects with why there is nothing. */
  readonly answer: Promise<GivenAnswer>
  hasBegun = false
  /** The client was given nothing yet. */
  isOpen = true
  #text: string | undefined
  readonly #answer = Promise.withResolvers<GivenAnswer>()
  // Most wait for neither.
  readonly #begun = new Told()
  readonly #recorded = new Told()

  constructor(request: ClientRequest, at: number) {
    this.request = request
    this.at = at
    this.answer = this.#answer.promise
    // Not everybody waits for it.
    this.answer.catch(() => {})
  }

  /** The model is about to be asked. Rejects with why it never is. */
  get begun(): Promise<void> {
    return this.#begun.promise
  }

  /** The run has ended, and that is durable. Rejects where it is no longer held here. */
  get recorded(): Promise<void> {
    return this.#recorded.promise
  }

  /** The request as JSON. */
  get text(): string {
    this.#text ??= JSON.stringify(this.request.body)
    return this.#text
  }

  begin(): void {
    this.hasBegun = true
    this.#begun.tell()
  }

  answered(answer: GivenAnswer): void {
    this.isOpen = false
    this.#answer.resolve(answer)
  }

  ended(): void {
    this.#recorded.tell()
  }

  /** The run goes on elsewhere, or waits. */
  lost(error: MusterError): void {
    this.failed(error)
    this.#recorded.tell(error)
  }

  /** Counts where nothing was answered yet. */
  failed(error: unknown): void {
    this.isOpen = false
    const failure =
      error instanceof MusterError ? error : new MusterError('internal', 'the call failed', { cause: error })
    this.#begun.tell(failure)
    this.#answer.reject(failure)
  }
}

/** What is told once; a promise of it is made where somebody asks. */
class Told {
  #isTold = false
  #error: MusterError | undefined
  #asked: PromiseWithResolvers<void> | undefined

  get promise(): Promise<void> {
    this.#asked ??= Promise.withResolvers()
    const { promise } = this.#asked
    promise.catch(() => {})
    if (this.#isTold) this.#settle()
    return promise
  }

  tell(error?: MusterError): void {
    if (this.#isTold) return
    this.#isTold = true
    this.#error = error
    this.#settle()
  }

  #settle(): void {
    if (this.#error) this.#asked?.reject(this.#error)
    else this.#asked?.resolve()
  }
}

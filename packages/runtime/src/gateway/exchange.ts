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
  /** The model is about to be asked. Rejects with why it never is. */
  readonly begun: Promise<void>
  /** What the client is given, once the model has begun to answer. Rejects with why there is nothing. */
  readonly answer: Promise<GivenAnswer>
  /** The run has ended, and that is durable. Rejects where it is no longer held here. */
  readonly recorded: Promise<void>
  hasBegun = false
  /** The client was given nothing yet. */
  isOpen = true
  #text: string | undefined
  readonly #begin: () => void
  readonly #answered: (answer: GivenAnswer) => void
  readonly #failed: (error: MusterError) => void
  readonly #recorded: PromiseWithResolvers<void> = Promise.withResolvers()

  constructor(request: ClientRequest, at: number) {
    this.request = request
    this.at = at
    const begun = Promise.withResolvers<void>()
    const answer = Promise.withResolvers<GivenAnswer>()
    this.begun = begun.promise
    this.answer = answer.promise
    // Not everybody waits for both.
    this.begun.catch(() => {})
    this.answer.catch(() => {})
    this.recorded = this.#recorded.promise
    this.recorded.catch(() => {})
    this.#begin = begun.resolve
    this.#answered = answer.resolve
    this.#failed = (error) => {
      begun.reject(error)
      answer.reject(error)
    }
  }

  /** The request as JSON. */
  get text(): string {
    this.#text ??= JSON.stringify(this.request.body)
    return this.#text
  }

  begin(): void {
    this.hasBegun = true
    this.#begin()
  }

  answered(answer: GivenAnswer): void {
    this.isOpen = false
    this.#answered(answer)
  }

  ended(): void {
    this.#recorded.resolve()
  }

  /** The run goes on elsewhere, or waits. */
  lost(error: MusterError): void {
    this.failed(error)
    this.#recorded.reject(error)
  }

  /** Counts where nothing was answered yet. */
  failed(error: unknown): void {
    this.isOpen = false
    this.#failed(
      error instanceof MusterError ? error : new MusterError('internal', 'the call failed', { cause: error }),
    )
  }
}

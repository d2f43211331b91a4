import type { Live } from '@muster/journal'
import type { ModelDelta } from '@muster/protocol'

/** What a model has written goes out so often, ms. */
const EVERY_MS = 100
/** Text that is kept until somebody listens; of more than this only the first part is shown, characters. */
const KEPT_MAX = 200_000

/** Brings what a model writes to whoever listens. Never waited for: what the run needs of it comes with the outcome. */
export class DeltaFeed {
  readonly #live: Live
  readonly #run: string
  readonly #of: Omit<ModelDelta, 'text'>
  #pending = ''
  #kept = 0
  #timer: NodeJS.Timeout | undefined
  #sending = false
  #over = false

  constructor(live: Live, run: string, of: Omit<ModelDelta, 'text'>) {
    this.#live = live
    this.#run = run
    this.#of = of
  }

  push(text: string): void {
    if (this.#over || this.#kept + text.length > KEPT_MAX) return
    this.#kept += text.length
    this.#pending += text
    this.#timer ??= setTimeout(() => void this.#send(), EVERY_MS)
  }

  /** The outcome is there: what is left says nothing that it does not. */
  end(): void {
    this.#over = true
    clearTimeout(this.#timer)
  }

  async #send(): Promise<void> {
    this.#timer = undefined
    if (this.#sending || this.#over) return
    this.#sending = true
    try {
      if (await this.#live.isHeard(this.#run)) {
        const text = this.#pending
        this.#pending = ''
        await this.#live.publish(this.#run, { ...this.#of, text })
      }
    } catch {
      // Redis is away: nobody hears this part.
    }
    this.#sending = false
    if (this.#pending !== '' && !this.#over) this.#timer ??= setTimeout(() => void this.#send(), EVERY_MS)
  }
}

import { randomUUID } from 'node:crypto'
import type { Amounts, Spend, SpendAccount, SpendAnswer } from '@muster/journal'
import type { Logger } from 'pino'

/** What a purse asks for at most: fewer are granted as the budget comes to its end. */
const STEPS = 10_000
const MS = 600_000
/** A purse that dies with its worker counts as used after so long, ms. */
const HELD_MS = 60_000
/** One that was filled so long ago is emptied, or filled anew where it is used, ms. */
const RENEW_MS = 5000
const PAUSE_MS = 100

type Refused = Extract<SpendAnswer, { refused: unknown }>

interface Filled {
  id: string
  granted: { steps: number; ms: number }
  left: { steps: number; ms: number }
}

/**
 * Steps, and time for them, that this worker has set aside of budgets over all workers and spends without asking: at most
 * a sixteenth of what is left of each.
 */
export class Purse {
  readonly #spend: Spend
  readonly #accounts: readonly SpendAccount[]
  readonly #options: { clock: () => number; log: Logger }
  #filled: Filled | undefined
  #filling = false
  #waiting: ((refused?: Refused) => void)[] = []
  #timer: NodeJS.Timeout | undefined
  #isUsed = false
  #closed = false
  /** Time that was used while nothing was set aside for it. */
  #owedMs = 0

  constructor(spend: Spend, accounts: readonly SpendAccount[], options: { clock: () => number; log: Logger }) {
    this.#spend = spend
    this.#accounts = accounts
    this.#options = options
  }

  /** Takes a step. True where there is one; otherwise `then` is called when it was taken, or with why there is none. */
  take(then: (refused?: Refused) => void): boolean {
    this.#isUsed = true
    if (this.#waiting.length === 0 && this.#takeOne()) return true
    this.#waiting.push(then)
    this.#fill()
    return false
  }

  #takeOne(): boolean {
    const filled = this.#filled
    if (!filled || filled.left.steps < 1 || filled.left.ms <= 0) return false
    filled.left.steps--
    const isLow = 2 * filled.left.steps < filled.granted.steps || 2 * filled.left.ms < filled.granted.ms
    if (isLow && filled.granted.steps > 1) this.#fill()
    return true
  }

  /** A step that was taken has used so much; none where it never began. */
  spend({ steps, ms }: { steps: number; ms: number }): void {
    const filled = this.#filled
    if (!filled) {
      this.#owedMs += ms
      return
    }
    filled.left.ms -= ms
    if (steps === 0) filled.left.steps++
  }

  /** Settles what was used and sets the next aside; one call at a time. */
  #fill(): void {
    if (this.#filling || this.#closed) return
    this.#filling = true
    this.#refill()
      .catch((error) => {
        this.#options.log.warn({ err: error }, 'budget not asked; it is tried again')
        return true
      })
      .then((isLater) => {
        this.#filling = false
        if (isLater && this.#waiting.length > 0) setTimeout(() => this.#fill(), PAUSE_MS).unref()
      })
  }

  /** Whether it is to be tried again. */
  async #refill(): Promise<boolean> {
    const { clock } = this.#options
    const before = this.#filled
    const id = randomUUID()
    // What is left of the one before may be used until the next is there; it is settled with what it was then.
    const answer = await this.#spend.reserve(this.#accounts, {
      ...{ id, until: clock() + HELD_MS, part: true },
      ask: [0, 0, STEPS, MS, 0],
      need: [0, 0, 1, 1, 0],
    })
    if ('refused' in answer) {
      if (before && before.left.steps > 0 && before.left.ms > 0) return false
      await this.#settle(before)
      if (!answer.refused.final) return true
      for (const then of this.#waiting.splice(0)) then(answer)
      return false
    }
    await this.#settle(before)
    const [, , steps, ms] = answer.granted
    this.#filled = { id, granted: { steps, ms }, left: { steps, ms: ms - this.#owedMs } }
    this.#owedMs = 0
    this.#timer ??= setInterval(() => this.#renew(), RENEW_MS).unref()
    while (this.#waiting.length > 0 && this.#takeOne()) this.#waiting.shift()?.()
    return true
  }

  async #settle(filled: Filled | undefined): Promise<void> {
    if (!filled) return
    if (this.#filled === filled) this.#filled = undefined
    await this.#spend.settle(this.#accounts, filled.id, used(filled))
  }

  #renew(): void {
    if (this.#isUsed) {
      this.#isUsed = false
      this.#fill()
      return
    }
    clearInterval(this.#timer)
    this.#timer = undefined
    if (!this.#filling)
      this.#settle(this.#filled).catch((error) => this.#options.log.warn({ err: error }, 'budget not settled'))
  }

  async close(): Promise<void> {
    this.#closed = true
    clearInterval(this.#timer)
    await this.#settle(this.#filled).catch(() => {})
  }
}

/** What was taken of it. Time may be overdrawn, by what was under way. */
function used({ granted, left }: Filled): Amounts {
  return [0, 0, granted.steps - left.steps, Math.max(Math.ceil(granted.ms - left.ms), 0), 0]
}

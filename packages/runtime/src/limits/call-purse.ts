import { randomUUID } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import type { Amounts, Spend, SpendAccount } from '@muster/journal'
import type { Logger } from 'pino'

/** So often it is filled anew while calls are made, ms. */
const PERIOD_MS = 200
/** Fewer calls in a period are each asked for. */
const CALLS_MIN = 4
/** It outlives every call's own time limit by this, so that calls that take from it late are covered too, ms. */
const HELD_MS = 4_000_000

/** Money, in billionths of a US dollar, and tokens. */
interface Sum {
  usd: number
  tokens: number
}

const none = (): Sum => ({ usd: 0, tokens: 0 })

/** What is set aside in all accounts, under one name at a time. */
export interface Advance {
  id: string | undefined
  /** When it counts as used unless it is renewed, ms since the epoch. */
  until: number
  /** Taken by nobody yet. */
  free: Sum
  /** Taken by calls that are under way. */
  taken: Sum
  /** By calls that have ended since Redis was told last. */
  used: Sum
}

interface CallPurseOptions {
  spend: Spend
  clock: () => number
  log: Logger
}

/**
 * Money and tokens that this process has set aside ahead of its calls where it makes many, so that they cost no round trip:
 * as much as twice of what its last calls were thought to need, and at most a sixteenth of what is left. So towards the end
 * of a budget, and where calls are few, there is nothing in it and each call is asked for by itself.
 */
export class CallPurse {
  readonly #accounts: readonly SpendAccount[]
  readonly #options: CallPurseOptions
  #now: Advance | undefined
  /** What calls have asked for since it was filled. */
  #asked = { calls: 0, most: none(), sum: none() }
  #filling: Promise<void> | undefined
  #closed = false
  #timer: NodeJS.Timeout | undefined

  constructor(accounts: readonly SpendAccount[], options: CallPurseOptions) {
    this.#accounts = accounts
    this.#options = options
  }

  /** What a call that may last until then may use, where that is here: to be given back by `give`. */
  take(need: Sum, until: number): Advance | undefined {
    const { most, sum } = this.#asked
    this.#asked.calls++
    add(sum, need)
    most.usd = Math.max(most.usd, need.usd)
    most.tokens = Math.max(most.tokens, need.tokens)
    this.#timer ??= setInterval(() => void this.refill(), PERIOD_MS).unref()
    const now = this.#now
    const isHere = now && !this.#filling && now.free.usd >= need.usd && now.free.tokens >= need.tokens
    if (!isHere || until > now.until) return undefined
    add(now.free, need, -1)
    add(now.taken, need)
    return now
  }

  /** A call has ended, and used so much of what it had taken. */
  give(from: Advance, taken: Sum, used: Sum): void {
    add(from.taken, taken, -1)
    add(from.used, used)
    add(from.free, taken)
    add(from.free, used, -1)
  }

  /** Settles what was used, and sets aside for the calls to come. */
  async refill(): Promise<void> {
    if (this.#filling) return
    const { calls, most, sum } = this.#asked
    this.#asked = { calls: 0, most: none(), sum: none() }
    if (calls >= CALLS_MIN) await this.#fill({ usd: 2 * sum.usd, tokens: 2 * sum.tokens }, most)
    else if (!this.#now) this.#rest()
    else if (!isNone(this.#now.free) || !isNone(this.#now.used)) await this.#fill(none(), none())
  }

  async #fill(ask: Sum, need: Sum): Promise<void> {
    this.#filling = this.#move(ask, need)
    await this.#filling
    this.#filling = undefined
  }

  /** Moves what calls have taken to a new name, since what is said of each must be heard once, and asks for more. */
  async #move(ask: Sum, need: Sum): Promise<void> {
    const now = this.#now ?? { id: undefined, until: 0, free: none(), taken: none(), used: none() }
    const { spend, log, clock } = this.#options
    const [to, until] = [randomUUID(), clock() + HELD_MS]
    const move = { from: now.id, to, until, used: amounts(now.used), keep: amounts(now.taken) }
    now.used = none()
    now.free = none()
    for (;;) {
      try {
        const granted = await spend.refill(this.#accounts, { ...move, ask: amounts(ask), need: amounts(need) })
        const isEmpty = granted?.every((amount) => amount === 0) && move.keep.every((amount) => amount === 0)
        // Where it has expired it has counted in full, with what is under way.
        this.#now = granted && !isEmpty ? now : undefined
        now.id = to
        now.until = until
        // Calls that have ended meanwhile have given back what they did not use.
        if (granted) add(now.free, { usd: granted[0], tokens: granted[1] })
        break
      } catch (error) {
        log.warn({ err: error }, 'budget not asked; it is tried again')
        if (this.#closed) break
        await pause(PERIOD_MS)
      }
    }
  }

  #rest(): void {
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  /** Gives back what no call has taken. */
  async close(): Promise<void> {
    this.#closed = true
    this.#rest()
    await this.#filling
    if (this.#now) await this.#move(none(), none())
  }
}

function isNone({ usd, tokens }: Sum): boolean {
  return usd === 0 && tokens === 0
}

function add(to: Sum, { usd, tokens }: Sum, times = 1): void {
  to.usd += times * usd
  to.tokens += times * tokens
}

function amounts({ usd, tokens }: Sum): Amounts {
  return [usd, tokens, 0, 0, 0]
}

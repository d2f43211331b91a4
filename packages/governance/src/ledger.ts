import type { Json } from '@muster/protocol'
import type { EventStatus, Term } from './history-term.ts'
import { type HistoryTerms, isCall, isOf, type Watch } from './history-terms.ts'
import { amountOf, isMatch, keyOf, type StepEvent } from './step-event.ts'
import { type Bucket, type Fact, isCounted, Tally } from './tally.ts'

/** A step that has been begun and has not ended. */
interface Open {
  facts: { term: number; fact: Fact }[]
  /** An attempt is under way. */
  isUnderWay: boolean
  /** An attempt may have happened, whatever comes of the next. */
  isUnsure: boolean
}

/** What a ledger goes on from. */
export interface LedgerState {
  at: number
  tallies: Json
  previous: (string | null)[]
}

/** What the terms of one scope count. Fed in the order in which things happened. */
export class Ledger {
  readonly #terms: HistoryTerms
  readonly #scope: Term['scope']
  readonly #tallies: readonly Tally[]
  /** Of each term: the key of the call that ended last, where it was one of them. */
  readonly #previous: (string | undefined)[]
  readonly #open = new Map<string, Open>()
  #at = 0

  constructor(terms: HistoryTerms, scope: Term['scope']) {
    this.#terms = terms
    this.#scope = scope
    this.#tallies = terms.all.map(({ withinMs }) => new Tally(withinMs))
    this.#previous = terms.all.map(() => undefined)
  }

  add(event: StepEvent): void {
    const watched = this.#terms.of(event.kind, event.target)?.[this.#scope]
    if (!watched) return
    this.#at = Math.max(this.#at, event.at)
    if (event.what === 'begun') {
      this.#begin(event, watched)
      return
    }
    const open = this.#open.get(event.step)
    if (event.retry) {
      if (!open) return
      open.isUnderWay = false
      open.isUnsure ||= event.unsure === true
      return
    }
    this.#open.delete(event.step)
    if (open && isUndone(event, open)) {
      for (const { term, fact } of open.facts)
        if (this.#terms.all[term]?.event.status === 'taken') this.#tallies[term]?.remove(fact)
    }
    // What has no effect is not journaled before it has ended.
    const statuses: (EventStatus | 'cancelled' | undefined)[] =
      open || event.status !== 'ok' ? [event.status] : ['ok', 'begun', 'taken']
    for (const watch of watched) if (statuses.includes(watch.pattern.status)) this.#note(event, watch)
    for (const watch of watched) if (statuses.includes(watch.pattern.status)) this.#reset(event, watch)
    if (isCall(event.kind)) this.#follow(event)
  }

  #begin(event: StepEvent, watched: readonly Watch[]): void {
    const before = this.#open.get(event.step)
    // However many attempts it takes, a step counts once, from the last on.
    for (const { term, fact } of before?.facts ?? []) this.#tallies[term]?.remove(fact)
    const open: Open = { facts: [], isUnderWay: true, isUnsure: before?.isUnderWay || before?.isUnsure || false }
    this.#open.set(event.step, open)
    for (const watch of watched) {
      const { status } = watch.pattern
      if (status !== 'begun' && status !== 'taken') continue
      const fact = this.#note(event, watch)
      if (fact) open.facts.push({ term: watch.term, fact })
    }
    for (const watch of watched) if (watch.pattern.status === 'begun') this.#reset(event, watch)
  }

  /** It was not begun after all. What an attempt before may have done still counts. */
  retract(step: string): void {
    const open = this.#open.get(step)
    if (!open) return
    open.isUnderWay = false
    if (open.isUnsure) return
    for (const { term, fact } of open.facts) this.#tallies[term]?.remove(fact)
    this.#open.delete(step)
  }

  #note(event: StepEvent, { term, pattern, isSince }: Watch): Fact | undefined {
    const { amount: field, operator } = this.#terms.all[term] ?? {}
    if (isSince || operator === 'previous' || !isMatch(event, pattern)) return undefined
    const amount = field ? amountOf(event, field) : 0
    return this.#tallies[term]?.add(keyOf(event, pattern), this.#at, amount, event.people)
  }

  #reset(event: StepEvent, { term, pattern, isSince }: Watch): void {
    if (!isSince || !isMatch(event, pattern)) return
    this.#tallies[term]?.reset(pattern.correlations.length > 0 ? keyOf(event, pattern) : undefined)
  }

  #follow(event: StepEvent): void {
    for (const [i, { operator, event: pattern, scope }] of this.#terms.all.entries()) {
      if (operator !== 'previous' || scope !== this.#scope) continue
      const isIt =
        pattern.kind === event.kind &&
        isOf(pattern, event.target) &&
        pattern.status === event.status &&
        isMatch(event, pattern)
      this.#previous[i] = isIt ? keyOf(event, pattern) : undefined
    }
  }

  /** Of a `previous`: the key of the call that ended last, where it was one. */
  previous(term: number): string | undefined {
    return this.#previous[term]
  }

  /** What a term counts of a key; undefined where there is nothing. */
  bucket(term: number, key: string, now: number): Bucket | undefined {
    return this.#tallies[term]?.at(key, Math.max(this.#at, now))
  }

  /** What of a bucket is of this step: an earlier attempt, or one that may have happened. */
  own(term: number, bucket: Bucket, step: string): readonly Fact[] {
    const open = this.#open.size > 0 ? this.#open.get(step) : undefined
    if (!open) return NOTHING
    return open.facts.flatMap(({ term: of, fact }) =>
      of === term && fact.bucket === bucket && isCounted(fact) ? fact : [],
    )
  }

  /** Of a ledger with no step open. */
  state(): LedgerState {
    const isOf = (_: unknown, i: number) => this.#terms.all[i]?.scope === this.#scope
    return {
      at: this.#at,
      tallies: this.#tallies.filter(isOf).map((tally) => tally.state()),
      previous: this.#previous.filter(isOf).map((key) => key ?? null),
    }
  }

  restore({ at, tallies, previous }: LedgerState): void {
    let next = 0
    for (const [i, { scope }] of this.#terms.all.entries()) {
      if (scope !== this.#scope) continue
      this.#tallies[i]?.restore((tallies as Json[])[next] ?? []) // what `state` gave
      this.#previous[i] = previous[next] ?? undefined
      next++
    }
    this.#at = at
  }
}

const NOTHING: readonly Fact[] = []

/** A step that ended so has not happened, and did not before. */
function isUndone({ status, unsure }: StepEvent, { isUnderWay, isUnsure }: Open): boolean {
  if (isUnsure || unsure) return false
  // Denied while an attempt is under way: that was begun before, and may have happened.
  return status === 'failed' || (status === 'denied' && !isUnderWay)
}

import type { Field, Pattern, Term } from './history-term.ts'

export interface Watch {
  term: number
  pattern: Pattern
  isSince: boolean
}

interface Watches {
  run: Watch[]
  session: Watch[]
  /** What other runs of the session need of it; undefined where they need nothing. */
  fields: readonly Field[] | undefined
  /** Terms of the session count it before it has ended. */
  isTaken: boolean
}

/** The terms of a policy set, and which steps they are about. */
export class HistoryTerms {
  readonly all: readonly Term[]
  /** Two sets that have the same go on with each other's past. */
  readonly key: string
  readonly ofSession: boolean
  readonly #byStep = new Map<string, Watches | undefined>()
  readonly #previous: boolean

  constructor(terms: readonly Term[]) {
    this.all = terms
    this.key = JSON.stringify(terms.map(({ text }) => text))
    this.ofSession = terms.some(({ scope }) => scope === 'session')
    this.#previous = terms.some(({ operator }) => operator === 'previous')
  }

  /** What is to be noted of such steps; undefined where nothing is. */
  of(kind: string, target: string): Watches | undefined {
    const key = `${kind} ${target}`
    if (!this.#byStep.has(key)) this.#byStep.set(key, this.#find(kind, target))
    return this.#byStep.get(key)
  }

  #find(kind: string, target: string): Watches | undefined {
    const terms: Record<Term['scope'], Watch[]> = { run: [], session: [] }
    const fields: Field[] = []
    let isKept = false
    for (const [i, term] of this.all.entries()) {
      const watched = [term.event, term.since].filter((one) => one?.kind === kind && isOf(one, target))
      for (const pattern of watched)
        if (pattern) terms[term.scope].push({ term: i, pattern, isSince: pattern === term.since })
      const isNext = term.operator === 'previous' && isCall(kind)
      if (term.scope !== 'session' || (watched.length === 0 && !isNext)) continue
      isKept = true
      for (const pattern of watched) fields.push(...fieldsOf(pattern))
      if (term.amount && watched.length > 0) fields.push(term.amount)
    }
    if (terms.run.length + terms.session.length === 0 && !(this.#previous && isCall(kind))) return undefined
    const isTaken = terms.session.some(({ pattern: { status } }) => status === 'taken' || status === 'begun')
    return { ...terms, fields: isKept ? fields : undefined, isTaken }
  }
}

export function isOf({ target }: Pattern, name: string): boolean {
  return target === '*' || target === name
}

/** What `previous` is about. */
export function isCall(kind: string): boolean {
  return kind === 'tool' || kind === 'agent'
}

function fieldsOf(pattern: Pattern | undefined): Field[] {
  if (!pattern) return []
  return [...pattern.comparisons, ...pattern.correlations].map(({ field }) => field)
}

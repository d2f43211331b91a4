import { type AuditRecord, type Hold, isHeld, newHold, type RunEvent, timeOf } from '@muster/protocol'

/** A hold that is placed when an erasure or a sweep has begun is too late for it, ms. */
const LATE_MS = 60_000

interface Placed {
  of: Omit<Hold, 'by'>
  lifted: number
}

/** What a record says was taken away. */
interface Taken {
  seq: number
  at: number
  what: string
  runs?: readonly string[]
  subject?: string
}

type Run = Parameters<typeof isHeld>[1]

/** Whether anything was taken away that a legal hold kept, by the tenant's record book and what is known of its runs. */
export class HoldConduct {
  readonly #holds = new Map<string, Placed>()
  readonly #taken: Taken[] = []
  readonly #runs = new Map<string, Run>()
  readonly #found: { seq: number; message: string }[] = []

  /** A record of the book, in its order. */
  record({ seq, action, about, at }: AuditRecord): void {
    const { hold: id, runs, run, subject, tenant } = about
    if (action === 'hold.placed' && typeof id === 'string') {
      const { hold: _, ...terms } = about
      const { data } = newHold.safeParse(terms)
      if (data) this.#holds.set(id, { of: { id, at, ...data }, lifted: Number.POSITIVE_INFINITY })
    }
    if (action === 'hold.lifted' && typeof id === 'string') {
      const placed = this.#holds.get(id)
      if (placed) placed.lifted = at
      else this.#found.push({ seq, message: `hold ${id} is said to be lifted, and was not placed` })
    }
    if (action === 'retention.expired' && runs !== null && typeof runs === 'object')
      this.#taken.push({ seq, at, what: 'a rule of retention', runs: Object.keys(runs) })
    if (action !== 'key.destroyed') return
    const what = 'an erasure'
    if (typeof run === 'string') this.#taken.push({ seq, at, what, runs: [run] })
    else if (typeof subject === 'string') this.#taken.push({ seq, at, what, subject })
    else if (tenant === true) this.#taken.push({ seq, at, what })
  }

  /** An entry of a run's journal. */
  take(id: string, { entry }: RunEvent): void {
    if (entry.type !== 'run.created') return
    const { definition, at, subject } = entry
    this.#runs.set(id, { id, name: definition.name, createdAt: at, subject })
  }

  findings(): { seq: number; message: string }[] {
    const found = [...this.#found]
    for (const one of this.#taken)
      for (const { of, lifted } of this.#holds.values()) {
        const inForce = of.at + LATE_MS < one.at && one.at + LATE_MS < lifted
        const kept = inForce ? this.#keptBy(of, one) : undefined
        if (kept !== undefined)
          found.push({ seq: one.seq, message: `${one.what} took away ${kept}, which hold ${of.id} kept` })
      }
    return found
  }

  #keptBy(of: Placed['of'], { runs, subject }: Taken): string | undefined {
    // What it looks at need not be all that the hold has.
    const hold = { ...of, by: { key: '', user: '' } }
    if (runs) return runs.find((id) => isHeld(hold, this.#runs.get(id) ?? { id, name: '', createdAt: timeOf(id) }))
    const { run, name, since, until } = of
    const isOfSubject = [run, name, since, until].every((term) => term === undefined)
    if (subject === undefined) return 'all content'
    if (isOfSubject && of.subject === subject) return `what is about ${subject}`
    for (const one of this.#runs.values()) if (one.subject === subject && isHeld(hold, one)) return one.id
    return undefined
  }
}

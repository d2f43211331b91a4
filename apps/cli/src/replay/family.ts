import type { EntryOf, Label, RunEvent } from '@muster/protocol'

interface Child {
  run: string
  parent: NonNullable<EntryOf<'run.created'>['parent']>
  labels: readonly Label[]
  /** For whom it is. */
  user: string
  ended: { status: string; labels: readonly Label[]; costUsd: number } | undefined
}

interface Odd {
  code: 'labels' | 'budget' | 'parent'
  run: string
  seq: number
  message: string
  unknown?: string
}

/**
 * A run that another began is of a step that is there, for the same person; labels go on from the step to the run and from
 * there to what the step gives, and so does what it has cost.
 */
export class Family {
  /** For whom each run is. */
  readonly #runs = new Map<string, string>()
  readonly #children = new Map<string, Child>()
  /** Of steps that are runs: by the run and the step. */
  readonly #given = new Map<string, readonly Label[]>()
  readonly #got = new Map<string, { seq: number; labels: readonly Label[]; status: string; costUsd: number }>()

  take(run: string, { entry }: RunEvent): void {
    const { seq } = entry
    if (entry.type === 'run.created') {
      const { parent, labels, by } = entry
      this.#runs.set(run, by.user)
      if (parent) this.#children.set(run, { run, parent, labels, user: by.user, ended: undefined })
    }
    if (entry.type === 'run.ended') {
      const child = this.#children.get(run)
      const { status, labels, costUsd } = entry
      if (child) child.ended = { status, labels, costUsd }
    }
    if (entry.type === 'step.intent' && entry.kind === 'agent') this.#given.set(`${run} ${entry.step}`, entry.labels)
    if (entry.type === 'step.ended' && entry.kind === 'agent' && entry.copied === undefined)
      this.#got.set(`${run} ${entry.step}`, {
        ...{ seq, labels: entry.labels, status: entry.status, costUsd: entry.costUsd ?? 0 },
      })
  }

  /** What does not fit together, and what cannot be told since the run above is not there. */
  *odd(): Generator<Odd> {
    for (const { run, parent, labels, user, ended } of this.#children.values()) {
      const step = `step ${parent.step} of run ${parent.run}`
      const own = { run, seq: 1 }
      const person = this.#runs.get(parent.run)
      if (person === undefined) {
        const unknown = 'that is not in the export'
        yield { code: 'labels', ...own, message: `the run may have lost labels of ${step}`, unknown }
        continue
      }
      const given = this.#given.get(`${parent.run} ${parent.step}`)
      if (!given) yield { code: 'parent', ...own, message: `the run says that ${step} began it, which began none` }
      if (user !== person)
        yield { code: 'parent', ...own, message: `the run is said to be for ${user}, and ${step} is for ${person}` }
      const before = missing(given ?? [], labels)
      if (before !== '') yield { code: 'labels', ...own, message: `the run has not the labels ${before} of ${step}` }
      const got = this.#got.get(`${parent.run} ${parent.step}`)
      // Where nobody waited for its end, it went on.
      if (!got || !ended || parent.until !== 'ended' || got.status === 'cancelled') continue
      const after = got.status === 'ok' ? missing(ended.labels, got.labels) : ''
      const at = { run: parent.run, seq: got.seq }
      if (after !== '')
        yield { code: 'labels', ...at, message: `step ${parent.step} has not the labels ${after} of run ${run}` }
      if (got.status === 'ok' && ended.status !== 'succeeded')
        yield { code: 'parent', ...at, message: `step ${parent.step} succeeded, and run ${run} has ${ended.status}` }
      if (got.status === 'ok' && Math.abs(got.costUsd - ended.costUsd) > CRUMB_USD)
        yield {
          ...{ code: 'budget', ...at },
          message: `step ${parent.step} says that it cost $${got.costUsd}, and run ${run} cost $${ended.costUsd}`,
        }
    }
  }
}

/** What adding up in another order may differ by. */
const CRUMB_USD = 1e-6

function missing(labels: readonly Label[], from: readonly Label[]): string {
  return labels.filter((label) => !from.includes(label)).join(', ')
}

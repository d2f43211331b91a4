import type { EntryOf, Label, RunEvent } from '@muster/protocol'

interface Child {
  run: string
  parent: NonNullable<EntryOf<'run.created'>['parent']>
  labels: readonly Label[]
  /** Of its end, where it has succeeded. */
  ended: { seq: number; labels: readonly Label[] } | undefined
}

/** Labels go on from a step to the run that it begins, and from there to what the step gives. */
export class FamilyLabels {
  readonly #runs = new Set<string>()
  readonly #children = new Map<string, Child>()
  /** Of steps that are runs: by the run and the step. */
  readonly #given = new Map<string, readonly Label[]>()
  readonly #got = new Map<string, { seq: number; labels: readonly Label[] }>()

  take(run: string, { entry }: RunEvent): void {
    this.#runs.add(run)
    const { seq } = entry
    if (entry.type === 'run.created' && entry.parent)
      this.#children.set(run, { run, parent: entry.parent, labels: entry.labels, ended: undefined })
    if (entry.type === 'run.ended' && entry.status === 'succeeded') {
      const child = this.#children.get(run)
      if (child) child.ended = { seq, labels: entry.labels }
    }
    if (entry.type === 'step.intent' && entry.kind === 'agent') this.#given.set(`${run} ${entry.step}`, entry.labels)
    if (entry.type === 'step.ended' && entry.kind === 'agent' && entry.status === 'ok')
      this.#got.set(`${run} ${entry.step}`, { seq, labels: entry.labels })
  }

  /** What lost labels on the way, and what cannot be told since the run above is not there. */
  *lost(): Generator<{ run: string; seq: number; message: string; unknown?: string }> {
    for (const { run, parent, labels, ended } of this.#children.values()) {
      const step = `step ${parent.step} of run ${parent.run}`
      if (!this.#runs.has(parent.run)) {
        yield { run, seq: 1, message: `the run may have lost labels of ${step}`, unknown: 'that is not in the export' }
        continue
      }
      const before = missing(this.#given.get(`${parent.run} ${parent.step}`) ?? [], labels)
      if (before !== '') yield { run, seq: 1, message: `the run has not the labels ${before} of ${step}` }
      const got = this.#got.get(`${parent.run} ${parent.step}`)
      const after = got && ended && parent.until === 'ended' ? missing(ended.labels, got.labels) : ''
      if (got && after !== '')
        yield {
          ...{ run: parent.run, seq: got.seq },
          message: `step ${parent.step} has not the labels ${after} of run ${run}`,
        }
    }
  }
}

function missing(labels: readonly Label[], from: readonly Label[]): string {
  return labels.filter((label) => !from.includes(label)).join(', ')
}

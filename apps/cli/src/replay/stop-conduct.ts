import { type AuditRecord, type EntryOf, nameOf } from '@muster/protocol'

/** So long workers may take to learn of a stop, and what they had decided then to write its intent, ms. */
const LATE_MS = 10_000

interface Stopped {
  from: number
  until: number
  by: string
}

/** When operators had stopped what, by the tenant's record book. */
export class StopConduct {
  readonly #stopped = new Map<string, Stopped[]>()

  /** A record of the book, in its order. */
  record({ action, about: { name }, at, by }: AuditRecord): void {
    if ((action !== 'stop.set' && action !== 'stop.lifted') || typeof name !== 'string') return
    const all = this.#stopped.get(name) ?? []
    this.#stopped.set(name, all)
    const last = all.at(-1)
    const isOpen = last?.until === Number.POSITIVE_INFINITY
    if (action === 'stop.lifted' && isOpen) last.until = at
    if (action === 'stop.set' && !isOpen) all.push({ from: at, until: Number.POSITIVE_INFINITY, by: by.user })
  }

  /** What was stopped for long when a step began, and not lifted; undefined where nothing was. */
  stopFor(created: EntryOf<'run.created'>, intent: EntryOf<'step.intent'>): { name: string; by: string } | undefined {
    for (const name of stopNames(created, intent))
      for (const { from, until, by } of this.#stopped.get(name) ?? [])
        if (intent.at > from + LATE_MS && intent.at < until - LATE_MS) return { name, by }
    return undefined
  }
}

/** The names of stops that hold a step back. */
export function stopNames(
  { definition: { kind, name } }: EntryOf<'run.created'>,
  { kind: called, target }: Pick<EntryOf<'step.intent'>, 'kind' | 'target'>,
): string[] {
  return ['tenant', `${kind}:${name}`, `${called}:${called === 'agent' ? nameOf(target) : target}`]
}

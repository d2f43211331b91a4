import { hash } from 'node:crypto'
import type { DefinitionManifest, EntryOf, RunEvent } from '@muster/protocol'

interface Kept {
  run: string
  seq: number
  step: string
  key: string
  begun: number
  ttlMs: number | undefined
}

export interface KeptFinding {
  run: string
  seq: number
  message: string
  /** Why it cannot be told. */
  unknown?: string
}

/**
 * Whether model calls that cost nothing, since an identical one had this answer, were ever answered so: by a call of the
 * tenant about the same subject, before, and for no longer than the agent keeps answers.
 */
export class KeptAnswers {
  /** When the answers that may be kept were given, by what they are. */
  readonly #given = new Map<string, number[]>()
  readonly #kept: Kept[] = []
  readonly #found: KeptFinding[] = []
  #run: { id: string; created: EntryOf<'run.created'> | undefined } = { id: '', created: undefined }
  #hasErased = false

  /**
   * An entry of a run's journal; the runs come one after the other.
   *
   * @param definitions what the run may be of, as far as that is known
   */
  take(
    run: string,
    { entry, content }: RunEvent,
    definitions: (created: EntryOf<'run.created'>) => readonly DefinitionManifest[],
  ): void {
    if (entry.type === 'run.created') this.#run = { id: run, created: entry }
    if (entry.type !== 'step.ended' || entry.kind !== 'model' || entry.status !== 'ok') return
    const { created } = this.#run
    if (entry.copied !== undefined || !created || this.#run.id !== run) return
    const known = definitions(created)
    const ttls = known.flatMap((one) => (one.kind === 'agent' ? (one.cacheMs ?? []) : []))
    const { seq, step, at, durationMs, cached, usage, costUsd } = entry
    const find = (message: string) => this.#found.push({ run, seq, message: `step ${step} ${message}` })
    // Those of agents that keep none are none.
    const mayKeep = known.length === 0 || ttls.length > 0
    if (cached && !mayKeep) find('is said to have an answer that was kept, and its agent keeps none')
    if (cached && (costUsd || usage?.inputTokens || usage?.outputTokens))
      find('is said to have an answer that was kept, and to have cost something')
    if (!mayKeep) return
    if (content === undefined) {
      this.#hasErased = true
      return
    }
    const key = hash('sha256', JSON.stringify([created.subject ?? null, entry.model ?? '', content]), 'hex')
    if (cached)
      this.#kept.push({
        run,
        seq,
        step,
        key,
        begun: at - durationMs,
        ttlMs: ttls.length > 0 ? Math.max(...ttls) : undefined,
      })
    else this.#given.set(key, [...(this.#given.get(key) ?? []), at])
  }

  /** @param lacking why the export may not have all answers that were given; undefined where it has */
  findings(lacking: string | undefined): KeptFinding[] {
    const unknown = lacking ?? (this.#hasErased ? 'content of others was erased' : undefined)
    return [
      ...this.#found,
      ...this.#kept.flatMap(({ run, seq, step, key, begun, ttlMs = Number.POSITIVE_INFINITY }) => {
        const given = this.#given.get(key) ?? []
        if (given.some((at) => at <= begun + SKEW_MS && at >= begun - ttlMs - SKEW_MS)) return []
        const message = `step ${step} is said to have an answer that was kept, and no call before had that`
        return [{ run, seq, message, ...(unknown === undefined ? {} : { unknown }) }]
      }),
    ]
  }
}

/** Clocks of workers may differ by so much, ms. */
const SKEW_MS = 60_000

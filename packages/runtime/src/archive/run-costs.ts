import { NO_COSTS } from '@muster/journal'
import type { CostLine, EntryOf, RunEvent } from '@muster/protocol'

/** The provider that a model call went to, by its route and the target that answered. */
export type ProviderOf = (route: string, target: string | undefined) => string

/** The last day that is written in ten characters, ms since the epoch: an entry can say any time. */
const DATE_MAX = Date.UTC(9999, 11, 31)

/** Names are cut to so many characters. */
const NAME_MAX = 256

/**
 * What a run's model calls have cost, by day, from its journal. What runs below it have cost is theirs, and what it was
 * begun with is its origin's.
 */
export function costLines(events: readonly RunEvent[], providerOf: ProviderOf): CostLine[] {
  const lines = new Map<string, CostLine>()
  let created: EntryOf<'run.created'> | undefined
  for (const { entry } of events) {
    if (entry.type === 'run.created') created = entry
    if (entry.type !== 'step.ended' || entry.kind !== 'model' || entry.copied || !entry.usage) continue
    const { usage, costUsd = 0, model, target, via, at } = entry
    const names = {
      model: (model ?? target).slice(0, NAME_MAX),
      provider: providerOf(target, via?.target).slice(0, NAME_MAX),
      agent: created?.definition.name ?? '',
      user: created?.by.user ?? '',
      team: created?.by.team ?? '',
      key: created?.by.key ?? '',
    }
    const day = new Date(Math.min(Math.max(at, 0), DATE_MAX)).toISOString().slice(0, 10)
    const key = JSON.stringify([day, names])
    const line = lines.get(key) ?? { day, names, ...NO_COSTS }
    lines.set(key, line)
    line.nanoUsd += whole(costUsd * 1e9)
    line.calls++
    line.inputTokens += whole(usage.inputTokens)
    line.outputTokens += whole(usage.outputTokens)
    line.cachedTokens += whole(usage.cachedTokens)
  }
  return [...lines.values()]
}

/** More than any call can cost, and little enough to add up: a server says what it likes. */
const MOST = 1e15

function whole(amount: number): number {
  return Number.isFinite(amount) ? Math.min(Math.max(Math.round(amount), 0), MOST) : 0
}

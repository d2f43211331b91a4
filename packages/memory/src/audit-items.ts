import type { AuditHit } from '@muster/protocol'
import { partition, sort } from './key.ts'

/** Hits of one run that one item holds. */
const CHUNK = 10
/** What is longer cannot be asked for, and its key could be too long. */
const TEXT_MAX = 256
export const HOUR_MS = 3_600_000

/** What hits have in common. */
export type Term = readonly [kind: string, ...values: string[]]

/** What a hit is found by. */
function termsOfHit(hit: AuditHit): Term[] {
  const asked = [...new Set(hit.decisions)].filter((decision) => decision !== 'allow')
  const terms: Term[] = [
    ['ALL'],
    ['NAME', hit.name],
    ...(hit.kind === 'run' ? [] : [['RESOURCE', hit.target] as const]),
    ...[...new Set([hit.by, ...hit.approvers])].map((person) => ['PERSON', person] as const),
    ...asked.flatMap((decision) => [['DECISION', decision] as const, ['DECISION', decision, hit.target] as const]),
    ...[...new Set(hit.policies)].map((policy) => ['POLICY', policy] as const),
    ...[...new Set(hit.labels)].map((label) => ['LABEL', label] as const),
    ...(hit.error === undefined ? [] : [['ERROR', hit.error] as const]),
  ]
  return terms.filter((term) => term.every(({ length }) => length <= TEXT_MAX))
}

/**
 * The items of hits. One holds a run's hits of one hour that have a term in common, under that term; what is long goes into
 * several. So the same hit is in several items, each whole: a search reads the items of one term of its filter, the one that
 * tells most, and looks at the rest of the filter hit by hit. Keys follow from the hits alone, and hits of one key come one
 * after the other, so that writing them again is harmless, and the item that has the last one has all.
 */
export function* auditItemsOf(tenant: string, hits: readonly AuditHit[]) {
  const byKey = new Map<string, { pk: string; hour: number; run: string; hits: AuditHit[] }>()
  for (const hit of hits)
    for (const term of termsOfHit(hit)) {
      const pk = partition(tenant, 'AUDIT', ...term)
      // What says a time before all is found as the oldest.
      const hour = Math.max(Math.floor(hit.at / HOUR_MS), 0)
      const key = JSON.stringify([pk, hour, hit.run])
      const group = byKey.get(key) ?? { pk, hour, run: hit.run, hits: [] }
      group.hits.push(hit)
      byKey.set(key, group)
    }
  for (const { pk, hour, run, hits } of byKey.values())
    for (let i = 0; i * CHUNK < hits.length; i++) {
      const part = hits.slice(i * CHUNK, (i + 1) * CHUNK)
      yield { pk, sk: sort('HIT', hour, run, i), last: part.at(-1)?.seq ?? 0, hits: JSON.stringify(part) }
    }
}

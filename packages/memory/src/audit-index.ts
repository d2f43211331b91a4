import { type AuditFilter, type AuditHit, type AuditPage, MusterError } from '@muster/protocol'
import { textOf } from './item.ts'
import { LAST, partition, sort } from './key.ts'
import type { Table } from './table.ts'

/** What steps came to, found by who, what and when. */
export interface AuditIndex {
  /**
   * Puts all of a run in, as far as it has come. The same again, or less, changes nothing.
   *
   * @throws MusterError `memory.unavailable`
   */
  put(tenant: string, hits: readonly AuditHit[]): Promise<void>
  /** Puts all of a run, or of several, in place of what is there, such as without the numbers that were erased. */
  replace(tenant: string, hits: readonly AuditHit[]): Promise<void>
  /** Takes all of a run out. */
  remove(tenant: string, hits: readonly AuditHit[]): Promise<void>
  /**
   * A page, newest hour first. It looks at `SCAN_MAX` hits at most, and gives a cursor where it stopped.
   *
   * @throws MusterError `request.invalid` for a cursor that is none; `memory.unavailable`
   */
  search(tenant: string, filter: AuditFilter, page: { limit: number; cursor?: string | undefined }): Promise<AuditPage>
}

/** Hits that one page looks at. */
const SCAN_MAX = 300
/** Items of one request, where not all that are read are found. */
const READ = 50
/** A page that takes longer than this asks for no more items, and goes on by its cursor, ms. */
const SCAN_MS = 20
/** Hits of one run that one item holds. */
const CHUNK = 10
const WRITES = 16
/** What is longer cannot be asked for, and its key could be too long. */
const TEXT_MAX = 256
const HOUR_MS = 3_600_000

/*
 * An item holds a run's hits of one hour that have a term in common, under that term; what is long goes into several. So
 * the same hit is in several items, each whole: a search reads the items of one term of its filter, the one that tells
 * most, and looks at the rest of the filter hit by hit. Keys follow from the hits alone, and hits of one key come one after
 * the other, so that writing them again is harmless, and the item that has the last one has all.
 */
export function openAuditIndex(table: Table, clock: () => number): AuditIndex {
  return {
    put: (tenant, hits) => each(itemsOf(tenant, hits), (item) => table.raise(item, 'last', item.last)),
    replace: (tenant, hits) => table.putAll(itemsOf(tenant, hits)),
    remove: (tenant, hits) => each(itemsOf(tenant, hits), ({ pk, sk }) => table.remove(pk, sk)),

    async search(tenant, filter, { limit, cursor }) {
      const after = cursor === undefined ? undefined : readCursor(cursor)
      const since = Math.floor((filter.since ?? 0) / HOUR_MS)
      const range = {
        from: sort('HIT', since),
        to:
          after?.sk ??
          (filter.until === undefined ? `HIT#${LAST}` : sort('HIT', Math.floor(filter.until / HOUR_MS), LAST)),
      }
      const page: AuditPage = { hits: [], scanned: 0 }
      const began = clock()
      let read = 0
      if (range.to < range.from) return page
      const [term, ...others] = termsOf(filter)
      const items = table.query({
        pk: partition(tenant, 'AUDIT', ...(term ?? [])),
        sk: range,
        descending: true,
        // What is filtered needs more items than it gives.
        page: others.length === 0 ? limit + 1 : READ,
      })
      for await (const item of items) {
        const sk = textOf(item, 'sk')
        const held: AuditHit[] = JSON.parse(textOf(item, 'hits'))
        for (const hit of held.reverse()) {
          if (after?.sk === sk && hit.seq >= after.seq) continue
          if (page.hits.length >= limit || page.scanned >= SCAN_MAX) return page
          page.scanned++
          if (matches(hit, filter)) page.hits.push(hit)
          page.cursor = `${sk.slice(4)}#${hit.seq}`
        }
        // Where the next request would begin.
        const isSlow = ++read % READ === 0 && clock() - began > SCAN_MS
        if (others.length > 0 && isSlow && page.cursor !== undefined) return page
      }
      delete page.cursor
      return page
    },
  }
}

/** Does it to all, some at a time. */
async function each<T>(items: Iterator<T, void>, write: (item: T) => Promise<unknown>): Promise<void> {
  const writers = Array.from({ length: WRITES }, async () => {
    for (let item = items.next(); !item.done; item = items.next()) await write(item.value)
  })
  await Promise.all(writers)
}

type Term = readonly [kind: string, ...values: string[]]

/** What a hit is found by. */
function termsOfHit(hit: AuditHit): Term[] {
  const asked = [...new Set(hit.decisions)].filter((decision) => decision !== 'allow')
  const terms: Term[] = [
    ['ALL'],
    ['NAME', hit.name],
    ['TARGET', hit.kind, hit.target],
    ...(hit.kind === 'run' ? [] : [['RESOURCE', hit.target] as const]),
    ...[...new Set([hit.by, ...hit.approvers])].map((person) => ['PERSON', person] as const),
    ...asked.flatMap((decision) => [['DECISION', decision] as const, ['DECISION', decision, hit.target] as const]),
    ...[...new Set(hit.policies)].map((policy) => ['POLICY', policy] as const),
    ...[...new Set(hit.labels)].map((label) => ['LABEL', label] as const),
    ...(hit.error === undefined ? [] : [['ERROR', hit.error] as const]),
  ]
  return terms.filter((term) => term.every(({ length }) => length <= TEXT_MAX))
}

/** The terms of a filter, that which tells most first; nothing where all is read. What is left must be looked at. */
function termsOf(filter: AuditFilter): (Term | undefined)[] {
  const { tool, resource = tool, decision, policy, error, label, name, person, by, approver } = filter
  const denied = decision === undefined || decision === 'allow' ? undefined : decision
  const ranked: (Term | undefined)[] = [
    denied && resource !== undefined ? ['DECISION', denied, resource] : undefined,
    error === undefined ? undefined : ['ERROR', error],
    denied === undefined ? undefined : ['DECISION', denied],
    approver === undefined ? undefined : ['PERSON', approver],
    person === undefined ? undefined : ['PERSON', person],
    by === undefined ? undefined : ['PERSON', by],
    tool === undefined ? undefined : ['TARGET', 'tool', tool],
    resource === undefined ? undefined : ['RESOURCE', resource],
    policy === undefined ? undefined : ['POLICY', policy],
    label === undefined ? undefined : ['LABEL', label],
    name === undefined ? undefined : ['NAME', name],
  ]
  const found = ranked.filter((term) => term !== undefined)
  const { min, max, status } = filter
  const rest = [min, max, status, by, approver].filter((one) => one !== undefined).map(() => undefined)
  return [...(found.length === 0 ? [['ALL'] as const] : found), ...rest]
}

function matches(hit: AuditHit, filter: AuditFilter): boolean {
  const { person, by, approver, name, tool, resource, decision, policy, label, error, status } = filter
  const { field = 'amount', min, max, since, until } = filter
  const amount = hit.amounts?.[field]
  return (
    (person === undefined || hit.by === person || hit.approvers.includes(person)) &&
    (by === undefined || hit.by === by) &&
    (approver === undefined || hit.approvers.includes(approver)) &&
    (name === undefined || hit.name === name) &&
    (tool === undefined || (hit.kind === 'tool' && hit.target === tool)) &&
    (resource === undefined || (hit.kind !== 'run' && hit.target === resource)) &&
    (decision === undefined || hit.decisions.includes(decision)) &&
    (policy === undefined || hit.policies.includes(policy)) &&
    (label === undefined || hit.labels.includes(label)) &&
    (error === undefined || hit.error === error) &&
    (status === undefined || hit.status === status) &&
    (min === undefined || (amount !== undefined && amount >= min)) &&
    (max === undefined || (amount !== undefined && amount <= max)) &&
    (since === undefined || hit.at >= since) &&
    (until === undefined || hit.at < until)
  )
}

/** Items of a run's hits. */
function* itemsOf(tenant: string, hits: readonly AuditHit[]) {
  const byKey = new Map<string, { pk: string; hour: number; run: string; hits: AuditHit[] }>()
  for (const hit of hits)
    for (const term of termsOfHit(hit)) {
      const pk = partition(tenant, 'AUDIT', ...term)
      const hour = Math.floor(hit.at / HOUR_MS)
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

/** Where a page ended: the item, and the hit in it. */
function readCursor(cursor: string): { sk: string; seq: number } {
  const [, hour, run, chunk, seq] = /^(\d{10})#([0-9a-f-]{36})#(\d{10})#(\d{1,10})$/.exec(cursor) ?? []
  if (hour === undefined || run === undefined)
    throw new MusterError('request.invalid', 'The cursor is none that a page has given', {
      issues: [{ path: '/cursor', message: 'take it as it came, with the same filter' }],
    })
  return { sk: sort('HIT', Number(hour), run, Number(chunk)), seq: Number(seq) }
}

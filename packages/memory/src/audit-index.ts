import { type AuditFilter, type AuditHit, type AuditPage, MusterError, ofOne, sideBySide } from '@muster/protocol'
import { auditItemsOf, HOUR_MS, type Term } from './audit-items.ts'
import { textOf } from './item.ts'
import { LAST, partition, sort } from './key.ts'
import { outcomes, type Settled } from './settled.ts'
import type { Table } from './table.ts'

/** Hits of a run. */
export interface AuditPut {
  tenant: string
  hits: readonly AuditHit[]
}

/** What steps came to, found by who, what and when. */
export interface AuditIndex {
  /**
   * Puts all of a run in, as far as it has come. The same again, or less, changes nothing.
   *
   * @throws MusterError `memory.unavailable`
   */
  put(tenant: string, hits: readonly AuditHit[]): Promise<void>
  /** The same of many runs at once; tells of each in their order, and never rejects. */
  putMany(puts: readonly AuditPut[]): Promise<Settled<void>[]>
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
/** Requests of one call that are under way at once. */
const WRITES = 32

export function openAuditIndex(table: Table, clock: () => number): AuditIndex {
  async function putMany(puts: readonly AuditPut[]): Promise<Settled<void>[]> {
    const failed = new Map<number, unknown>()
    function* writes() {
      for (const [of, { tenant, hits }] of puts.entries())
        try {
          for (const item of auditItemsOf(tenant, hits)) yield { of, item }
        } catch (error) {
          failed.set(of, error)
        }
    }
    await sideBySide(WRITES, writes(), async ({ of, item }) => {
      if (failed.has(of)) return
      await table.raise(item, 'last', item.last).catch((error: unknown) => failed.set(of, error))
    })
    return outcomes(
      puts.map(() => undefined),
      failed,
    )
  }

  return {
    putMany,

    async put(tenant, hits) {
      ofOne(await putMany([{ tenant, hits }]))
    },

    replace: (tenant, hits) => table.putAll(auditItemsOf(tenant, hits)),
    remove: (tenant, hits) => sideBySide(WRITES, auditItemsOf(tenant, hits), ({ pk, sk }) => table.remove(pk, sk)),

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
        // Also that in which the page before ended, and one that tells that there are more. What is filtered needs others.
        page: others.length === 0 ? limit + 2 : READ,
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

/** Where a page ended: the item, and the hit in it. */
function readCursor(cursor: string): { sk: string; seq: number } {
  const [, hour, run, chunk, seq] = /^(\d{10})#([0-9a-f-]{36})#(\d{10})#(\d{1,10})$/.exec(cursor) ?? []
  if (hour === undefined || run === undefined)
    throw new MusterError('request.invalid', 'The cursor is none that a page has given', {
      issues: [{ path: '/cursor', message: 'take it as it came, with the same filter' }],
    })
  return { sk: sort('HIT', Number(hour), run, Number(chunk)), seq: Number(seq) }
}

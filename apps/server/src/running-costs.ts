import type { Journal, RunCost, RunRecord } from '@muster/journal'
import { type CostLine, type Entry, isEnded, type RunEvent, sideBySide } from '@muster/protocol'
import { costLines, type ProviderOf } from '@muster/runtime'
import { LRUCache } from 'lru-cache'

/** Runs that are looked through, the newest first, and journals of them that are read side by side. */
const LISTED_MAX = 20_000
const PAGE = 500
const READERS = 8
/** Runs whose costs are remembered until they go on. */
const KNOWN_MAX = 10_000

/** What runs have cost that still go on, from their journals: each is read from where it was read last. */
export class RunningCosts {
  readonly #journal: Journal
  readonly #providerOf: ProviderOf
  readonly #known = new LRUCache<string, { seq: number; lines: CostLine[] }>({ max: KNOWN_MAX })

  constructor(journal: Journal, providerOf: ProviderOf) {
    this.#journal = journal
    this.#providerOf = providerOf
  }

  /** `tenants`: that so many are looked through together, who share in what is looked at. */
  async of(tenant: string, tenants = 1): Promise<RunCost[]> {
    const found: RunCost[] = []
    await sideBySide(READERS, await this.#running(tenant, LISTED_MAX / tenants), async (record) => {
      found.push({ run: record.id, lines: await this.#linesOf(record) })
    })
    return found.filter(({ lines }) => lines.length > 0)
  }

  async #running(tenant: string, most: number): Promise<RunRecord[]> {
    const running: RunRecord[] = []
    let before: string | undefined
    for (let listed = 0; listed < most; listed += PAGE) {
      const page = await this.#journal.list(tenant, PAGE, before)
      // One that was only created has made no call; one that has ended since may not be counted yet.
      running.push(...page.filter(({ id, status, seq }) => (isEnded(status) ? this.#known.has(id) : seq > 1)))
      before = page.at(-1)?.id
      if (page.length === 0) break
    }
    return running
  }

  async #linesOf({ id, seq, created }: RunRecord): Promise<readonly CostLine[]> {
    const known = this.#known.get(id) ?? { seq: 0, lines: [] }
    if (known.seq >= seq) return known.lines
    const events: RunEvent[] = [{ seq: 1, hash: '', entry: created }]
    let last = known.seq
    for await (const stored of this.#journal.read(id, known.seq)) {
      const entry = JSON.parse(stored.bytes) as Entry // written by the journal alone
      last = stored.seq
      if (entry.type === 'step.ended') events.push({ seq: stored.seq, hash: stored.hash, entry })
    }
    const lines = [...known.lines, ...costLines(events, this.#providerOf)]
    this.#known.set(id, { seq: last, lines })
    return lines
  }
}

import { CostBooks, type Journal, type MakingBooks, type RunCost } from '@muster/journal'
import type { Memory } from '@muster/memory'
import { type CostsRebuild, isEnded, newId, type StoredEntry } from '@muster/protocol'
import { toEvents } from './content.ts'
import { costLines, type ProviderOf } from './run-costs.ts'

/** Runs in Redis that are looked at at once, and those of the archive that are counted with one round trip. */
const PAGE = 500
const COUNTED = 200

interface Stores {
  journal: Journal
  memory: Memory
  providerOf: ProviderOf
}

/**
 * Makes the totals of a tenant's costs anew from what its runs have cost, as far as it comes until `until`: called again, it
 * goes on, here or elsewhere. What was begun under `name` is done where another is being made or none.
 */
export async function rebuildCosts(
  stores: Stores,
  tenant: string,
  { name, until }: { name?: string | undefined; until: () => boolean },
): Promise<CostsRebuild> {
  const books = new CostBooks(stores.journal, tenant)
  if (name === undefined) await books.begin(newId())
  let making = await books.making(name)
  const id = making?.name ?? name ?? ''
  let runs = 0
  for (; making; making = await books.making(id)) {
    runs = making.runs
    if (until()) return { id, done: false, runs }
    if (making.at.phase === 'runs') await countFound(stores, tenant, books, making)
    else runs = await countArchived(stores, tenant, books, { making, until })
  }
  return { id, done: true, runs }
}

/** Counts a page of runs that have ended and are not archived. */
async function countFound({ journal, providerOf }: Stores, tenant: string, books: CostBooks, making: MakingBooks) {
  const page = await journal.list(tenant, PAGE, making.at.run)
  for (const { id, seq } of page.filter(({ status }) => isEnded(status))) {
    const found = await costsIn(journal.read(id), providerOf)
    // One that left Redis meanwhile is in the archive.
    if (found.last === seq) await books.found(id, found.lines)
  }
  await books.move(making, page.at(-1)?.id)
}

/** Counts runs of the archive, and ends where there is none any more. Gives how many they have had then. */
async function countArchived(
  { memory, providerOf }: Stores,
  tenant: string,
  books: CostBooks,
  { making, until }: { making: MakingBooks; until: () => boolean },
): Promise<number> {
  let at = making
  let page: RunCost[] = []
  /** False where another has gone on: it is looked where they are. */
  const count = async () => {
    const next = await books.archived(at, page)
    page = []
    at = next ?? at
    return next !== undefined
  }
  for await (const { run, costs } of memory.archive.costs(tenant, making.at.run)) {
    page.push({ run, lines: costs ?? (await costsIn(memory.archive.entries(tenant, run), providerOf)).lines })
    const isOver = until()
    if (page.length < COUNTED && !isOver) continue
    if (!(await count()) || isOver) return at.runs
  }
  if (await count()) await books.end(at)
  return at.runs
}

async function costsIn(entries: AsyncIterable<StoredEntry>, providerOf: ProviderOf) {
  const events = await Array.fromAsync(toEvents(bare(entries)))
  return { lines: costLines(events, providerOf), last: events.at(-1)?.seq }
}

/** Costs are in the entries themselves; contents may be large, or elsewhere. */
async function* bare(entries: AsyncIterable<StoredEntry>): AsyncGenerator<StoredEntry> {
  for await (const { seq, hash, bytes } of entries) yield { seq, hash, bytes }
}

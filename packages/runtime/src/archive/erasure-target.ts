import type { Journal, RunRecord } from '@muster/journal'
import type { Archived, Memory } from '@muster/memory'
import { type Erasure, type ErasurePlan, isEnded, isHeld, type RunSummary } from '@muster/protocol'

/** Runs that an erasure says it waits for. */
const NAMED_MAX = 100
const PAGE = 200
/** Runs that are looked at, or erased, side by side. */
const AT_ONCE = 16

export interface Stores {
  journal: Journal
  memory: Memory
}

export type Target = Pick<Erasure, 'subject' | 'run'>

/** What it is of, as records have it. */
export function targetOf({ subject, run }: Target): Record<string, string | true> {
  if (subject !== undefined) return { subject }
  return run === undefined ? { tenant: true } : { run }
}

/** Ids of archived runs that an erasure is about, after `cursor`, in portions. */
export async function* archivedOf(
  memory: Memory,
  tenant: string,
  target: Target,
  cursor?: string,
): AsyncGenerator<string[], void> {
  let portion: string[] = []
  for await (const id of idsOf(memory, tenant, target, cursor)) {
    portion.push(id)
    if (portion.length < AT_ONCE) continue
    yield portion
    portion = []
  }
  if (portion.length > 0) yield portion
}

async function* idsOf(memory: Memory, tenant: string, { subject, run }: Target, cursor?: string) {
  if (run !== undefined) {
    if (cursor === undefined) yield run
  } else if (subject !== undefined) yield* memory.archive.ofSubject(tenant, subject, cursor)
  else for await (const { id } of memory.archive.all(tenant, cursor)) yield id
}

/** The archived runs of an erasure, some at once, as the archive knows them without looking into them. */
export async function* foundOf(memory: Memory, tenant: string, target: Target): AsyncGenerator<Archived[], void> {
  for await (const ids of archivedOf(memory, tenant, target))
    yield (await allOf(ids, (id) => memory.archive.find(tenant, id))).filter((run) => run !== undefined)
}

/** Gives what comes of each, in their order, when all have ended. @throws what the first of those that failed has thrown */
export async function allOf<T, R>(items: readonly T[], work: (item: T) => Promise<R>): Promise<R[]> {
  const ended = await Promise.allSettled(items.map(work))
  return ended.map((one) => {
    if (one.status === 'rejected') throw one.reason
    return one.value
  })
}

/** Runs of an erasure that are still in Redis and not archived. */
export async function liveOf({ journal }: Stores, tenant: string, { subject, run }: Target): Promise<RunRecord[]> {
  if (run !== undefined) {
    const record = await journal.get(run)
    return record?.created.tenant === tenant ? [record] : []
  }
  const found: RunRecord[] = []
  for (let before: string | undefined; ; ) {
    const page = await journal.list(tenant, PAGE, before)
    found.push(...page.filter(({ created }) => subject === undefined || created.subject === subject))
    before = page.at(-1)?.id
    if (page.length < PAGE) return found
  }
}

/** Holds that keep anything of what is to be erased. Says with `goesOn` that it is still looking. */
export async function heldBy(
  stores: Stores,
  {
    tenant,
    target,
    live,
    goesOn,
  }: { tenant: string; target: Target; live: readonly RunRecord[]; goesOn?: () => Promise<void> },
): Promise<string[]> {
  const { memory } = stores
  const holds = (await memory.holds.list(tenant)).filter(({ lifted }) => lifted === undefined)
  if (holds.length === 0) return []
  const { subject, run } = target
  const found = new Set<string>()
  const isAll = subject === undefined && run === undefined
  for (const hold of holds) {
    const { subject: of, run: one, name, since, until } = hold
    const isOfSubject = of !== undefined && of === subject && [one, name, since, until].every((x) => x === undefined)
    if (isAll || isOfSubject) found.add(hold.id)
  }
  const look = (summary: Pick<RunSummary, 'id' | 'name' | 'createdAt' | 'subject'>) => {
    for (const hold of holds) if (isHeld(hold, summary)) found.add(hold.id)
  }
  for (const { id, created } of live)
    look({ id, name: created.definition.name, createdAt: created.at, subject: created.subject })
  if (found.size === holds.length) return [...found]
  for await (const some of foundOf(memory, tenant, target)) {
    for (const summary of some) look(summary)
    if (found.size === holds.length) break
    await goesOn?.()
  }
  return [...found]
}

/** What an erasure would do now. */
export async function planErasure(stores: Stores, tenant: string, target: Target): Promise<ErasurePlan> {
  const live = await liveOf(stores, tenant, target)
  let [runs, entries] = [live.length, live.reduce((sum, { seq }) => sum + seq, 0)]
  const known = new Set(live.map(({ id }) => id))
  for await (const some of foundOf(stores.memory, tenant, target))
    for (const found of some) {
      if (known.has(found.id)) continue
      runs++
      entries += found.entries
    }
  return { dryRun: true, runs, entries, ...waiting(live), heldBy: await heldBy(stores, { tenant, target, live }) }
}

export function waiting(live: readonly RunRecord[]): { waitsFor: string[] } {
  const going = live.filter(({ status }) => !isEnded(status))
  return { waitsFor: going.slice(0, NAMED_MAX).map(({ id }) => id) }
}

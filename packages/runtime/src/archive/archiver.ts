import { type Journal, Outbox, RunCosts } from '@muster/journal'
import type { Memory } from '@muster/memory'
import { type AuditHit, type CostLine, ofOne, type Run, RunView, type StoredEntry } from '@muster/protocol'
import type { Logger } from 'pino'
import { auditHitsOf } from './audit-hits.ts'
import { toEvents, withBlobs } from './content.ts'
import { costLines, type ProviderOf } from './run-costs.ts'

interface Stores {
  journal: Journal
  memory: Memory
  providerOf: ProviderOf
}

/** A run as it is in the journal. */
interface Ended {
  run: Run
  entries: StoredEntry[]
  /** What the audit search finds of it. */
  hits: AuditHit[]
  costs: CostLine[]
}

/** Why runs could not be archived, by their ids. */
type Failures = Map<string, unknown>

/** Runs that are read side by side, and after so many characters what is read is archived: journals may be large. */
const READS_MAX = 8
const CHARACTERS_MAX = 8 * 1024 * 1024

/**
 * Puts ended runs into the archive, entry by entry as they are stored; then their journals may leave Redis. Side by side,
 * since each waits for DynamoDB several times, and in requests that they share.
 */
export async function archiveRuns(
  stores: Stores,
  ids: readonly string[],
  ttlS: number,
): Promise<PromiseSettledResult<void>[]> {
  const failures: Failures = new Map()
  let read: Ended[] = []
  let characters = 0
  const unique = [...new Set(ids)]
  for (let from = 0; from < unique.length; from += READS_MAX) {
    const some = unique.slice(from, from + READS_MAX)
    const found = await Promise.allSettled(some.map((id) => readEnded(stores, id)))
    note(failures, some, found)
    for (const result of found) {
      // Nothing where it was archived before, by a worker that died before it could say so.
      if (result.status === 'rejected' || !result.value) continue
      read.push(result.value)
      characters += charactersIn(result.value)
    }
    if (characters < CHARACTERS_MAX && from + READS_MAX < unique.length) continue
    await archive(stores, read, ttlS, failures)
    read = []
    characters = 0
  }
  return ids.map((id) =>
    failures.has(id) ? { status: 'rejected', reason: failures.get(id) } : { status: 'fulfilled', value: undefined },
  )
}

/** The same of one. @throws what kept it from being archived */
export async function archiveRun(stores: Stores, id: string, ttlS: number): Promise<void> {
  ofOne(await archiveRuns(stores, [id], ttlS))
}

async function readEnded({ journal, memory, providerOf }: Stores, id: string): Promise<Ended | undefined> {
  const record = await journal.get(id)
  if (!record) return undefined
  const { tenant } = record.created
  const entries: StoredEntry[] = []
  for await (const entry of withBlobs(journal.read(id), { tenant, run: id }, memory)) entries.push(entry)
  const view = new RunView()
  const events = await Array.fromAsync(toEvents(list(entries)))
  for (const event of events) view.add(event)
  const { run } = view
  return run && { run, entries, hits: auditHitsOf(events), costs: costLines(events, providerOf) }
}

function charactersIn({ entries }: Ended): number {
  return entries.reduce((sum, { bytes, content = '' }) => sum + bytes.length + content.length, 0)
}

/** One step after the other for all, in this order: of whoever dies in between, another does all of it again. */
async function archive({ journal, memory }: Stores, read: readonly Ended[], ttlS: number, failures: Failures) {
  const counts = new RunCosts(journal)
  const step = async (work: (going: Ended[]) => Promise<readonly PromiseSettledResult<unknown>[]>) => {
    const going = read.filter(({ run }) => !failures.has(run.id))
    if (going.length > 0)
      note(
        failures,
        going.map(({ run }) => run.id),
        await work(going),
      )
  }
  // Before the journal may leave: what died in between is done again.
  await step((all) => Promise.allSettled(all.map(({ run, costs }) => counts.add(run.tenant, run.id, costs))))
  await step((all) => memory.auditIndex.putMany(all.map(({ run, hits }) => ({ tenant: run.tenant, hits }))))
  await step((all) =>
    memory.archive.putMany(all.map(({ run, entries, costs }) => ({ tenant: run.tenant, run, entries, costs }))),
  )
  await step((all) =>
    Promise.allSettled(
      all.map(async ({ run, costs }) => {
        await journal.expire(run.id, run.tenant, ttlS)
        if (costs.length > 0) await counts.forget(run.tenant, run.id, ttlS)
      }),
    ),
  )
}

function note(failures: Failures, ids: readonly string[], results: readonly PromiseSettledResult<unknown>[]): void {
  for (const [i, id] of ids.entries()) {
    const result = results[i]
    if (result?.status === 'rejected') failures.set(id, result.reason)
  }
}

async function* list<T>(items: readonly T[]): AsyncGenerator<T> {
  yield* items
}

/** Archives ended runs as they come, in the background; gives how to stop. */
export function startArchiver(options: Stores & { worker: string; ttlS: number; log: Logger }): {
  close(): Promise<void>
} {
  const { journal, worker, ttlS, log } = options
  const ended = new Outbox(journal, 'ended', 'archiver', worker)
  ended.start(
    (records) =>
      archiveRuns(
        options,
        records.map(({ run }) => run),
        ttlS,
      ),
    (error, run) => log.warn({ run, err: error }, 'not archived yet; it is tried again'),
  )
  return ended
}

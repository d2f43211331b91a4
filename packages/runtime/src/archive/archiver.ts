import { type Journal, Outbox, RunCosts } from '@muster/journal'
import type { Memory } from '@muster/memory'
import { type Run, RunView, type StoredEntry } from '@muster/protocol'
import type { Logger } from 'pino'
import { auditHitsOf } from './audit-hits.ts'
import { toEvents, withBlobs } from './content.ts'
import { costLines, type ProviderOf } from './run-costs.ts'

/** Puts one ended run into the archive, entry by entry as it is stored; then its journal may leave Redis. */
export async function archiveRun(
  { journal, memory, providerOf }: { journal: Journal; memory: Memory; providerOf: ProviderOf },
  id: string,
  ttlS: number,
): Promise<void> {
  const record = await journal.get(id)
  if (!record) return // archived before, by a worker that died before it could say so
  const { tenant } = record.created
  const entries: StoredEntry[] = []
  for await (const entry of withBlobs(journal.read(id), { tenant, run: id }, memory)) entries.push(entry)
  const view = new RunView()
  const events = await Array.fromAsync(toEvents(list(entries)))
  for (const event of events) view.add(event)
  const run: Run | undefined = view.run
  if (!run) return
  const costs = new RunCosts(journal)
  const lines = costLines(events, providerOf)
  // Before the journal may leave: what died in between is done again.
  await costs.add(tenant, id, lines)
  await memory.auditIndex.put(tenant, auditHitsOf(events))
  await memory.archive.put(tenant, run, entries, lines)
  await journal.expire(id, tenant, ttlS)
  if (lines.length > 0) await costs.forget(tenant, id, ttlS)
}

async function* list<T>(items: readonly T[]): AsyncGenerator<T> {
  yield* items
}

/** Archives ended runs as they come, in the background; gives how to stop. */
export function startArchiver(options: {
  journal: Journal
  memory: Memory
  worker: string
  ttlS: number
  providerOf: ProviderOf
  log: Logger
}): { close(): Promise<void> } {
  const { journal, worker, ttlS, log } = options
  const ended = new Outbox(journal, 'ended', 'archiver', worker)
  ended.start(
    ({ run }) => archiveRun(options, run, ttlS),
    (error, run) => log.warn({ run, err: error }, 'not archived yet; it is tried again'),
  )
  return ended
}

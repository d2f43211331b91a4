import { once } from 'node:events'
import { isEnded, MusterError, type RunEvent, type RunSummary } from '@muster/protocol'
import type { Muster } from '@muster/sdk'
import { eventOf, readStoredJournal } from '../replay/stored-journal.ts'
import { csvHeader, csvLine } from './events/csv.ts'
import { ocsfEvent, type RunContext } from './events/ocsf.ts'

export type EventFormat = 'ocsf' | 'csv' | 'jsonl'

interface EventOptions {
  format: EventFormat
  run: string[]
  /** Entries written from then on, and before then; ms since the epoch. */
  since?: number
  until?: number
  content: boolean
}

const formats: Record<EventFormat, (event: RunEvent, context: RunContext, content: boolean) => string> = {
  ocsf: (event, context, content) => `${JSON.stringify(ocsfEvent(event, context, content))}\n`,
  csv: csvLine,
  jsonl: jsonLine,
}

/** `muster audit events`: entries of journals as other systems read them, one by one; nothing is held back or sorted. */
export async function auditEventsCommand(muster: Muster, options: EventOptions): Promise<number> {
  const { format, since = 0, until = Number.POSITIVE_INFINITY, content } = options
  const out = process.stdout
  // Who reads no more, as `head` does, wants no more.
  let closed = false
  out.on('error', () => {
    closed = true
  })
  const write = async (line: string): Promise<void> => {
    if (!out.write(line) && !closed) await Promise.race([once(out, 'drain'), once(out, 'close')]).catch(() => {})
  }
  if (format === 'csv') await write(csvHeader())
  for await (const run of options.run.length > 0 ? options.run : runsBetween(muster, since, until))
    for await (const [event, context] of eventsOf(muster, run)) {
      if (closed) return 0
      if (event.entry.at >= since && event.entry.at < until) await write(formats[format](event, context, content))
    }
  return 0
}

/** The runs that were under way in that time, newest first. A run of any age may have gone on in it. */
async function* runsBetween(muster: Muster, since: number, until: number): AsyncGenerator<string> {
  const wasUnderWay = ({ createdAt, endedAt, status }: RunSummary) =>
    createdAt < until && (!isEnded(status) || endedAt === undefined || endedAt >= since)
  for (let cursor: string | undefined; ; ) {
    const page = await muster.runs.list({ limit: 200, ...(cursor === undefined ? {} : { cursor }) })
    for (const run of page.runs) if (wasUnderWay(run)) yield run.id
    cursor = page.cursor
    if (cursor === undefined) return
  }
}

/**
 * A run's entries, each with what is known of the run by then.
 *
 * @throws MusterError `journal.corrupt` where an entry is none: what is left out unseen would be missed by nobody
 */
async function* eventsOf(muster: Muster, run: string): AsyncGenerator<[RunEvent, RunContext]> {
  let context: RunContext | undefined
  for await (const stored of (await readStoredJournal(muster, run)).entries) {
    const event = eventOf(stored)
    if (event?.entry.type === 'run.created') context = { run, created: event.entry, worker: undefined }
    if (!event || !context)
      throw new MusterError('journal.corrupt', `Entry ${stored.seq} of run ${run} is no journal entry`)
    const { entry } = event
    if (entry.type === 'run.activated') context = { ...context, worker: entry.worker }
    yield [event, isByServer(event) ? { ...context, worker: undefined } : context]
  }
}

/** What a client sent: the server took it. */
function isByServer({ entry }: RunEvent): boolean {
  return 'by' in entry
}

function jsonLine({ seq, hash, entry, content }: RunEvent, { run }: RunContext, withContent: boolean): string {
  return `${JSON.stringify({ id: `${run}/${seq}`, run, seq, hash, entry, ...(withContent ? { content } : {}) })}\n`
}

import { type Journal, Live, type LiveDelta, type RunRecord } from '@muster/journal'
import type { ArchiveListOptions, Memory } from '@muster/memory'
import {
  type Actor,
  type Erased,
  exactJson,
  isEnded,
  isId,
  type Json,
  MusterError,
  type Run,
  type RunEvent,
  type RunSummary,
  RunView,
  type StepError,
  type StoredEntry,
} from '@muster/protocol'
import { toEvents, withBlobs } from './content.ts'

/** Where a run's journal ends according to its own record, and its entries as they are stored. */
export interface StoredRun {
  head: string
  entries: number
  /** Who began it. */
  by: Actor
  read(after: number): AsyncIterable<StoredEntry>
}

/** Runs in Redis that a page looks at for those of a user or session: of many others' there may be few of theirs, or none. */
const LOOKED_MAX = 2000

/** Reads runs for one tenant at a time, from Redis while they are there and from the archive afterwards: the same bytes. */
export class RunReader {
  readonly #journal: Journal
  readonly #memory: Memory
  readonly #lookedMax: number

  constructor(journal: Journal, memory: Memory, lookedMax = LOOKED_MAX) {
    this.#journal = journal
    this.#memory = memory
    this.#lookedMax = lookedMax
  }

  /** @throws MusterError `run.not_found`, for another tenant's run as well */
  async run(tenant: string, id: string): Promise<Run> {
    return (await this.#liveRun(tenant, id, JSON.parse)) ?? (await this.#archived(tenant, id))
  }

  /**
   * The same to be sent on, with each number as it was written (`ExactNumber`): from its journal wherever that lies, since
   * the archive has a run's input and output as they are shown.
   *
   * @throws MusterError `run.not_found`
   */
  async exactRun(tenant: string, id: string): Promise<Run> {
    const live = await this.#liveRun(tenant, id, exactJson)
    const run = live ?? (await viewOf(toEvents(this.#memory.archive.entries(tenant, id), exactJson)))
    return run ?? this.#archived(tenant, id)
  }

  async #liveRun(tenant: string, id: string, read: (text: string) => Json): Promise<Run | undefined> {
    if (!(await this.#live(tenant, id))) return undefined
    return viewOf(toEvents(withBlobs(this.#journal.read(id), { tenant, run: id }, this.#memory), read))
  }

  /** @throws MusterError `run.not_found` */
  async stored(tenant: string, id: string): Promise<StoredRun> {
    const live = await this.#live(tenant, id)
    if (live)
      return {
        head: live.head,
        entries: live.seq,
        by: live.created.by,
        read: (after) => withBlobs(this.#journal.read(id, after), { tenant, run: id }, this.#memory),
      }
    const { head, entries, by } = await this.#archived(tenant, id)
    return { head, entries, by, read: (after) => this.#memory.archive.entries(tenant, id, { after }) }
  }

  /** @throws MusterError `run.not_found` */
  async beganBy(tenant: string, id: string): Promise<Actor> {
    const live = await this.#live(tenant, id)
    if (live) return live.created.by
    const by = await this.#memory.archive.beganBy(tenant, id)
    return by ?? (await this.#archived(tenant, id)).by
  }

  /**
   * A run's events after `after` as they become durable, up to its end.
   *
   * @throws MusterError `run.not_found`
   */
  async events(tenant: string, id: string, after: number, signal: AbortSignal): Promise<AsyncGenerator<RunEvent>> {
    const record = await this.#live(tenant, id)
    // Who has seen the end of a run and comes again waits for nothing.
    if (record && isEnded(record.status) && after >= record.seq) return toEvents(none())
    if (record) return this.#follow(tenant, id, after, signal)
    await this.#archived(tenant, id)
    return toEvents(this.#memory.archive.entries(tenant, id, { after }))
  }

  /**
   * The same, with what models write between them, from the batch after `live` on. Nothing is told of a step of which the
   * journal has told the end.
   *
   * @throws MusterError `run.not_found`
   */
  async watch(
    tenant: string,
    id: string,
    { after, live }: { after: number; live: string },
    signal: AbortSignal,
  ): Promise<AsyncGenerator<RunEvent | LiveDelta>> {
    const record = await this.#live(tenant, id)
    const events = await this.events(tenant, id, after, signal)
    if (!record || isEnded(record.status)) return events
    return this.#merge(id, events, { live, told: after >= record.seq, from: record.seq }, signal)
  }

  async *#merge(
    id: string,
    events: AsyncGenerator<RunEvent>,
    { live, told, from }: { live: string; told: boolean; from: number },
    signal: AbortSignal,
  ): AsyncGenerator<RunEvent | LiveDelta> {
    const over = new AbortController()
    const deltas = new Live(this.#journal).listen(id, live, AbortSignal.any([signal, over.signal]))
    const ended = new Set<string>()
    let event = events.next()
    // Before what stood in the journal is told, nobody knows which deltas are old.
    let delta = told ? deltas.next() : undefined
    try {
      for (;;) {
        const next = await (delta === undefined ? event : Promise.race([event, delta]))
        if (next.done) return
        const { value } = next
        if ('entry' in value) {
          event = events.next()
          const { entry } = value
          // A failed attempt is followed by another, which writes anew.
          if (entry.type === 'step.ended' && !entry.retry) ended.add(entry.step)
          if (value.seq >= from) delta ??= deltas.next()
          yield value
          if (entry.type === 'run.ended') return
        } else {
          delta = deltas.next()
          if (!ended.has(value.step)) yield value
        }
      }
    } finally {
      over.abort()
      // What was asked for and is not read is not to fail unseen.
      delta?.catch(() => {})
      event.catch(() => {})
    }
  }

  async *#follow(tenant: string, id: string, after: number, signal: AbortSignal): AsyncGenerator<RunEvent> {
    let seen = after
    for await (const event of toEvents(
      withBlobs(this.#journal.follow(id, after, signal), { tenant, run: id }, this.#memory),
    )) {
      yield event
      seen = event.seq
      if (event.entry.type === 'run.ended') return
    }
    // It was archived and left Redis meanwhile.
    if (!signal.aborted) yield* toEvents(this.#memory.archive.entries(tenant, id, { after: seen }))
  }

  /**
   * A tenant's runs, newest first, and the cursor of the next page; without a cursor there are no more. By user or session a
   * page that is not full, or empty, may have one all the same: it looks at so many runs at most that are not archived yet.
   */
  async list(tenant: string, filter: ArchiveListOptions): Promise<{ runs: RunSummary[]; cursor?: string }> {
    const { user, session, limit } = filter
    const wanted = limit + 1
    const most = (user ?? session) === undefined ? Number.POSITIVE_INFINITY : this.#lookedMax
    // One after the other: what leaves Redis in between is in the archive by then, and a run is not in neither.
    const live = await this.#listLive(tenant, { ...filter, limit: wanted }, most)
    // Below the last that was looked at not all is known.
    const archived = await this.#memory.archive.list(tenant, { ...filter, limit: wanted, since: live.stop })
    const byId = new Map([...archived, ...live.runs].map((run) => [run.id, run]))
    const runs = [...byId.values()].sort((a, b) => (a.id < b.id ? 1 : -1)).slice(0, wanted)
    if (runs.length < wanted) return { runs, ...(live.stop === undefined ? {} : { cursor: live.stop }) }
    runs.length = limit
    return { runs, cursor: runs.at(-1)?.id ?? '' }
  }

  /** Those in Redis; `stop`: the last that was looked at, where there may be others below. */
  async #listLive(
    tenant: string,
    filter: ArchiveListOptions,
    most: number,
  ): Promise<{ runs: RunSummary[]; stop?: string | undefined }> {
    const found: RunSummary[] = []
    const page = Math.min(200, most)
    let looked = 0
    for (let before = filter.before; found.length < filter.limit; ) {
      const records = await this.#journal.list(tenant, page, before)
      for (const record of records) {
        if (filter.status !== undefined && record.status !== filter.status) continue
        if (filter.name !== undefined && record.created.definition.name !== filter.name) continue
        if (filter.session !== undefined && record.created.session !== filter.session) continue
        if (filter.user !== undefined && record.created.by.user !== filter.user) continue
        const summary = summaryOf(record)
        if (filter.error === undefined || summary.error?.code === filter.error) found.push(summary)
      }
      before = records.at(-1)?.id
      if (records.length < page) break
      looked += page
      if (looked >= most && found.length < filter.limit) return { runs: found, stop: before }
    }
    return { runs: found.slice(0, filter.limit) }
  }

  async #live(tenant: string, id: string): Promise<RunRecord | undefined> {
    if (!isId(id)) throw notFound(id)
    const record = await this.#journal.get(id)
    return record?.created.tenant === tenant ? record : undefined
  }

  async #archived(tenant: string, id: string): Promise<Run> {
    const run = await this.#memory.archive.get(tenant, id)
    if (run) return run
    throw notFound(id, await this.#memory.archive.erased(tenant, id))
  }
}

async function viewOf(events: AsyncIterable<RunEvent>): Promise<Run | undefined> {
  const view = new RunView()
  for await (const event of events) view.add(event)
  return view.run
}

async function* none(): AsyncGenerator<never> {}

function notFound(id: string, removed?: Erased): MusterError {
  const why = removed
    ? ` any more: rule ${removed.id} of retention removed it ${new Date(removed.at).toISOString()}`
    : ''
  return new MusterError('run.not_found', `There is no run ${id.slice(0, 64)}${why}`)
}

function summaryOf({ id, status, created, summary }: RunRecord): RunSummary {
  const { definition, tenant, session, subject, parent, at } = created
  // Written by the worker that parked or ended the run.
  const {
    costUsd = 0,
    steps = 0,
    endedAt,
    error,
  } = (summary ?? {}) as { costUsd?: number; steps?: number; endedAt?: number; error?: StepError }
  return {
    id,
    tenant,
    status,
    kind: definition.kind,
    name: definition.name,
    version: definition.version,
    ...(session === undefined ? {} : { session }),
    ...(subject === undefined ? {} : { subject }),
    ...(parent ? { parent } : {}),
    createdAt: at,
    ...(endedAt === undefined ? {} : { endedAt }),
    costUsd,
    steps,
    ...(error ? { error } : {}),
  }
}

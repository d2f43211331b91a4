import type { Journal, RunRecord } from '@muster/journal'
import type { Memory, OpenErasure, Shredded } from '@muster/memory'
import {
  type Erased,
  type Erasure,
  type ErasureCounts,
  type ErasurePlan,
  type Hold,
  isEnded,
  isHeld,
  MusterError,
  type RunSummary,
  toMusterError,
} from '@muster/protocol'
import type { Logger } from 'pino'
import { archiveRun } from './archiver.ts'
import { auditHitsOf } from './audit-hits.ts'
import { toEvents } from './content.ts'
import type { RecordBook } from './record-book.ts'
import { REFUSAL_SEEN_MS } from './refusals.ts'
import type { ProviderOf } from './run-costs.ts'

/** How often workers look for erasures, and how long one that took one has it without a word, ms. */
const POLL_MS = 1000
const LEASE_MS = 10_000
/** Runs that an erasure says it waits for. */
const NAMED_MAX = 100
const PAGE = 200

/** What no erasure reaches: told with each that is done. */
const LEFT = [
  'what webhooks, exports, logs and telemetry have sent outside',
  'entries of journals: names, labels, people, errors and digests',
  'names of sessions, and kinds and subjects of facts',
  'backups of the table from before, as far as they were made without a master key or hold that of then',
]

interface Stores {
  journal: Journal
  memory: Memory
}

type Target = Pick<Erasure, 'subject' | 'run'>

/** Takes out all content of an ended run: where it stands in Redis, in the archive, and what it has left behind. */
async function eraseRun(
  { journal, memory }: Stores,
  tenant: string,
  run: string,
  why: Erased,
): Promise<ErasureCounts | undefined> {
  const { archive, auditIndex, facts, sessions, pasts } = memory
  const found = await archive.get(tenant, run)
  if (!found) return undefined
  await journal.expire(run, tenant, 0)
  const { session } = found
  const turns = session === undefined ? 0 : await sessions.erase(tenant, session, run)
  if (session !== undefined) await pasts.erase(tenant, session, run)
  const saved = await facts.erase(tenant, run)
  const counts = await archive.eraseContent(tenant, run, why)
  // The same places, without the numbers that came from content.
  await auditIndex.replace(tenant, auditHitsOf(await Array.fromAsync(toEvents(archive.entries(tenant, run)))))
  return { runs: 1, entries: counts?.entries ?? 0, turns, facts: saved, blobs: counts?.blobs ?? 0 }
}

/** Ids of archived runs that an erasure is about, after `cursor`. */
async function* archivedOf(memory: Memory, tenant: string, { subject, run }: Target, cursor?: string) {
  if (run !== undefined) {
    if (cursor === undefined) yield run
  } else if (subject !== undefined) yield* memory.archive.ofSubject(tenant, subject, cursor)
  else for await (const { id } of memory.archive.all(tenant, cursor)) yield id
}

/** Runs of an erasure that are still in Redis and not archived. */
async function liveOf({ journal }: Stores, tenant: string, { subject, run }: Target): Promise<RunRecord[]> {
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

/** Holds that keep anything of what is to be erased. */
async function heldBy(stores: Stores, tenant: string, target: Target, live: readonly RunRecord[]): Promise<string[]> {
  const { memory } = stores
  const holds = (await memory.holds.list(tenant)).filter(({ lifted }) => lifted === undefined)
  if (holds.length === 0) return []
  const { subject, run } = target
  const found = new Set<string>()
  const isAll = (hold: Hold) => subject === undefined && run === undefined && hold.lifted === undefined
  for (const hold of holds) {
    const { subject: of, run: one, name, since, until } = hold
    const isOfSubject = of !== undefined && of === subject && [one, name, since, until].every((x) => x === undefined)
    if (isAll(hold) || isOfSubject) found.add(hold.id)
  }
  const look = (summary: Pick<RunSummary, 'id' | 'name' | 'createdAt' | 'subject'>) => {
    for (const hold of holds) if (isHeld(hold, summary)) found.add(hold.id)
  }
  for (const { id, created } of live)
    look({ id, name: created.definition.name, createdAt: created.at, subject: created.subject })
  if (found.size === holds.length) return [...found]
  for await (const id of archivedOf(memory, tenant, target)) {
    const summary = await memory.archive.get(tenant, id)
    if (summary) look(summary)
  }
  return [...found]
}

/** What an erasure would do now. */
export async function planErasure(stores: Stores, tenant: string, target: Target): Promise<ErasurePlan> {
  const live = await liveOf(stores, tenant, target)
  let [runs, entries] = [live.length, live.reduce((sum, { seq }) => sum + seq, 0)]
  for await (const id of archivedOf(stores.memory, tenant, target)) {
    const found = live.some((record) => record.id === id) ? undefined : await stores.memory.archive.get(tenant, id)
    runs += found ? 1 : 0
    entries += found?.entries ?? 0
  }
  return { dryRun: true, runs, entries, ...waiting(live), heldBy: await heldBy(stores, tenant, target, live) }
}

function waiting(live: readonly RunRecord[]): { waitsFor: string[] } {
  const going = live.filter(({ status }) => !isEnded(status))
  return { waitsFor: going.slice(0, NAMED_MAX).map(({ id }) => id) }
}

/**
 * Carries erasures on, in the background of every worker, one at a time. All that is done may be done again: who dies leaves
 * it to the next, which goes on from what was saved.
 */
export class Eraser {
  readonly #stores: Stores & { book: RecordBook; providerOf: ProviderOf }
  readonly #clock: () => number
  readonly #log: Logger
  #timer: NodeJS.Timeout | undefined
  #closed = false
  #working: Promise<void> = Promise.resolve()

  constructor(options: Stores & { book: RecordBook; clock: () => number; log: Logger; providerOf: ProviderOf }) {
    this.#stores = options
    this.#clock = options.clock
    this.#log = options.log
  }

  start(): void {
    this.#timer = setTimeout(() => {
      this.#working = this.#look()
        .catch((error) => this.#log.warn({ err: error }, 'erasures not looked for'))
        .then(() => {
          if (!this.#closed) this.start()
        })
    }, POLL_MS)
    this.#timer.unref()
  }

  async close(): Promise<void> {
    this.#closed = true
    clearTimeout(this.#timer)
    await this.#working
  }

  async #look(): Promise<void> {
    for (const open of await this.#stores.memory.erasures.open()) {
      if (this.#closed) return
      if (open.until > this.#clock()) continue
      try {
        await this.#carryOn(open)
      } catch (error) {
        this.#log.warn({ erasure: open.erasure.id, err: error }, 'erasure is tried again')
      }
    }
  }

  async #carryOn(found: OpenErasure): Promise<void> {
    const { memory } = this.#stores
    let open = await this.#save(found, {})
    if (open.erasure.state === 'requested' || open.erasure.state === 'held' || open.erasure.state === 'waiting')
      open = await this.#prepare(open)
    if (open.erasure.state === 'erasing') open = await this.#erase(open)
    const { tenant, erasure } = open
    const isForgotten = this.#clock() >= (erasure.destroyedAt ?? 0) + memory.keys.cacheMs
    if (erasure.state === 'settling' && isForgotten) await this.#finish(open)
    // Whoever looks then goes on.
    else await memory.erasures.save({ ...open, until: this.#nextLook(erasure) })
    if (erasure.state !== found.erasure.state)
      this.#log.info({ tenant, erasure: erasure.id, state: erasure.state }, 'erasure')
  }

  #nextLook({ state, destroyedAt = 0 }: Erasure): number {
    if (state === 'settling') return destroyedAt + this.#stores.memory.keys.cacheMs
    // A hold stays for long, and to look at all that it may hold is much.
    return state === 'held' ? this.#clock() + LEASE_MS : 0
  }

  /** Waits for holds and runs; once there are none, nothing more comes: runs are refused. */
  async #prepare(open: OpenErasure): Promise<OpenErasure> {
    const { journal } = this.#stores
    const { tenant, erasure } = open
    const live = await liveOf(this.#stores, tenant, erasure)
    const held = await heldBy(this.#stores, tenant, erasure, live)
    const { heldBy: _held, waitsFor: _waits, ...rest } = erasure
    if (held.length > 0) return this.#save(open, { state: 'held', heldBy: held, waitsFor: undefined })
    for (const { id, status } of live) {
      if (isEnded(status)) await archiveRun(this.#stores, id, 0)
      else if (erasure.terminate)
        await journal.post(id, { type: 'cancel', by: erasure.by, now: true }).catch(unlessOver)
    }
    const { waitsFor } = waiting(live)
    const isSeen = this.#clock() >= erasure.at + 2 * REFUSAL_SEEN_MS
    if (waitsFor.length > 0 || live.length > 0 || !isSeen)
      return this.#save({ ...open, erasure: rest }, { state: 'waiting', waitsFor })
    const begun = await this.#save({ ...open, erasure: rest }, { state: 'erasing' })
    // A hold that came meanwhile is seen here, or sees that it comes too late.
    const late = await heldBy(this.#stores, tenant, erasure, [])
    return late.length > 0 ? this.#save(begun, { state: 'held', heldBy: late }) : begun
  }

  /** Takes out the content run by run, and destroys the keys. */
  async #erase(begun: OpenErasure): Promise<OpenErasure> {
    const { memory, book } = this.#stores
    const open = await this.#sweep(begun, true)
    const { tenant, erasure } = open
    const { id, by } = erasure
    const about = { erasure: id, ...targetOf(erasure) }
    await book.append(tenant, { at: this.#clock(), by, action: 'key.destroyed', about })
    const keys = await memory.keys.destroy(tenant, shreddedOf(erasure))
    return this.#save(open, { state: 'settling', keys, destroyedAt: this.#clock(), cursor: undefined })
  }

  /** What came while others still had the keys is taken out as well; then it is done. */
  async #finish(settled: OpenErasure): Promise<void> {
    const { journal, memory, book } = this.#stores
    const { tenant, erasure } = await this.#sweep(settled, false)
    const { id, by, keys = [], erased } = erasure
    const left = (await journal.rewriteLog()) ? LEFT : [...LEFT, 'the append-only file of Redis, until it is rewritten']
    const done: Erasure = { ...erasure, state: 'done', doneAt: this.#clock(), left }
    const about = { erasure: id, ...targetOf(erasure), ...erased, keys: keys.length }
    await book.append(tenant, { at: this.#clock(), by, action: 'erasure.done', about })
    await memory.erasures.close({ ...settled, erasure: done })
    this.#log.info({ tenant, erasure: id, ...erased }, 'erased')
  }

  async #sweep(begun: OpenErasure, counted: boolean): Promise<OpenErasure> {
    const { tenant, erasure } = begun
    const why: Erased = { at: erasure.at, by: 'erasure', id: erasure.id, user: erasure.by.user }
    let open = begun
    for await (const id of archivedOf(this.#stores.memory, tenant, erasure, counted ? erasure.cursor : undefined)) {
      if (this.#closed) throw new MusterError('internal', 'the worker closes: another goes on')
      const counts = await eraseRun(this.#stores, tenant, id, why)
      if (counts && counted) open = await this.#save(open, { cursor: id, erased: sum(open.erasure.erased, counts) })
      else if (open.until - this.#clock() < LEASE_MS / 2) open = await this.#save(open, {})
    }
    return open
  }

  /** Keeps what has changed, and that it is ours for a time. @throws MusterError `memory.conflict` where another has it */
  async #save(open: OpenErasure, change: { [K in keyof Erasure]?: Erasure[K] | undefined }): Promise<OpenErasure> {
    const erasure = { ...open.erasure, ...change } as Erasure // what is undefined is left out where it is written
    const saved = await this.#stores.memory.erasures.save({ ...open, erasure, until: this.#clock() + LEASE_MS })
    if (saved) return saved
    throw new MusterError('memory.conflict', `erasure ${erasure.id} is another's`)
  }
}

/** What it is of, as records have it. */
export function targetOf({ subject, run }: Target): Record<string, string | true> {
  if (subject !== undefined) return { subject }
  return run === undefined ? { tenant: true } : { run }
}

function shreddedOf({ subject, run }: Target): Shredded {
  if (subject !== undefined) return { subject }
  return run === undefined ? { tenant: true } : { run }
}

function sum(one: ErasureCounts, other: ErasureCounts): ErasureCounts {
  return {
    runs: one.runs + other.runs,
    entries: one.entries + other.entries,
    turns: one.turns + other.turns,
    facts: one.facts + other.facts,
    blobs: one.blobs + other.blobs,
  }
}

function unlessOver(error: unknown): void {
  const { code } = toMusterError(error)
  if (code !== 'run.ended' && code !== 'run.not_found') throw error
}

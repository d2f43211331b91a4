import type { OpenErasure, Shredded } from '@muster/memory'
import { type Erased, type Erasure, type ErasureCounts, isEnded, MusterError, toMusterError } from '@muster/protocol'
import type { Logger } from 'pino'
import { archiveRun } from './archiver.ts'
import { auditHitsOf } from './audit-hits.ts'
import { toEvents } from './content.ts'
import { allOf, archivedOf, heldBy, liveOf, type Stores, type Target, targetOf, waiting } from './erasure-target.ts'
import type { RecordBook } from './record-book.ts'
import { REFUSAL_SEEN_MS } from './refusals.ts'
import type { ProviderOf } from './run-costs.ts'

/** How often workers look for erasures, and how long one that took one has it without a word, ms. */
const POLL_MS = 1000
const LEASE_MS = 10_000
/** What no erasure reaches: told with each that is done. */
const LEFT = [
  'what webhooks, exports, logs and telemetry have sent outside',
  'entries of journals: names, labels, people, errors and digests',
  'names of sessions, and kinds and subjects of facts',
  'backups of the table from before, as far as they were made without a master key or hold that of then',
]

/** Takes out all content of an ended run: where it stands in Redis, in the archive, and what it has left behind. */
async function eraseRun(
  { journal, memory }: Stores,
  tenant: string,
  run: string,
  why: Erased,
): Promise<ErasureCounts | undefined> {
  const { archive, auditIndex, facts, sessions, pasts } = memory
  const found = await archive.find(tenant, run)
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
  async #prepare(found: OpenErasure): Promise<OpenErasure> {
    const { journal } = this.#stores
    const { tenant, erasure } = found
    let open = found
    const goesOn = async () => {
      open = await this.#keep(open)
    }
    const live = await liveOf(this.#stores, tenant, erasure)
    const held = await heldBy(this.#stores, { tenant, target: erasure, live, goesOn })
    const { heldBy: _held, waitsFor: _waits, ...rest } = erasure
    if (held.length > 0) return this.#save(open, { state: 'held', heldBy: held, waitsFor: undefined })
    for (const { id, status } of live) {
      await goesOn()
      if (isEnded(status)) await archiveRun(this.#stores, id, 0)
      else if (erasure.terminate)
        await journal.post(id, { type: 'cancel', by: erasure.by, now: true }).catch(unlessOver)
    }
    const { waitsFor } = waiting(live)
    const isSeen = this.#clock() >= erasure.at + 2 * REFUSAL_SEEN_MS
    if (waitsFor.length > 0 || live.length > 0 || !isSeen)
      return this.#save({ ...open, erasure: rest }, { state: 'waiting', waitsFor })
    return this.#save({ ...open, erasure: rest }, { state: 'erasing' })
  }

  /**
   * A hold that came when it began is seen here, or sees that it comes too late. Nothing is erased before, so that who dies
   * leaves this to the next.
   */
  async #lookAgain(begun: OpenErasure): Promise<OpenErasure> {
    const { tenant, erasure } = begun
    let open = begun
    const goesOn = async () => {
      open = await this.#keep(open)
    }
    const held = await heldBy(this.#stores, { tenant, target: erasure, live: [], goesOn })
    return held.length > 0 ? this.#save(open, { state: 'held', heldBy: held }) : open
  }

  /** Takes out the content, some runs side by side, and destroys the keys. */
  async #erase(begun: OpenErasure): Promise<OpenErasure> {
    const { memory, book } = this.#stores
    const seen = begun.erasure.cursor === undefined ? await this.#lookAgain(begun) : begun
    if (seen.erasure.state === 'held') return seen
    const open = await this.#sweep(seen, true)
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
    for await (const ids of archivedOf(this.#stores.memory, tenant, erasure, counted ? erasure.cursor : undefined)) {
      open = await this.#keep(open)
      const counts = await allOf(ids, (id) => eraseRun(this.#stores, tenant, id, why))
      const erased = counts.filter((one) => one !== undefined).reduce(sum, open.erasure.erased)
      if (counted) open = await this.#save(open, { cursor: ids.at(-1), erased })
    }
    return open
  }

  /** Before what may take long: it stays ours. @throws MusterError `internal` where this worker closes */
  async #keep(open: OpenErasure): Promise<OpenErasure> {
    if (this.#closed) throw new MusterError('internal', 'the worker closes: another goes on')
    return open.until - this.#clock() < LEASE_MS / 2 ? this.#save(open, {}) : open
  }

  /** Keeps what has changed, and that it is ours for a time. @throws MusterError `memory.conflict` where another has it */
  async #save(open: OpenErasure, change: { [K in keyof Erasure]?: Erasure[K] | undefined }): Promise<OpenErasure> {
    const erasure = { ...open.erasure, ...change } as Erasure // what is undefined is left out where it is written
    const saved = await this.#stores.memory.erasures.save({ ...open, erasure, until: this.#clock() + LEASE_MS })
    if (saved) return saved
    throw new MusterError('memory.conflict', `erasure ${erasure.id} is another's`)
  }
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

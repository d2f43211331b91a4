import type { CostLine } from '@muster/protocol'
import { countCosts, KEPT_DAYS, MAKING_MS } from './cost-count.ts'
import type { Journal } from './journal.ts'
import type { Partition } from './partition.ts'
import type { RunCost } from './run-costs.ts'
import { tenantPartition } from './tenant-partition.ts'

const DAY_MS = 86_400_000
/** Days that nothing of it is kept of, but that clocks may differ by. */
const MORE_DAYS = 3
const RUNS = 'runs:'
const ARCHIVE = 'archive:'

/** Books of a tenant's costs that are being made, and where they are: at runs in Redis, or in the archive. */
export interface MakingBooks {
  name: string
  place: string
  /** Archived runs that they have had. */
  runs: number
  /** The last run that they have had: of those in Redis, the newest first, or of the archive, the oldest first. */
  at: { phase: 'runs' | 'archive'; run: string | undefined }
}

/**
 * Makes a tenant's books of costs anew, while the ones that hold go on. From when they begin, what ends is counted in both.
 * What had ended before is in Redis or in the archive, which it enters before it leaves Redis: so first those in Redis are
 * counted, then the archive, run by run. Each step of the archive goes on from the one before in the same script that
 * counts, so whoever dies or comes twice counts nothing twice.
 */
export class CostBooks {
  readonly #tenant: string
  readonly #partition: Partition

  constructor(journal: Journal, tenant: string) {
    this.#tenant = tenant
    this.#partition = tenantPartition(journal, tenant)
  }

  /** Those that are being made; undefined where there are none, or others than those named. */
  async making(name?: string): Promise<MakingBooks | undefined> {
    const { keys, redis } = this.#partition
    const [next, place, runs] = await redis.hmget(keys.books(this.#tenant), 'next', 'cursor', 'runs')
    if (!next || !place || (name !== undefined && next !== name)) return undefined
    const run = place.slice(place.indexOf(':') + 1)
    const phase = place.startsWith(RUNS) ? 'runs' : 'archive'
    return { name: next, place, runs: Number(runs), at: { phase, run: run === '' ? undefined : run } }
  }

  /** Begins with new ones, unless there are some that are being made. */
  async begin(name: string): Promise<void> {
    const now = this.#partition.clock()
    const left = await this.#change('begin', name, String(now), String(now - MAKING_MS))
    if (left) await this.#remove(left)
  }

  /** Counts a run in Redis that has ended. */
  async found(run: string, lines: readonly CostLine[]): Promise<void> {
    if (lines.length > 0) await countCosts(this.#partition, { tenant: this.#tenant, run, lines }, { by: 'found' })
  }

  /** Goes on to older runs in Redis, or without one to the archive. */
  async move({ name, place }: MakingBooks, before: string | undefined): Promise<void> {
    await this.#change('move', name, place, before === undefined ? ARCHIVE : RUNS + before)
  }

  /** Counts the next runs of the archive; gives how far they are then, or undefined where another has gone on. */
  async archived(making: MakingBooks, runs: readonly RunCost[]): Promise<MakingBooks | undefined> {
    const oldest = dayBefore(this.#partition.clock(), KEPT_DAYS)
    let { place } = making
    // All at once: each counts only where the one before it has.
    const counted = runs.map(({ run, lines }) => {
      const told = { by: place, next: ARCHIVE + run }
      place = told.next
      const kept = lines.filter(({ day }) => day >= oldest)
      return countCosts(this.#partition, { tenant: this.#tenant, run, lines: kept }, told)
    })
    if ((await Promise.all(counted)).includes(false)) return undefined
    const at = { phase: 'archive' as const, run: runs.at(-1)?.run ?? making.at.run }
    return { ...making, place, runs: making.runs + runs.length, at }
  }

  /** They hold from here on, and those that held go. */
  async end({ name, place }: MakingBooks): Promise<void> {
    const left = await this.#change('end', name, place)
    if (left !== null) await this.#remove(left)
  }

  #change(what: 'begin' | 'move' | 'end', ...args: string[]): Promise<string | null> {
    const { keys, redis, replication } = this.#partition
    const tenant = this.#tenant
    return replication.after(redis.musterBooks(keys.books(tenant), keys.booked(tenant), what, ...args))
  }

  async #remove(name: string): Promise<void> {
    const { keys, redis, clock } = this.#partition
    const days = Array.from({ length: KEPT_DAYS + 2 * MORE_DAYS }, (_, i) => dayBefore(clock(), i - MORE_DAYS))
    await redis.unlink(...days.map((day) => keys.costs(this.#tenant, day, name)))
  }
}

function dayBefore(now: number, days: number): string {
  return new Date(now - days * DAY_MS).toISOString().slice(0, 10)
}

import { type Journal, leaseSlices, releaseSlices, type Slice, type SliceRequest } from '@muster/journal'
import type { Limits, Resource, Scheduler } from '@muster/scheduler'
import type { Logger } from 'pino'

/** How often slices in use are renewed and measured anew. */
const TICK_MS = 250
/** How often those are renewed of which nothing has changed. */
const QUIET_MS = 1000
/** One that was not used for so long, and whose buckets are full, is given back. */
const IDLE_MS = 2000
/** How long one worker at least keeps what cannot be divided. */
const TURN_MS = 2000
const MINUTE = 60_000
/** Parts of a rate that tells only of tokens. */
const TOKEN_SHARES = 1000

export interface SlicesOptions {
  journal: Journal
  scheduler: Scheduler
  worker: string
  /** For how long a slice holds that is not renewed, ms. */
  leaseMs: number
  clock: () => number
  /** ms since whenever; does not jump as clocks do that are set. */
  steady: () => number
  log: Logger
  /** Something may be let through now. */
  onChange: () => void
}

/** One limit over all workers, and this worker's slice of it. */
interface Limit {
  readonly name: string
  readonly resource: Resource
  limits: Limits
  shares: number
  held: { places: number; shares: number }
  /** Whether Redis knows of this worker. */
  leased: boolean
  /** Runs and kinds of steps that need it. */
  uses: number
  /** It holds no more. */
  removed: boolean
  /** It is kept here no more. */
  forgotten: () => void
  /** Until when the slice is ours, steady ms. */
  until: number
  wanted: boolean
  usedAt: number
  /** When it was asked for last, with how many places in use, and whether the answer was what it had. */
  asked: { at: number; used: number; isSettled: boolean }
}

/** Leases of this worker: slices of limits that hold over all workers, as large as they are needed. */
export class Slices {
  readonly #options: SlicesOptions
  readonly #limits = new Set<Limit>()
  readonly #byResource: (Limit | undefined)[] = []
  #timer: NodeJS.Timeout | undefined
  #leasing: Promise<void> | undefined
  #scheduled = false
  #closed = false

  constructor(options: SlicesOptions) {
    this.#options = options
  }

  /**
   * A resource that lets nothing through until there is a slice of its limits. One that nothing uses is forgotten once
   * its buckets are full.
   */
  add(name: string, limits: Limits, forgotten: () => void): Resource {
    const { scheduler, steady } = this.#options
    const resource = scheduler.resource(nothingOf(limits))
    const limit: Limit = {
      name,
      resource,
      limits,
      shares: sharesOf(limits),
      held: { places: 0, shares: 0 },
      leased: false,
      uses: 0,
      removed: false,
      forgotten,
      until: 0,
      wanted: true,
      usedAt: steady(),
      asked: { at: 0, used: 0, isSettled: false },
    }
    this.#limits.add(limit)
    this.#byResource[resource] = limit
    this.#timer ??= setInterval(() => this.#renew(), TICK_MS)
    this.#soon()
    return resource
  }

  /** A run, or a kind of steps, needs this resource, until it leaves it. */
  use(resource: Resource): void {
    const limit = this.#byResource[resource]
    if (limit) limit.uses++
  }

  leave(resource: Resource): void {
    const limit = this.#byResource[resource]
    if (limit) limit.uses--
  }

  /** Other limits hold from now on. The part that is held stays, of which the buckets hold no more than before. */
  change(resource: Resource, limits: Limits): void {
    const limit = this.#byResource[resource]
    if (!limit) return
    const { held, shares } = limit
    limit.limits = limits
    limit.shares = sharesOf(limits)
    limit.held = {
      places: Math.min(held.places, limits.concurrency ?? 0),
      shares: shares === 0 ? 0 : Math.floor((held.shares * limit.shares) / shares),
    }
    this.#goBy(limit, this.#options.clock())
    limit.wanted ||= limit.uses > 0
    limit.asked.isSettled = false
    this.#soon()
  }

  /** It holds no more, and no step needs it. */
  remove(resource: Resource): void {
    const limit = this.#byResource[resource]
    if (!limit) return
    limit.removed = true
    this.#soon()
  }

  /** A step is coming that needs this resource. */
  want(resource: Resource): void {
    const limit = this.#byResource[resource]
    if (!limit || limit.wanted || isSomething(limit)) return
    limit.wanted = true
    this.#soon()
  }

  /** How long a step of so many tokens takes to earn by the part that is held, or by all where none is, ms. */
  earnsMs(resource: Resource, tokens: number): number {
    const limit = this.#byResource[resource]
    if (!limit) return 0
    const { limits, held, shares } = limit
    const { requestsPerMinute = Number.POSITIVE_INFINITY, tokensPerMinute = Number.POSITIVE_INFINITY } = limits
    const ms = Math.max(MINUTE / requestsPerMinute, (tokens * MINUTE) / tokensPerMinute)
    return held.shares === 0 ? ms : (ms * shares) / held.shares
  }

  #soon(): void {
    if (this.#scheduled) return
    this.#scheduled = true
    setImmediate(() => {
      this.#scheduled = false
      this.#renew()
    })
  }

  /** One round trip at a time, since what one brings is what the next goes by. */
  #renew(): void {
    const { log, steady } = this.#options
    const now = steady()
    // What could not be renewed may be another's by now.
    for (const limit of this.#limits)
      if (now >= limit.until && isSomething(limit)) this.#apply(limit, { places: 0, shares: 0, fresh: false })
    if (this.#leasing || this.#closed) return
    this.#leasing = this.#lease()
      .catch((error) => log.warn({ err: error }, 'limits not leased; it is tried again'))
      .then(() => {
        this.#leasing = undefined
      })
  }

  async #lease(): Promise<void> {
    const { journal, scheduler, worker, leaseMs, steady, onChange } = this.#options
    const now = steady()
    const asked: { limit: Limit; limits: Limits }[] = []
    const requests: SliceRequest[] = []
    const idle: ReturnType<typeof leavingOf>[] = []
    for (const limit of this.#limits) {
      if (limit.removed) {
        if (limit.leased) idle.push(leavingOf(limit, false))
        limit.leased = false
        this.#forget(limit)
        continue
      }
      const used = scheduler.inUse(limit.resource)
      const wants = limit.wanted || scheduler.isAwaited(limit.resource)
      if (used > 0 || wants) limit.usedAt = now
      if (now - limit.usedAt > IDLE_MS && scheduler.fullAt(limit.resource) <= this.#options.clock()) {
        if (limit.leased) {
          this.#apply(limit, { places: 0, shares: 0, fresh: false })
          limit.leased = false
          idle.push(leavingOf(limit, true))
        }
        if (limit.uses === 0) this.#forget(limit)
        continue
      }
      limit.wanted = false
      const { at, isSettled, used: usedThen } = limit.asked
      if (!wants && isSettled && used === usedThen && now - at < QUIET_MS) continue
      limit.asked = { at: now, used, isSettled: false }
      asked.push({ limit, limits: limit.limits })
      const burstMs = burstOf(limit.limits)
      requests.push({
        limit: limit.name,
        places: limit.limits.concurrency ?? 0,
        shares: limit.shares,
        burstMs,
        // A place loses nothing when it goes to another; a share long enough to earn more than it loses.
        placeTurnMs: TURN_MS,
        shareTurnMs: Math.max(TURN_MS, (4 * burstMs) / Math.max(limit.shares, 1)),
        used,
        wants,
        held: limit.held,
      })
    }
    if (idle.length > 0) await releaseSlices(journal, worker, idle)
    if (requests.length === 0) return
    const slices = await leaseSlices(journal, worker, leaseMs, requests)
    let smaller = false
    for (const [i, { limit, limits }] of asked.entries()) {
      const slice = slices[i]
      if (!slice) continue
      limit.leased = true
      // From when it was asked for: Redis counts from later.
      limit.until = now + leaseMs
      // An answer of limits that hold no more says nothing of those that do.
      if (limit.limits !== limits || limit.removed) continue
      limit.asked.isSettled = slice.places === limit.held.places && slice.shares === limit.held.shares
      smaller ||= slice.places < limit.held.places || slice.shares < limit.held.shares
      this.#apply(limit, slice)
    }
    onChange()
    // What was given up is another's only when it is said.
    if (smaller) this.#soon()
  }

  #apply(limit: Limit, { places, shares, fresh }: Slice): void {
    if (places === limit.held.places && shares === limit.held.shares) return
    limit.held = { places, shares }
    this.#goBy(limit, fresh ? undefined : this.#options.clock())
  }

  /** @param now as in `Scheduler.setLimits` */
  #goBy({ resource, limits, held, shares }: Limit, now: number | undefined): void {
    const part = shares === 0 ? 1 : held.shares / shares
    const { concurrency, requestsPerMinute, tokensPerMinute, burstMs } = limits
    this.#options.scheduler.setLimits(
      resource,
      {
        ...(concurrency === undefined ? {} : { concurrency: held.places }),
        ...(requestsPerMinute === undefined ? {} : { requestsPerMinute: requestsPerMinute * part }),
        ...(tokensPerMinute === undefined ? {} : { tokensPerMinute: tokensPerMinute * part }),
        ...(burstMs === undefined ? {} : { burstMs }),
      },
      now,
    )
  }

  /** Unless the scheduler has something of it still: then later. */
  #forget(limit: Limit): void {
    if (!this.#options.scheduler.dropResource(limit.resource)) return
    this.#limits.delete(limit)
    this.#byResource[limit.resource] = undefined
    if (!limit.removed) limit.forgotten()
  }

  /** Gives all slices back. */
  async close(): Promise<void> {
    clearInterval(this.#timer)
    this.#closed = true
    await this.#leasing
    const { journal, worker } = this.#options
    const held = [...this.#limits].filter(({ leased }) => leased)
    if (held.length > 0)
      await releaseSlices(
        journal,
        worker,
        held.map((limit) => leavingOf(limit, false)),
      )
  }
}

function burstOf({ burstMs = 10_000 }: Limits): number {
  return burstMs
}

/** Parts into which the rates can be divided so that each holds a request. */
function sharesOf(limits: Limits): number {
  const { requestsPerMinute, tokensPerMinute } = limits
  if (requestsPerMinute === undefined) return tokensPerMinute === undefined ? 0 : TOKEN_SHARES
  return Math.max(Math.floor((burstOf(limits) * requestsPerMinute) / MINUTE), 1)
}

function leavingOf({ name, limits }: Limit, full: boolean): { limit: string; full: boolean; burstMs: number } {
  return { limit: name, full, burstMs: burstOf(limits) }
}

function isSomething({ held, limits, shares }: Limit): boolean {
  return (limits.concurrency === undefined || held.places > 0) && (shares === 0 || held.shares > 0)
}

function nothingOf({ concurrency, requestsPerMinute, tokensPerMinute, burstMs }: Limits): Limits {
  return {
    ...(concurrency === undefined ? {} : { concurrency: 0 }),
    ...(requestsPerMinute === undefined ? {} : { requestsPerMinute: 0 }),
    ...(tokensPerMinute === undefined ? {} : { tokensPerMinute: 0 }),
    ...(burstMs === undefined ? {} : { burstMs }),
  }
}

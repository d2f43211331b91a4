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
  log: Logger
  /** Something may be let through now. */
  onChange: () => void
}

/** One limit over all workers, and this worker's slice of it. */
interface Limit {
  readonly name: string
  readonly resource: Resource
  readonly limits: Limits
  readonly shares: number
  readonly burstMs: number
  held: { places: number; shares: number }
  /** Whether Redis knows of this worker. */
  leased: boolean
  /** Until when the slice is ours, ms since the epoch. */
  until: number
  wanted: boolean
  usedAt: number
  /** When it was asked for last, with how many places in use, and whether the answer was what it had. */
  asked: { at: number; used: number; isSettled: boolean }
}

/** Leases of this worker: slices of limits that hold over all workers, as large as they are needed. */
export class Slices {
  readonly #options: SlicesOptions
  readonly #limits: Limit[] = []
  readonly #byResource: (Limit | undefined)[] = []
  #timer: NodeJS.Timeout | undefined
  #leasing: Promise<void> | undefined
  #scheduled = false
  #closed = false

  constructor(options: SlicesOptions) {
    this.#options = options
  }

  /** A resource that lets nothing through until there is a slice of its limits. */
  add(name: string, limits: Limits): Resource {
    const { scheduler, clock } = this.#options
    const resource = scheduler.resource(nothingOf(limits))
    const { requestsPerMinute, tokensPerMinute, burstMs = 10_000 } = limits
    const requests = requestsPerMinute === undefined ? undefined : Math.floor((burstMs * requestsPerMinute) / MINUTE)
    const limit: Limit = {
      name,
      resource,
      limits,
      shares: requests === undefined ? (tokensPerMinute === undefined ? 0 : TOKEN_SHARES) : Math.max(requests, 1),
      burstMs,
      held: { places: 0, shares: 0 },
      leased: false,
      until: 0,
      wanted: true,
      usedAt: clock(),
      asked: { at: 0, used: 0, isSettled: false },
    }
    this.#limits.push(limit)
    this.#byResource[resource] = limit
    this.#timer ??= setInterval(() => this.#renew(), TICK_MS)
    this.#soon()
    return resource
  }

  /** A step is coming that needs this resource. */
  want(resource: Resource): void {
    const limit = this.#byResource[resource]
    if (!limit || limit.wanted || isSomething(limit)) return
    limit.wanted = true
    this.#soon()
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
    const { log, clock } = this.#options
    const now = clock()
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
    const { journal, scheduler, worker, leaseMs, clock, onChange } = this.#options
    const now = clock()
    const asked: Limit[] = []
    const requests: SliceRequest[] = []
    const idle: { limit: string; full: boolean }[] = []
    for (const limit of this.#limits) {
      const used = scheduler.inUse(limit.resource)
      const wants = limit.wanted || scheduler.isAwaited(limit.resource)
      if (used > 0 || wants) limit.usedAt = now
      if (now - limit.usedAt > IDLE_MS && scheduler.fullAt(limit.resource) <= now) {
        if (!limit.leased) continue
        this.#apply(limit, { places: 0, shares: 0, fresh: false })
        limit.leased = false
        idle.push({ limit: limit.name, full: true })
        continue
      }
      limit.wanted = false
      const { at, isSettled, used: usedThen } = limit.asked
      if (!wants && isSettled && used === usedThen && now - at < QUIET_MS) continue
      limit.asked = { at: now, used, isSettled: false }
      asked.push(limit)
      requests.push({
        limit: limit.name,
        places: limit.limits.concurrency ?? 0,
        shares: limit.shares,
        burstMs: limit.burstMs,
        // Long enough to earn more than what is lost when it goes to another.
        turnMs: Math.max(TURN_MS, (4 * limit.burstMs) / Math.max(limit.shares, 1)),
        used,
        wants,
        held: limit.held,
      })
    }
    if (idle.length > 0) await releaseSlices(journal, worker, idle)
    if (requests.length === 0) return
    const slices = await leaseSlices(journal, worker, leaseMs, requests)
    let smaller = false
    for (const [i, limit] of asked.entries()) {
      const slice = slices[i]
      if (!slice) continue
      limit.leased = true
      // From when it was asked for: Redis counts from later.
      limit.until = now + leaseMs
      limit.asked.isSettled = slice.places === limit.held.places && slice.shares === limit.held.shares
      smaller ||= slice.places < limit.held.places || slice.shares < limit.held.shares
      this.#apply(limit, slice)
    }
    onChange()
    // What was given up is another's only when it is said.
    if (smaller) this.#soon()
  }

  #apply(limit: Limit, { places, shares, fresh }: Slice): void {
    const { scheduler, clock } = this.#options
    const { resource, limits } = limit
    if (places === limit.held.places && shares === limit.held.shares) return
    limit.held = { places, shares }
    const part = limit.shares === 0 ? 1 : shares / limit.shares
    const { concurrency, requestsPerMinute, tokensPerMinute, burstMs } = limits
    scheduler.setLimits(
      resource,
      {
        ...(concurrency === undefined ? {} : { concurrency: places }),
        ...(requestsPerMinute === undefined ? {} : { requestsPerMinute: requestsPerMinute * part }),
        ...(tokensPerMinute === undefined ? {} : { tokensPerMinute: tokensPerMinute * part }),
        ...(burstMs === undefined ? {} : { burstMs }),
      },
      fresh ? undefined : clock(),
    )
  }

  /** Gives all slices back. */
  async close(): Promise<void> {
    clearInterval(this.#timer)
    this.#closed = true
    await this.#leasing
    const { journal, worker } = this.#options
    const held = this.#limits.filter(({ leased }) => leased)
    if (held.length > 0)
      await releaseSlices(
        journal,
        worker,
        held.map(({ name }) => ({ limit: name, full: false })),
      )
  }
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

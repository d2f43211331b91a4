import {
  type Budget,
  budget,
  LIMITS_MAX,
  MusterError,
  type SetLimit,
  type Stop,
  setLimit,
  stop,
  toMusterError,
} from '@muster/protocol'
import type { Journal } from './journal.ts'

/** How often each process looks for changes: what is stopped here is stopped everywhere well within a second. */
const POLL_MS = 200
/** After so many looks those are woken whose stop is gone: who lifted it may have come no further. */
const LOOKS = 25
const VERSION = 'version'
/** Runs that are woken with one call when a stop is lifted. */
const WAKE_MAX = 500

/** What can be set, as it is kept. */
const kinds = { stop, budget, limit: setLimit }
type Kind = keyof typeof kinds
type Value = Budget | Stop | SetLimit

/** Values of a kind, by tenant and name. */
type ByTenant<T> = Map<string, Map<string, T>>

/**
 * What operators set while servers and workers run: stops, budgets and limits of tenants. Few, so every process has all
 * of them, and asks for what has changed.
 */
export class Controls {
  readonly #journal: Journal
  readonly #onChange: () => void
  readonly #onError: (error: unknown) => void
  #version: string | null = null
  #stops: ByTenant<Stop> = new Map()
  #budgets: ByTenant<Budget> = new Map()
  #limits: ByTenant<SetLimit> = new Map()
  #limitsVersion = 0
  /** By field; what has not changed is the same object. */
  #read = new Map<string, { text: string; value: Value }>()
  #timer: NodeJS.Timeout | undefined
  #closed = false
  #failing = false

  constructor(journal: Journal, options: { onChange?: () => void; onError?: (error: unknown) => void } = {}) {
    this.#journal = journal
    this.#onChange = options.onChange ?? (() => {})
    this.#onError = options.onError ?? (() => {})
  }

  /** Grows with each change. */
  get version(): string | null {
    return this.#version
  }

  /** Reads what there is, and keeps looking. */
  async start(): Promise<void> {
    await this.refresh()
    this.#poll()
  }

  close(): void {
    this.#closed = true
    clearTimeout(this.#timer)
  }

  #poll(looks = 1): void {
    this.#timer = setTimeout(() => {
      this.refresh()
        .then(() => (looks % LOOKS === 0 ? this.wakeLeft() : undefined))
        .then(
          () => {
            this.#failing = false
          },
          (error) => {
            // Five a second say no more than the first.
            if (!this.#failing) this.#onError(error)
            this.#failing = true
          },
        )
        .finally(() => {
          if (!this.#closed) this.#poll(looks + 1)
        })
    }, POLL_MS)
    this.#timer.unref()
  }

  async refresh(): Promise<void> {
    const { redis, partitions } = this.#journal
    const key = partitions[0].keys.controls
    if ((await redis.hget(key, VERSION)) === this.#version) return
    const { [VERSION]: version = null, ...fields } = await redis.hgetall(key)
    const all = { stop: new Map(), budget: new Map(), limit: new Map() }
    const read = new Map<string, { text: string; value: Value }>()
    let isOtherLimit = false
    for (const [field, text] of Object.entries(fields)) {
      const [kind, tenant, name] = JSON.parse(field) as [Kind, string, string] // as `fieldOf` writes it
      // A newer process may have set what this one does not know.
      if (!Object.hasOwn(kinds, kind)) continue
      const before = this.#read.get(field)
      const one = before?.text === text ? before : { text, value: kinds[kind].parse(JSON.parse(text)) }
      read.set(field, one)
      isOtherLimit ||= kind === 'limit' && one !== before
      ofTenant<Value>(all[kind], tenant).set(name, one.value)
    }
    if (isOtherLimit || countOf(all.limit) !== countOf(this.#limits)) this.#limitsVersion++
    this.#read = read
    this.#stops = all.stop
    this.#budgets = all.budget
    this.#limits = all.limit
    this.#version = version
    this.#onChange()
  }

  /** Stops of a tenant by name; undefined where it has none. */
  stops(tenant: string): ReadonlyMap<string, Stop> | undefined {
    return this.#stops.get(tenant)
  }

  budgets(tenant: string): ReadonlyMap<string, Budget> | undefined {
    return this.#budgets.get(tenant)
  }

  limits(tenant: string): ReadonlyMap<string, SetLimit> | undefined {
    return this.#limits.get(tenant)
  }

  /** Grows with each change of limits. */
  get limitsVersion(): number {
    return this.#limitsVersion
  }

  /** Whether any tenant has a stop. */
  get hasStops(): boolean {
    return this.#stops.size > 0
  }

  setBudget(tenant: string, name: string, value: Budget): Promise<void> {
    return this.#set('budget', tenant, name, value)
  }

  /** @throws MusterError `budget.not_found` */
  async removeBudget(tenant: string, name: string): Promise<void> {
    if (!(await this.#remove('budget', tenant, name)))
      throw new MusterError('budget.not_found', `No budget of "${name}" was set`)
  }

  /** @throws MusterError `limit.too_many` */
  async setLimit(tenant: string, value: SetLimit): Promise<void> {
    await this.checkLimit(tenant, value.name)
    await this.#set('limit', tenant, value.name, value)
  }

  /** Whether there is room for a limit. @throws MusterError `limit.too_many` */
  async checkLimit(tenant: string, name: string): Promise<void> {
    await this.refresh()
    const set = this.limits(tenant)
    if (set && set.size >= LIMITS_MAX && !set.has(name))
      throw new MusterError('limit.too_many', `${tenant} has set ${LIMITS_MAX} limits`)
  }

  /** @throws MusterError `limit.not_found` */
  async removeLimit(tenant: string, name: string): Promise<void> {
    if (!(await this.#remove('limit', tenant, name)))
      throw new MusterError('limit.not_found', `No limit of "${name}" was set`)
  }

  async stop(tenant: string, value: Stop): Promise<void> {
    await this.#set('stop', tenant, value.name, value)
  }

  /** Lifts a stop, and wakes what waits for that. @throws MusterError `stop.not_found` */
  async lift(tenant: string, name: string): Promise<void> {
    const isLifted = await this.#remove('stop', tenant, name)
    // Also where it was lifted before: whoever asks again did not hear whether all were woken.
    await this.#wake(tenant, name)
    if (!isLifted) throw new MusterError('stop.not_found', `"${name}" is not stopped`)
  }

  /** The run waits for the stop to be lifted. Once the stop is seen to be gone, it is woken. */
  async await(tenant: string, name: string, run: string): Promise<void> {
    const { redis, partitions } = this.#journal
    const { keys } = partitions[0]
    const field = fieldOf('stop', tenant, name)
    await Promise.all([redis.sadd(keys.awaited, field), redis.sadd(keys.stopped(tenant, name), run)])
    if ((await redis.hexists(keys.controls, field)) === 0) await this.#wake(tenant, name)
  }

  /** Wakes what waits for stops that are gone. */
  async wakeLeft(): Promise<void> {
    const { redis, partitions } = this.#journal
    const { keys } = partitions[0]
    for (const field of await redis.smembers(keys.awaited)) {
      const [, tenant, name] = JSON.parse(field) as [Kind, string, string] // as `fieldOf` writes it
      if ((await redis.hexists(keys.controls, field)) === 0) await this.#wake(tenant, name)
    }
  }

  async #wake(tenant: string, name: string): Promise<void> {
    const { redis, partitions } = this.#journal
    const { keys } = partitions[0]
    const key = keys.stopped(tenant, name)
    const field = fieldOf('stop', tenant, name)
    for (;;) {
      const runs = await redis.srandmember(key, WAKE_MAX)
      if (runs.length === 0) {
        await redis.srem(keys.awaited, field)
        // Another may have come meanwhile, for the next stop of that name.
        if ((await redis.exists(key)) === 1) await redis.sadd(keys.awaited, field)
        return
      }
      // Twice does no harm; not at all would.
      await Promise.all(runs.map((run) => this.#journal.post(run, { type: 'lifted' }).catch(unlessOver)))
      await redis.srem(key, ...runs)
    }
  }

  async #set(kind: Kind, tenant: string, name: string, value: Value): Promise<void> {
    const { redis, partitions } = this.#journal
    const { keys, replication } = partitions[0]
    const change = redis.multi().hset(keys.controls, fieldOf(kind, tenant, name), JSON.stringify(value))
    await replication.after(change.hincrby(keys.controls, VERSION, 1).exec())
    await this.refresh()
  }

  async #remove(kind: Kind, tenant: string, name: string): Promise<boolean> {
    const { redis, partitions } = this.#journal
    const { keys, replication } = partitions[0]
    const change = redis.multi().hdel(keys.controls, fieldOf(kind, tenant, name))
    const [removed] = (await replication.after(change.hincrby(keys.controls, VERSION, 1).exec())) ?? []
    await this.refresh()
    return removed?.[1] === 1
  }
}

function unlessOver(error: unknown): void {
  const { code } = toMusterError(error)
  if (code !== 'run.ended' && code !== 'run.not_found') throw error
}

function fieldOf(kind: Kind, tenant: string, name: string): string {
  return JSON.stringify([kind, tenant, name])
}

function countOf(all: ByTenant<unknown>): number {
  let count = 0
  for (const { size } of all.values()) count += size
  return count
}

function ofTenant<T>(all: ByTenant<T>, tenant: string): Map<string, T> {
  const known = all.get(tenant)
  if (known) return known
  const made = new Map<string, T>()
  all.set(tenant, made)
  return made
}

import {
  isEnded,
  type Json,
  MusterError,
  newId,
  nextFiring,
  passMissed,
  SCHEDULES_MAX,
  type Schedule,
} from '@muster/protocol'
import type { NewRun } from './first-entry.ts'
import type { Journal } from './journal.ts'
import type { Offload } from './writer.ts'

/** A schedule with what its runs are made of. */
export interface StoredSchedule {
  schedule: Schedule
  /** Its runs' first entry, as admitted when the schedule was written. */
  template: Omit<NewRun, 'run'>
  content: Json
}

/** So many schedules are moved on in one poll. */
const POLL_MAX = 100
/** Polls are a little late always: a firing is not yet missed for that, ms. */
const LATE_MS = 5000

/**
 * Schedules, durable in the first partition. A firing is exactly once, whoever dies: its run is created under a key made
 * of schedule and planned time, then the schedule is moved on if nobody did so before.
 */
export class Schedules {
  readonly #journal: Journal
  readonly #clock: () => number

  constructor(journal: Journal) {
    this.#journal = journal
    this.#clock = journal.partitions[0].clock
  }

  /** @throws MusterError `schedule.too_many`, `journal.not_replicated` */
  async create(stored: StoredSchedule): Promise<void> {
    await this.#write(stored, 0)
  }

  /** @throws MusterError `schedule.not_found`, also for another tenant's */
  async get(tenant: string, id: string): Promise<Schedule> {
    return (await this.#readOwn(tenant, id)).stored.schedule
  }

  /** A tenant's schedules, oldest first. */
  async list(tenant: string): Promise<Schedule[]> {
    const { redis, partitions } = this.#journal
    const ids = await redis.zrange(partitions[0].keys.schedules(tenant), '0', '-1')
    const all = await Promise.all(ids.map((id) => this.#read(id)))
    return all.flatMap((found) => (found ? [found.stored.schedule] : []))
  }

  /** Changes a schedule as it is now, however often others are first. @throws MusterError `schedule.not_found` */
  async change(tenant: string, id: string, to: (stored: StoredSchedule) => StoredSchedule): Promise<Schedule> {
    for (;;) {
      const { stored, version } = await this.#readOwn(tenant, id)
      const changed = to(stored)
      if (await this.#write(changed, version)) return changed.schedule
    }
  }

  /** @throws MusterError `schedule.not_found` */
  async remove(tenant: string, id: string): Promise<void> {
    for (;;) {
      const { stored, version } = await this.#readOwn(tenant, id)
      if (await this.#write(stored, version, true)) return
    }
  }

  /** Starts a run now, besides the planned ones; gives its id. @throws MusterError `schedule.not_found` */
  async trigger(tenant: string, id: string, offload: Offload): Promise<string> {
    const { stored } = await this.#readOwn(tenant, id)
    const run = { ...stored.template, run: newId(), schedule: { id, at: this.#clock() } }
    return (await this.#journal.create(run, stored.content, { offload })).id
  }

  /** Starts the runs whose time has come. One that fails does not hold up the others; it is tried again. */
  async fire(offload: Offload, onError: (error: Error) => void): Promise<void> {
    const { redis, partitions } = this.#journal
    const due = await redis.zrangebyscore(partitions[0].keys.firings, '-inf', this.#clock(), 'LIMIT', 0, POLL_MAX)
    await Promise.all(due.map((id) => this.#fire(id, offload).catch(onError)))
  }

  async #fire(id: string, offload: Offload): Promise<void> {
    const found = await this.#read(id)
    const planned = found?.stored.schedule.next
    const now = this.#clock()
    if (!found || planned === undefined || planned > now) return
    const { stored, version } = found
    const { schedule } = stored
    const { when, createdAt: from, catchUpS } = schedule
    const earliest = now - Math.max(catchUpS * 1000, LATE_MS)
    const move = (changes: Partial<Schedule>) =>
      this.#write({ ...stored, schedule: { ...schedule, ...changes } }, version)
    if (planned < earliest) {
      const { next, missed } = passMissed(when, from, planned, earliest)
      await move({ missed: schedule.missed + missed, next })
      return
    }
    const next = nextFiring(when, from, planned)
    if (schedule.overlap === 'skip' && schedule.lastRun !== undefined) {
      // A run that has left Redis has ended.
      const before = await this.#journal.get(schedule.lastRun)
      if (before && !isEnded(before.status)) {
        await move({ overlapped: schedule.overlapped + 1, next })
        return
      }
    }
    const run = { ...stored.template, run: newId(), schedule: { id, at: planned } }
    const created = await this.#journal
      .create(run, stored.content, { idempotencyKey: `\nschedule:${id}:${planned}`, offload })
      .catch((error: unknown) => {
        // It fired already, before the schedule was replaced by a server whose clock is behind.
        if (error instanceof MusterError && error.code === 'idempotency.conflict') return undefined
        throw error
      })
    if (!created) {
      await move({ next })
      return
    }
    const fired = schedule.fired + 1
    const over = schedule.firings !== undefined && fired >= schedule.firings
    await move({ fired, lastRun: created.id, next: over ? undefined : next })
  }

  async #readOwn(tenant: string, id: string) {
    const found = await this.#read(id)
    if (found?.stored.template.tenant === tenant) return found
    throw new MusterError('schedule.not_found', `There is no schedule ${id}`)
  }

  async #read(id: string): Promise<{ stored: StoredSchedule; version: number } | undefined> {
    const { redis, partitions } = this.#journal
    const [text, version] = await redis.hmget(partitions[0].keys.schedule(id), 'text', 'version')
    // Written by `#write`.
    return text ? { stored: JSON.parse(text) as StoredSchedule, version: Number(version) } : undefined
  }

  /** False when another was first. */
  async #write(stored: StoredSchedule, version: number, remove = false): Promise<boolean> {
    const { redis, partitions } = this.#journal
    const { keys, replication } = partitions[0]
    const { id, next, paused } = stored.schedule
    const names = [keys.schedule(id), keys.firings, keys.schedules(stored.template.tenant)]
    const due = paused ? '' : (next ?? '')
    const text = remove ? '' : JSON.stringify(stored)
    const result = await replication.after(redis.musterSchedule(...names, id, version, text, due, SCHEDULES_MAX))
    if (result < 0) throw new MusterError('schedule.too_many', `A tenant has at most ${SCHEDULES_MAX} schedules`)
    return result === 1
  }
}

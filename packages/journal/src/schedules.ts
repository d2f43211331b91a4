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
import type { Offload } from './offload.ts'

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
/** So often it is looked whether the run has ended for which a firing waits, ms. */
const QUEUED_MS = 1000

/**
 * Schedules, durable in the first partition. A firing is exactly once, whoever dies: its run is created under a key made
 * of schedule and planned time, then the schedule is moved on if nobody did so before.
 */
export class Schedules {
  readonly #journal: Journal
  readonly #clock: () => number
  readonly #admit: (template: StoredSchedule['template']) => Promise<void>

  /** `admit` throws MusterError `subject.erased` of a run that may not begin now; of its planned time none does. */
  constructor(journal: Journal, admit: (template: StoredSchedule['template']) => Promise<void> = async () => {}) {
    this.#journal = journal
    this.#admit = admit
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

  /** Starts a run now, besides the planned ones; gives its id. @throws MusterError `schedule.not_found`, `subject.erased` */
  async trigger(tenant: string, id: string, offload: Offload): Promise<string> {
    const { stored } = await this.#readOwn(tenant, id)
    await this.#admit(stored.template)
    const run = { ...(await this.#current(stored)), run: newId(), schedule: { id, at: this.#clock() } }
    return (await this.#journal.create(run, stored.content, { offload })).id
  }

  /**
   * Starts the runs of planned times, whatever overlaps; one that was started already is not started again, and is given
   * as it is. Gives the runs in their order.
   *
   * @throws MusterError `schedule.not_found`, `subject.erased`
   */
  async backfill(
    tenant: string,
    id: string,
    times: readonly number[],
    offload: Offload,
  ): Promise<{ at: number; run: string }[]> {
    const { stored } = await this.#readOwn(tenant, id)
    await this.#admit(stored.template)
    const runs: { at: number; run: string }[] = []
    for (const at of times) {
      const created = await this.#start(stored, at, offload)
      if (created !== undefined) runs.push({ at, run: created })
    }
    return runs
  }

  /** Starts the runs whose time has come. One that fails does not hold up the others; it is tried again. */
  async fire(offload: Offload, onError: (error: Error) => void): Promise<void> {
    const { redis, partitions } = this.#journal
    const due = await redis.zrangebyscore(partitions[0].keys.firings, '-inf', this.#clock(), 'LIMIT', 0, POLL_MAX)
    await Promise.all(due.map((id) => this.#fire(id, offload).catch(onError)))
  }

  async #fire(id: string, offload: Offload): Promise<void> {
    const found = await this.#read(id)
    const now = this.#clock()
    if (!found) return
    const { stored, version } = found
    const { schedule } = stored
    const { when, createdAt: from, catchUpS, queued, next: planned, overlap } = schedule
    const move = (changes: Partial<Schedule>) =>
      this.#write({ ...stored, schedule: { ...schedule, ...changes } }, version)
    const isDue = planned !== undefined && planned <= now
    if (queued === undefined && !isDue) return
    const earliest = now - Math.max(catchUpS * 1000, LATE_MS)
    if (isDue && planned < earliest) {
      const { next, missed } = passMissed(when, from, planned, earliest)
      await move({ missed: schedule.missed + missed, next })
      return
    }
    const next = isDue ? nextFiring(when, from, planned) : planned
    if (overlap !== 'allow' && (await this.#isRunning(schedule.lastRun))) {
      if (!isDue) await move({})
      else if (overlap === 'skip') await move({ overlapped: schedule.overlapped + 1, next })
      else {
        if (overlap === 'cancel' && schedule.lastRun !== undefined) await this.#cancel(schedule.lastRun, stored)
        // One waits: the first that came, or the last where each is to replace the one before.
        const waits = queued === undefined ? planned : overlap === 'queue' ? queued : planned
        const overlapped = schedule.overlapped + (queued === undefined ? 0 : 1)
        await move({ queued: waits, overlapped, next })
      }
      return
    }
    // What waited goes first; what is due by now has its turn with the next poll.
    const at = queued ?? planned ?? now
    const after = queued === undefined ? next : planned
    if (!(await this.#isAdmitted(stored))) {
      await move({ missed: schedule.missed + 1, queued: undefined, next: after })
      return
    }
    const created = await this.#start(stored, at, offload)
    if (created === undefined) {
      await move({ queued: undefined, next: after })
      return
    }
    const fired = schedule.fired + 1
    const over = schedule.firings !== undefined && fired >= schedule.firings
    await move({ fired, lastRun: created, queued: undefined, next: over ? undefined : after })
  }

  async #isAdmitted({ template }: StoredSchedule): Promise<boolean> {
    try {
      await this.#admit(template)
      return true
    } catch (error) {
      if (error instanceof MusterError && error.code === 'subject.erased') return false
      throw error
    }
  }

  /** A run that has left Redis has ended. */
  async #isRunning(run: string | undefined): Promise<boolean> {
    const record = run === undefined ? undefined : await this.#journal.get(run)
    return record !== undefined && !isEnded(record.status)
  }

  async #cancel(run: string, { template }: StoredSchedule): Promise<void> {
    await this.#journal.post(run, { type: 'cancel', by: template.by }, '\nschedule').catch((error: unknown) => {
      // It has ended meanwhile.
      if (!(error instanceof MusterError) || (error.code !== 'run.ended' && error.code !== 'run.not_found')) throw error
    })
  }

  /** Starts the run of a planned time, once; undefined where that time had another run before the schedule was replaced. */
  async #start(stored: StoredSchedule, at: number, offload: Offload): Promise<string | undefined> {
    const { id } = stored.schedule
    const run = { ...(await this.#current(stored)), run: newId(), schedule: { id, at } }
    try {
      const options = { idempotencyKey: `\nschedule:${id}:${at}`, offload }
      return (await this.#journal.create(run, stored.content, options)).id
    } catch (error) {
      if (error instanceof MusterError && error.code === 'idempotency.conflict') return undefined
      throw error
    }
  }

  /** Its runs begin with the code that its version has now. */
  async #current({ template }: StoredSchedule): Promise<StoredSchedule['template']> {
    const { kind, name, version } = template.definition
    const hash = (await this.#journal.definition(kind, name, version))?.hash
    return hash === undefined ? template : { ...template, definition: { ...template.definition, hash } }
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
    const { id, next, paused, queued } = stored.schedule
    const names = [keys.schedule(id), keys.firings, keys.schedules(stored.template.tenant)]
    // For one that waits it is looked again and again whether the run before has ended.
    const looked = queued === undefined ? next : Math.min(next ?? Number.POSITIVE_INFINITY, this.#clock() + QUEUED_MS)
    const due = paused ? '' : (looked ?? '')
    const text = remove ? '' : JSON.stringify(stored)
    const result = await replication.after(redis.musterSchedule(...names, id, version, text, due, SCHEDULES_MAX))
    if (result < 0) throw new MusterError('schedule.too_many', `A tenant has at most ${SCHEDULES_MAX} schedules`)
    return result === 1
  }
}

import type { Journal } from '@muster/journal'
import { ITSELF, type Memory, type Sweep } from '@muster/memory'
import { type Erased, type Hold, isHeld, type RetentionRule, sideBySide } from '@muster/protocol'
import type { Logger } from 'pino'
import { auditHitsOf } from './audit-hits.ts'
import { toEvents } from './content.ts'
import type { RecordBook } from './record-book.ts'
import { type Due, dueOf, oldRuns } from './retention-due.ts'

/** How often a worker looks, how long it rests when it has seen all, and how long it has what it took, ms. */
const TICK_MS = 60_000
const REST_MS = 3_600_000
const LEASE_MS = 120_000
/** How soon what could not be expired is tried again: twice as long each time, ms. */
const AGAIN_MS = { first: 1000, longest: REST_MS }
/** Runs of a tenant that one turn looks at, and those of them that one record tells of. */
const LOOK_MAX = 2000
const RECORD_MAX = 200
/** Runs of a tenant that are tried again; the next round finds others. */
const FAILING_MAX = RECORD_MAX
/** Runs that expire side by side. */
const AT_ONCE = 16

interface Stores {
  journal: Journal
  memory: Memory
}

/** What a turn is for: to look at the next runs, to try again those that failed, or both. */
interface Turn {
  /** As this worker took it, with the times from before. */
  sweep: Sweep
  rules: readonly RetentionRule[]
  isNext: boolean
  isAgain: boolean
}

/** Expires what is past its time, of all tenants, in the background of every worker. */
export class Retention {
  readonly #stores: Stores
  readonly #book: RecordBook
  readonly #rules: readonly RetentionRule[]
  readonly #clock: () => number
  readonly #log: Logger
  #timer: NodeJS.Timeout | undefined
  #closed = false
  #working: Promise<void> = Promise.resolve()

  constructor(
    options: Stores & { book: RecordBook; rules: readonly RetentionRule[]; clock: () => number; log: Logger },
  ) {
    this.#stores = options
    this.#book = options.book
    this.#rules = options.rules
    this.#clock = options.clock
    this.#log = options.log
  }

  /** `firstMs`: when it looks first. */
  start(firstMs = TICK_MS): void {
    this.#lookIn(firstMs)
  }

  async close(): Promise<void> {
    this.#closed = true
    clearTimeout(this.#timer)
    await this.#working
  }

  #lookIn(ms: number): void {
    this.#timer = setTimeout(() => {
      this.#working = this.tick().then((nextMs) => {
        if (!this.#closed) this.#lookIn(nextMs)
      })
    }, ms)
    this.#timer.unref()
  }

  /**
   * Gives each tenant a turn, and another as long as more is due of it. It ends so that those get their turn for whom there
   * was nothing to do when it began. Gives when the next one is due, ms: at once where time was up before all was done.
   */
  async tick(): Promise<number> {
    const until = this.#clock() + TICK_MS
    let nextMs = TICK_MS
    try {
      let turns: AsyncIterable<string> | string[] = this.#stores.memory.archive.tenants()
      for (;;) {
        const more: string[] = []
        for await (const tenant of turns) {
          if (this.#closed) return TICK_MS
          const ms = await this.#turn(tenant)
          if (ms === 0) more.push(tenant)
          else nextMs = Math.min(nextMs, ms)
        }
        if (more.length === 0) return nextMs
        if (this.#clock() >= until) return 0
        turns = more
      }
    } catch (error) {
      this.#log.warn({ err: error }, 'nothing was looked for that expires')
      return TICK_MS
    }
  }

  /** Gives when the tenant's next turn is due, ms: 0 where there is more. */
  async #turn(tenant: string): Promise<number> {
    try {
      return await this.#look(tenant)
    } catch (error) {
      this.#log.warn({ tenant, err: error }, 'what expires is looked for again')
      return TICK_MS
    }
  }

  /** Takes a tenant that no other has, where it is time to look at its runs or to try some again. */
  async #look(tenant: string): Promise<number> {
    const { memory } = this.#stores
    const found = await memory.sweeps.of(tenant)
    const own = this.#rules.filter((rule) => rule.tenant === undefined || rule.tenant === tenant)
    const rules = JSON.stringify(own)
    const now = this.#clock()
    const isChanged = rules !== found.rules
    const isNext = isChanged || (found.until <= now && rules !== '[]')
    const isAgain = !isChanged && found.failing.length > 0 && found.againAt <= now
    if (!isNext && !isAgain) return nextIn(found, now)
    const leased = now + LEASE_MS
    const taken = await memory.sweeps.save({
      ...{ ...found, until: isNext ? leased : Math.max(leased, found.until), againAt: leased },
      ...(isChanged ? { rules, cursor: '', failing: [] } : {}),
    })
    if (!taken) return TICK_MS
    if (isChanged) {
      const about = { rules: JSON.parse(rules), before: JSON.parse(found.rules) }
      await this.#book.append(tenant, { at: now, by: ITSELF, action: 'retention.changed', about })
    }
    const { until, againAt } = found
    return this.#sweep({ sweep: { ...taken, until, againAt }, rules: own, isNext, isAgain })
  }

  async #sweep({ sweep, rules, isNext, isAgain }: Turn): Promise<number> {
    const { memory } = this.#stores
    const { tenant } = sweep
    const holds = await memory.holds.list(tenant)
    const again = isAgain ? await this.#dueAgain(sweep, rules, holds) : []
    const next = isNext ? await this.#dueNext(sweep, rules, holds) : { due: [], cursor: sweep.cursor }
    const { done, failed } = await this.#expireAll(tenant, [...again, ...next.due], rules)
    const now = this.#clock()
    // Whoever comes next finds what was left out.
    if (this.#closed) {
      await memory.sweeps.save({ ...sweep, until: isNext ? 0 : sweep.until, againAt: 0 })
      return TICK_MS
    }
    const isAll = next.cursor === ''
    const restUntil = now + (isAll ? REST_MS : 0)
    const saved = await memory.sweeps.save({
      ...{ ...sweep, cursor: next.cursor, until: isNext ? restUntil : sweep.until },
      ...failingAfter(sweep, { failed, isAgain, now }),
    })
    if (!saved) return TICK_MS
    // What fails may be all there is: it is not tried as fast as it can fail.
    return isNext && !isAll && (done > 0 || failed.size === 0) ? 0 : nextIn(saved, now)
  }

  /** What is due of runs that could not be expired before. */
  async #dueAgain({ tenant, failing }: Sweep, rules: readonly RetentionRule[], holds: readonly Hold[]): Promise<Due[]> {
    const due: Due[] = []
    await sideBySide(AT_ONCE, failing, async (id) => {
      const run = await this.#stores.memory.archive.find(tenant, id)
      if (run) due.push(...dueOf(rules, run, holds, this.#clock()))
    })
    return due
  }

  /** What is due of the next runs, but for those that are tried again when it is time for them; '' after the last one. */
  async #dueNext({ tenant, cursor, failing }: Sweep, rules: readonly RetentionRule[], holds: readonly Hold[]) {
    const now = this.#clock()
    const due: Due[] = []
    let looked = 0
    const after = cursor === '' ? {} : { after: cursor }
    const passed = new Set(failing)
    for await (const run of oldRuns(this.#stores.memory, { tenant, rules, now, ...after })) {
      if (!passed.has(run.id)) due.push(...dueOf(rules, run, holds, now))
      if (++looked >= LOOK_MAX || due.length >= RECORD_MAX) return { due, cursor: run.id }
    }
    return { due, cursor: '' }
  }

  /** Told before it is done; what is broken off is found again, and told again. Gives how many were done, and which failed. */
  async #expireAll(tenant: string, due: readonly Due[], rules: readonly RetentionRule[]) {
    let all = 0
    const failed = new Set<string>()
    /** Runs of which something is left: they stay, as they tell of it. */
    const kept = new Set<string>()
    const ordered = due.toSorted((one, other) => Number(one.what === 'run') - Number(other.what === 'run'))
    for (const [key, some] of Map.groupBy(ordered, ({ rule, what }) => `${rule} ${what}`)) {
      // Whoever has placed one while runs were looked at, or others expired, is not too late.
      const holds = await this.#stores.memory.holds.list(tenant)
      for (const { run } of some) if (holds.some((hold) => isHeld(hold, run))) kept.add(run.id)
      const free = some.filter(({ run }) => !kept.has(run.id))
      const [first] = free
      if (this.#closed || !first) continue
      const { rule, what } = first
      const runs = Object.fromEntries(free.map(({ run }) => [run.id, run.entries]))
      const about = { rule, what, terms: JSON.parse(JSON.stringify(rules[rule] ?? {})), runs }
      await this.#book.append(tenant, { at: this.#clock(), by: ITSELF, action: 'retention.expired', about })
      let done = 0
      await sideBySide(AT_ONCE, free, async (one) => {
        if (this.#closed) return
        try {
          await this.#expire(tenant, one)
          done++
        } catch (error) {
          failed.add(one.run.id)
          kept.add(one.run.id)
          this.#log.warn({ tenant, run: one.run.id, what, err: error }, 'not expired; it is tried again after a pause')
        }
      })
      all += done
      this.#log.info({ tenant, rule: key, runs: done }, 'expired')
    }
    return { done: all, failed }
  }

  async #expire(tenant: string, { run: { id, session }, what, rule }: Due): Promise<void> {
    const { journal, memory } = this.#stores
    const { archive, auditIndex, facts, sessions } = memory
    const why: Erased = { at: this.#clock(), by: 'retention', id: String(rule) }
    if (what === 'memory') {
      if (session !== undefined) await sessions.erase(tenant, session, id)
      await facts.erase(tenant, id)
      await archive.forgotten(tenant, id)
      return
    }
    await journal.expire(id, tenant, 0)
    const hits = async () => auditHitsOf(await Array.fromAsync(toEvents(archive.entries(tenant, id))))
    if (what === 'run') {
      await auditIndex.remove(tenant, await hits())
      await archive.remove(tenant, id, why)
      return
    }
    await archive.eraseContent(tenant, id, why)
    await auditIndex.replace(tenant, await hits())
  }
}

/** When a tenant's next turn is due, ms. */
function nextIn({ failing, againAt }: Sweep, now: number): number {
  return failing.length === 0 ? TICK_MS : Math.min(TICK_MS, Math.max(1, againAt - now))
}

/** What is to be tried again, and when: soon where a run has failed that did not before. */
function failingAfter(
  { failing, tries, againAt }: Sweep,
  { failed, isAgain, now }: { failed: ReadonlySet<string>; isAgain: boolean; now: number },
): Pick<Sweep, 'failing' | 'tries' | 'againAt'> {
  const still = isAgain ? failing.filter((run) => failed.has(run)) : failing
  const all = [...new Set([...still, ...failed])].slice(0, FAILING_MAX)
  if (all.length === still.length && !isAgain) return { failing, tries, againAt }
  const times = all.length > still.length ? 1 : tries + 1
  const pauseMs = Math.min(AGAIN_MS.first * 2 ** (times - 1), AGAIN_MS.longest)
  return { failing: all, tries: times, againAt: now + pauseMs }
}

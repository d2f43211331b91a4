import type { Journal } from '@muster/journal'
import { type Archived, ITSELF, type Memory, type Sweep } from '@muster/memory'
import {
  type Erased,
  type Hold,
  isHeld,
  type RetentionDue,
  type RetentionRule,
  ruleFor,
  sideBySide,
  timeOf,
} from '@muster/protocol'
import type { Logger } from 'pino'
import { auditHitsOf } from './audit-hits.ts'
import { toEvents } from './content.ts'
import type { RecordBook } from './record-book.ts'

/** How often a worker looks, how long it rests when it has seen all, and how long it has what it took, ms. */
const TICK_MS = 60_000
const REST_MS = 3_600_000
const LEASE_MS = 120_000
/** Runs of a tenant that one turn looks at, and those of them that one record tells of. */
const LOOK_MAX = 2000
const RECORD_MAX = 200
/** Runs that expire side by side. */
const AT_ONCE = 16
/** Runs that are looked at to tell what is due. */
const DUE_LOOK_MAX = 20_000

interface Stores {
  journal: Journal
  memory: Memory
}

/** What of a run is past its time, by which rule, and for how long. */
interface Due {
  run: Archived
  what: 'content' | 'memory' | 'run'
  rule: number
  overdueMs: number
}

/** What of a run is past its time and not held: what it has left before the run, which tells of that. */
function dueOf(rules: readonly RetentionRule[], run: Archived, holds: readonly Hold[], now: number): Due[] {
  const rule = ruleFor(rules, run)
  const { content, memory, run: whole } = (rule === undefined ? undefined : rules[rule]) ?? {}
  const age = now - (run.endedAt ?? run.createdAt)
  const isForgotten = run.forgotten === true || run.erased?.by === 'erasure'
  const due: Due[] = []
  const look = (what: Due['what'], term: number | undefined) => {
    if (rule !== undefined && term !== undefined && age >= term) due.push({ run, what, rule, overdueMs: age - term })
  }
  if (!isForgotten) look('memory', memory)
  look('run', whole)
  if (run.erased === undefined && due.at(-1)?.what !== 'run') look('content', content)
  return due.length > 0 && holds.some((hold) => isHeld(hold, run)) ? [] : due
}

/**
 * Runs after `after`, the oldest first, up to the first that is too young for every term. Ids are in the order of creation,
 * and no run has ended before its id was made; where clocks differ, it is found so much later.
 */
async function* oldRuns(
  { archive }: Memory,
  { tenant, rules, now, after }: { tenant: string; rules: readonly RetentionRule[]; now: number; after?: string },
): AsyncGenerator<Archived, void> {
  const terms = rules.flatMap(({ content, memory, run }) => [content, memory, run]).filter((term) => term !== undefined)
  const youngest = now - Math.min(...terms)
  for await (const run of archive.all(tenant, after)) {
    if (timeOf(run.id) > youngest) return
    yield run
  }
}

/** What is due of a tenant, and how long it has been: expired with the next ticks. */
export async function retentionDue(
  memory: Memory,
  of: { tenant: string; rules: readonly RetentionRule[]; now: number; lookMax?: number },
): Promise<RetentionDue> {
  const { tenant, rules, now, lookMax = DUE_LOOK_MAX } = of
  const [holds, { cursor }] = await Promise.all([memory.holds.list(tenant), memory.sweeps.of(tenant)])
  const due = { content: 0, memory: 0, runs: 0, held: 0, looked: 0, overdueMs: 0 }
  /** Gives the last run of those that it has looked at, where there are more. */
  const look = async (max: number, after?: string) => {
    let last = after
    for await (const run of oldRuns(memory, { ...of, ...(after === undefined ? {} : { after }) })) {
      if (due.looked >= max) return last
      last = run.id
      due.looked++
      const found = dueOf(rules, run, [], now)
      if (found.length > 0 && dueOf(rules, run, holds, now).length === 0) due.held++
      else
        for (const { what, overdueMs } of found) {
          due[what === 'run' ? 'runs' : what]++
          due.overdueMs = Math.max(due.overdueMs, overdueMs)
        }
    }
    return undefined
  }
  const last = await look(lookMax / 2)
  if (last === undefined) return due
  // Old runs may have nothing left that expires: what is due lies where the sweep under way has come to.
  const isApart = cursor > last
  const next = await look(lookMax, isApart ? cursor : last)
  return isApart || next !== undefined ? { ...due, more: true } : due
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

  start(): void {
    this.#lookIn(TICK_MS)
  }

  async close(): Promise<void> {
    this.#closed = true
    clearTimeout(this.#timer)
    await this.#working
  }

  #lookIn(ms: number): void {
    this.#timer = setTimeout(() => {
      this.#working = this.tick()
        .catch((error) => this.#log.warn({ err: error }, 'nothing was looked for that expires'))
        .then((isMore) => {
          if (!this.#closed) this.#lookIn(isMore ? 0 : TICK_MS)
        })
    }, ms)
    this.#timer.unref()
  }

  /**
   * Gives each tenant a turn, and another as long as more is due of it; true where time was up before all was done. It ends
   * so that those get their turn for whom there was nothing to do when it began.
   */
  async tick(): Promise<boolean> {
    const until = this.#clock() + TICK_MS
    let turns: AsyncIterable<string> | string[] = this.#stores.memory.archive.tenants()
    for (;;) {
      const more: string[] = []
      for await (const tenant of turns) {
        if (this.#closed) return false
        if (await this.#turn(tenant)) more.push(tenant)
      }
      if (more.length === 0 || this.#clock() >= until) return more.length > 0
      turns = more
    }
  }

  async #turn(tenant: string): Promise<boolean> {
    try {
      return await this.#look(tenant)
    } catch (error) {
      this.#log.warn({ tenant, err: error }, 'what expires is looked for again')
      return false
    }
  }

  /** Looks at some runs of a tenant that no other has, and expires what is due of them. Gives whether to go on at once. */
  async #look(tenant: string): Promise<boolean> {
    const { memory } = this.#stores
    const found = await memory.sweeps.of(tenant)
    const own = this.#rules.filter((rule) => rule.tenant === undefined || rule.tenant === tenant)
    const rules = JSON.stringify(own)
    const isChanged = rules !== found.rules
    if (!isChanged && (found.until > this.#clock() || rules === '[]')) return false
    const taken = await memory.sweeps.save({
      ...{ ...found, until: this.#clock() + LEASE_MS },
      ...(isChanged ? { rules, cursor: '' } : {}),
    })
    if (!taken) return false
    if (isChanged) {
      const about = { rules: JSON.parse(rules), before: JSON.parse(found.rules) }
      await this.#book.append(tenant, { at: this.#clock(), by: ITSELF, action: 'retention.changed', about })
    }
    return this.#sweep(taken, own)
  }

  async #sweep(sweep: Sweep, rules: readonly RetentionRule[]): Promise<boolean> {
    const { memory } = this.#stores
    const { tenant } = sweep
    const holds = await memory.holds.list(tenant)
    const due: Due[] = []
    const now = this.#clock()
    const after = sweep.cursor === '' ? {} : { after: sweep.cursor }
    let cursor = ''
    let looked = 0
    for await (const run of oldRuns(memory, { tenant, rules, now, ...after })) {
      due.push(...dueOf(rules, run, holds, now))
      if (++looked < LOOK_MAX && due.length < RECORD_MAX) continue
      cursor = run.id
      break
    }
    const isSound = await this.#expireAll(tenant, due, rules)
    // Whoever comes next finds what was left out.
    if (this.#closed) cursor = sweep.cursor
    const isAll = cursor === '' && !this.#closed
    const saved = await memory.sweeps.save({ ...sweep, cursor, until: this.#clock() + (isAll ? REST_MS : 0) })
    // What fails may be all there is: it is not tried as fast as it can fail.
    return saved !== undefined && !isAll && isSound
  }

  /** Told before it is done; what is broken off is found again, and told again. Gives whether nothing has failed. */
  async #expireAll(tenant: string, due: readonly Due[], rules: readonly RetentionRule[]): Promise<boolean> {
    let isSound = true
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
          isSound = false
          kept.add(one.run.id)
          this.#log.warn({ tenant, run: one.run.id, what, err: error }, 'not expired: the next sweep finds it again')
        }
      })
      this.#log.info({ tenant, rule: key, runs: done }, 'expired')
    }
    return isSound
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

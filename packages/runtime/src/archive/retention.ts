import type { Journal } from '@muster/journal'
import { type Archived, ITSELF, type Memory, type Sweep } from '@muster/memory'
import { type Erased, type Hold, isHeld, type RetentionDue, type RetentionRule, ruleFor } from '@muster/protocol'
import type { Logger } from 'pino'
import { auditHitsOf } from './audit-hits.ts'
import { toEvents } from './content.ts'
import type { RecordBook } from './record-book.ts'

/** How often a worker looks, how long it rests when it has seen all, and how long it has what it took, ms. */
const TICK_MS = 60_000
const REST_MS = 3_600_000
const LEASE_MS = 120_000
/** Runs of a tenant that one tick looks at, and those of them that one record tells of. */
const LOOK_MAX = 500
const RECORD_MAX = 200
/** Runs that are looked at to tell what is due. */
const DUE_LOOK_MAX = 20_000

interface Stores {
  journal: Journal
  memory: Memory
}

/** What of a run is past its time, by which rule. */
interface Due {
  run: Archived
  what: 'content' | 'memory' | 'run'
  rule: number
}

/** What of a run is past its time and not held: what it has left before the run, which tells of that. */
function dueOf(rules: readonly RetentionRule[], run: Archived, holds: readonly Hold[], now: number): Due[] {
  const rule = ruleFor(rules, run)
  const { content, memory, run: whole } = (rule === undefined ? undefined : rules[rule]) ?? {}
  const age = now - (run.endedAt ?? run.createdAt)
  const isPast = (term: number | undefined) => term !== undefined && age >= term
  const isForgotten = run.forgotten === true || run.erased?.by === 'erasure'
  const due: Due['what'][] = []
  if (isPast(memory) && !isForgotten) due.push('memory')
  if (isPast(whole)) due.push('run')
  else if (isPast(content) && run.erased === undefined) due.push('content')
  if (rule === undefined || due.length === 0 || holds.some((hold) => isHeld(hold, run))) return []
  return due.map((what) => ({ run, what, rule }))
}

/** What is due of a tenant: expired with the next ticks. */
export async function retentionDue(
  memory: Memory,
  rules: readonly RetentionRule[],
  tenant: string,
  now: number,
): Promise<RetentionDue> {
  const holds = await memory.holds.list(tenant)
  const due = { content: 0, memory: 0, runs: 0, held: 0, looked: 0 }
  for await (const run of memory.archive.all(tenant)) {
    if (due.looked >= DUE_LOOK_MAX) return { ...due, more: true }
    due.looked++
    const found = dueOf(rules, run, [], now)
    if (found.length > 0 && dueOf(rules, run, holds, now).length === 0) due.held++
    else for (const { what } of found) due[what === 'run' ? 'runs' : what]++
  }
  return due
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
    this.#timer = setInterval(() => {
      this.#working = this.#working
        .then(() => this.tick())
        .catch((error) => this.#log.warn({ err: error }, 'nothing was looked for that expires'))
    }, TICK_MS)
    this.#timer.unref()
  }

  async close(): Promise<void> {
    this.#closed = true
    clearInterval(this.#timer)
    await this.#working
  }

  /** Looks at some runs of each tenant whose turn it is, and expires what is due of them. */
  async tick(): Promise<void> {
    for await (const tenant of this.#stores.memory.archive.tenants()) {
      if (this.#closed) return
      try {
        await this.#look(tenant)
      } catch (error) {
        this.#log.warn({ tenant, err: error }, 'what expires is looked for again')
      }
    }
  }

  async #look(tenant: string): Promise<void> {
    const { memory } = this.#stores
    const found = await memory.sweeps.of(tenant)
    const own = this.#rules.filter((rule) => rule.tenant === undefined || rule.tenant === tenant)
    const rules = JSON.stringify(own)
    const isChanged = rules !== found.rules
    if (!isChanged && (found.until > this.#clock() || rules === '[]')) return
    const taken = await memory.sweeps.save({
      ...{ ...found, until: this.#clock() + LEASE_MS },
      ...(isChanged ? { rules, cursor: '' } : {}),
    })
    if (!taken) return
    if (isChanged) {
      const about = { rules: JSON.parse(rules), before: JSON.parse(found.rules) }
      await this.#book.append(tenant, { at: this.#clock(), by: ITSELF, action: 'retention.changed', about })
    }
    await this.#sweep(taken, own)
  }

  async #sweep(sweep: Sweep, rules: readonly RetentionRule[]): Promise<void> {
    const { memory } = this.#stores
    const { tenant } = sweep
    const holds = await memory.holds.list(tenant)
    const due: Due[] = []
    let cursor = ''
    let looked = 0
    for await (const run of memory.archive.all(tenant, sweep.cursor === '' ? undefined : sweep.cursor)) {
      const found = dueOf(rules, run, holds, this.#clock())
      due.push(...found)
      if (++looked < LOOK_MAX && due.length < RECORD_MAX) continue
      cursor = run.id
      break
    }
    // Whoever has placed one while runs were looked at is not too late.
    const later = await memory.holds.list(tenant)
    const free = due.filter(({ run }) => !later.some((hold) => isHeld(hold, run)))
    // Told before it is done; what is broken off is found again, and told again.
    const ordered = free.toSorted((one, other) => Number(one.what === 'run') - Number(other.what === 'run'))
    for (const [key, some] of Map.groupBy(ordered, ({ rule, what }) => `${rule} ${what}`)) {
      const [first] = some
      if (!first) continue
      const { rule, what } = first
      const runs = Object.fromEntries(some.map(({ run }) => [run.id, run.entries]))
      const about = { rule, what, terms: JSON.parse(JSON.stringify(rules[rule] ?? {})), runs }
      await this.#book.append(tenant, { at: this.#clock(), by: ITSELF, action: 'retention.expired', about })
      for (const one of some) await this.#expire(tenant, one)
      this.#log.info({ tenant, rule: key, runs: some.length }, 'expired')
    }
    await memory.sweeps.save({ ...sweep, cursor, until: this.#clock() + (cursor === '' ? REST_MS : 0) })
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

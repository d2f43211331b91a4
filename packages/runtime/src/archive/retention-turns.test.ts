import { Heads, Journal } from '@muster/journal'
import type { Memory } from '@muster/memory'
import {
  type AuditRecord,
  newId,
  type RetentionRule,
  type Run,
  type RunSummary,
  retentionRules,
} from '@muster/protocol'
import fc from 'fast-check'
import { pino } from 'pino'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { putRun, stopMemory, stopRedis, theMemory, theRedis } from '../fixture.ts'
import { RecordBook } from './record-book.ts'
import { Retention } from './retention.ts'
import { retentionDue } from './retention-due.ts'

const DAY_MS = 86_400_000
const LEASE_MS = 120_000
const REST_MS = 3_600_000
const TICK_MS = 60_000
const NOW = Date.UTC(2026, 5, 1)
const by = { key: 'k', user: 'u' }
const RULES = retentionRules.parse([
  { name: 'long', run: '9d' },
  { name: 'both', memory: '2d', run: '2d' },
  { name: 'kept', status: 'failed', run: '1d' },
  { name: 'short', run: '2d' },
])

let memory: Memory
let journal: Journal
beforeAll(async () => {
  memory = await theMemory()
  journal = await Journal.open({ url: (await theRedis()).url, namespace: 'turns' })
})
afterAll(async () => {
  await journal.close()
  await stopMemory()
  await stopRedis()
})

/** The id of a run that was made then. */
function idAt(at: number): string {
  const time = at.toString(16).padStart(12, '0')
  return `${time.slice(0, 8)}-${time.slice(8)}-${newId().slice(14)}`
}

/** Archives a run that was made so many days ago, and ended at once unless told. */
async function archive(tenant: string, days: number, more: Partial<Run> = {}): Promise<string> {
  const createdAt = NOW - days * DAY_MS
  const run: Run = {
    ...{ id: idAt(createdAt), tenant, status: 'succeeded', kind: 'plan', name: 'short', version: '1', by },
    ...{ createdAt, endedAt: createdAt, input: {}, waiting: [], labels: [], steps: 0, epoch: 1, entries: 1, head: '' },
    ...{ usage: { inputTokens: 0, outputTokens: 0, cachedTokens: 0 }, costUsd: 0 },
    ...more,
  }
  await putRun(memory, run, [{ seq: 1, hash: '', bytes: '{}' }])
  return run.id
}

const archiveMany = (tenant: string, runs: number, days: number) =>
  Promise.all(Array.from({ length: runs }, () => archive(tenant, days)))

/** What of these tenants is there, as ids. */
const left = async (tenant: string) => (await Array.fromAsync(memory.archive.all(tenant))).map(({ id }) => id)

async function told(tenant: string): Promise<{ what: string; runs: string[] }[]> {
  const records = (await Array.fromAsync(memory.records.read(tenant))).map(
    ({ bytes }): AuditRecord => JSON.parse(bytes),
  )
  return records
    .filter(({ action }) => action === 'retention.expired')
    .map(({ about }) => ({ what: String(about.what), runs: Object.keys(about.runs ?? {}) }))
}

interface Change {
  /** The tenants that it knows; others of this table belong to other tests. */
  tenants: readonly string[]
  archive?: Partial<Memory['archive']>
  facts?: Partial<Memory['facts']>
  clock?: () => number
  logged?: string[]
  rules?: readonly RetentionRule[]
}

/** What a worker has of it, with some of its memory put in another way. */
function worker({ tenants, archive: own, facts, clock = () => NOW, logged = [], rules = RULES }: Change): Retention {
  const of: Memory = {
    ...memory,
    facts: { ...memory.facts, ...facts },
    archive: {
      ...memory.archive,
      async *tenants() {
        yield* tenants
      },
      ...own,
    },
  }
  return new Retention({
    ...{ journal, memory: of, rules, clock },
    book: new RecordBook(new Heads(journal), memory.records),
    log: pino({ level: 'warn' }, { write: (line: string) => void logged.push(line) }),
  })
}

describe('a tick', () => {
  it('goes on as long as more is due of a tenant, and others have their turns between', async () => {
    const [much, little] = [newId(), newId()]
    await archiveMany(much, 410, 3)
    await archiveMany(little, 3, 3)
    const young = await archive(much, 1)
    const gone: string[] = []
    const retention = worker({
      tenants: [much, little],
      archive: {
        remove: (tenant, ...of) => {
          gone.push(tenant)
          return memory.archive.remove(tenant, ...of)
        },
      },
    })
    expect(await retention.tick()).toBe(TICK_MS)
    expect(await left(much)).toEqual([young])
    expect(await left(little)).toEqual([])
    expect((await told(much)).map(({ runs }) => runs.length)).toEqual([200, 200, 10])
    expect(gone.lastIndexOf(little)).toBeLessThan(gone.length - 200)
    expect(await memory.sweeps.of(much)).toMatchObject({ cursor: '', until: NOW + REST_MS })
  })

  it('ends when its time is up, says that there is more, and the next goes on', async () => {
    const tenant = newId()
    await archiveMany(tenant, 210, 3)
    let now = NOW
    const retention = worker({ tenants: [tenant], clock: () => (now += 10_000) })
    expect(await retention.tick()).toBe(0)
    expect(await left(tenant)).toHaveLength(10)
    expect(await retention.tick()).toBe(TICK_MS)
    expect(await left(tenant)).toEqual([])
  })

  it('looks at no run that is too young for every term, but at one that has lived for long', async () => {
    const tenant = newId()
    const old = await archive(tenant, 10)
    const long = await archive(tenant, 11, { endedAt: NOW - DAY_MS / 2 })
    const held = await archive(tenant, 3)
    await memory.holds.place(tenant, { id: 'h', run: held, reason: 'r', by, at: 0 })
    const failed = await archive(tenant, 1.5, { name: 'kept', status: 'failed' })
    const young = await Promise.all(Array.from({ length: 30 }, () => archive(tenant, 0.5)))
    let looked = 0
    const retention = worker({
      tenants: [tenant],
      archive: {
        async *all(...of) {
          for await (const run of memory.archive.all(...of)) {
            looked++
            yield run
          }
        },
      },
    })
    expect(await retentionDue(memory, { tenant, rules: RULES, now: NOW })).toEqual({
      ...{ content: 0, memory: 0, runs: 2, held: 1, failing: 0, looked: 4, overdueMs: 8 * DAY_MS },
    })
    await retention.tick()
    expect(looked).toBe(5)
    expect(new Set(await left(tenant))).toEqual(new Set([long, held, ...young]))
    expect((await told(tenant)).flatMap(({ runs }) => runs).toSorted()).toEqual([old, failed].toSorted())
  })

  it('lets others expire where some do not; these are logged, and tried again after a pause that grows', async () => {
    const tenant = newId()
    const runs = await archiveMany(tenant, 210, 3)
    const forgetful = await archive(tenant, 3, { name: 'both' })
    const [broken = ''] = runs
    const logged: string[] = []
    const failing = new Set([broken, forgetful])
    const failIf = (run: string) => {
      if (failing.has(run)) throw new Error(`not ${run}`)
    }
    let now = NOW
    const retention = worker({
      ...{ tenants: [tenant], logged, clock: () => now },
      facts: {
        erase: async (of, run) => {
          failIf(run)
          return memory.facts.erase(of, run)
        },
      },
      archive: {
        remove: async (of, run, why) => {
          if (run === broken) failIf(run)
          return memory.archive.remove(of, run, why)
        },
      },
    })
    const due = async () => {
      const { runs, failing } = await retentionDue(memory, { tenant, rules: RULES, now })
      return { runs, failing }
    }
    expect(await retention.tick()).toBe(1000)
    // What it has left could not be removed: it stays, as nothing else tells of that.
    expect((await left(tenant)).toSorted()).toEqual([broken, forgetful].toSorted())
    expect(logged.filter((line) => line.includes(broken) || line.includes(forgetful))).toHaveLength(2)
    expect(await due()).toEqual({ runs: 2, failing: 2 })

    now += 999
    expect(await retention.tick()).toBe(1)
    expect(logged).toHaveLength(2)
    now += 1
    expect(await retention.tick()).toBe(2000)
    expect(logged).toHaveLength(4)
    failing.delete(broken)
    now += 2000
    expect(await retention.tick()).toBe(4000)
    expect(await left(tenant)).toEqual([forgetful])
    expect(await due()).toEqual({ runs: 1, failing: 1 })
    for (let tries = 4; tries <= 13; tries++) {
      now = (await memory.sweeps.of(tenant)).againAt
      await retention.tick()
    }
    expect((await memory.sweeps.of(tenant)).againAt).toBe(now + REST_MS)
    // Another that fails is tried again soon, however often the first has.
    const late = await archive(tenant, 4, { name: 'both' })
    failing.add(late)
    now += REST_MS
    logged.length = 0
    expect(await retention.tick()).toBe(1000)
    expect(logged).toHaveLength(2)
    failing.clear()
    now += 1000
    expect(await retention.tick()).toBe(TICK_MS)
    expect(await left(tenant)).toEqual([])
    expect(await due()).toEqual({ runs: 0, failing: 0 })
  })

  it('leaves what could not be expired and is held meanwhile, and what rules do not name any more', async () => {
    const [held, freed] = [newId(), newId()]
    const runs = [await archive(held, 3), await archive(freed, 3)]
    let now = NOW
    const remove = async () => {
      throw new Error('not now')
    }
    const clock = () => now
    await worker({ tenants: [held, freed], clock, archive: { remove } }).tick()
    await memory.holds.place(held, { id: 'h', run: runs[0] ?? '', reason: 'r', by, at: now })
    now += 1000
    await worker({ tenants: [held], clock }).tick()
    await worker({ tenants: [freed], clock, rules: [] }).tick()
    for (const tenant of [held, freed]) {
      expect(await left(tenant)).toHaveLength(1)
      expect((await memory.sweeps.of(tenant)).failing).toEqual([])
    }
  })

  it('that could not even look says so, and is made again in a minute', async () => {
    const logged: string[] = []
    const tenants = () => {
      throw new Error('no answer')
    }
    expect(await worker({ tenants: [], logged, archive: { tenants } }).tick()).toBe(TICK_MS)
    expect(logged.join()).toContain('no answer')
  })

  it('keeps what is held while others expire', async () => {
    const tenant = newId()
    const [one = '', other = ''] = await Promise.all(
      Array.from({ length: 2 }, () => archive(tenant, 3, { name: 'both' })),
    )
    let placed: Promise<void> | undefined
    const retention = worker({
      tenants: [tenant],
      archive: {
        forgotten: async (of, run) => {
          await memory.archive.forgotten(of, run)
          placed ??= memory.holds.place(tenant, { id: 'h', run: one, reason: 'r', by, at: NOW })
          await placed
        },
      },
    })
    await retention.tick()
    expect(await left(tenant)).toEqual([one])
    expect((await told(tenant)).at(-1)).toEqual({ what: 'run', runs: [other] })
  })
})

describe('a worker', () => {
  it('leaves a tenant to the one that has it', async () => {
    const tenant = newId()
    await archiveMany(tenant, 5, 3)
    let idle: Promise<number> | undefined
    const remove: Memory['archive']['remove'] = async (...of) => {
      idle ??= worker({ tenants: [tenant] }).tick()
      await idle
      return memory.archive.remove(...of)
    }
    await worker({ tenants: [tenant], archive: { remove } }).tick()
    expect(await told(tenant)).toHaveLength(1)
    expect(await left(tenant)).toEqual([])
  })

  it('that closes ends with what is under way, and another goes on at once', async () => {
    const tenant = newId()
    await archiveMany(tenant, 210, 3)
    let removed = 0
    let closed: Promise<void> | undefined
    const retention = worker({
      tenants: [tenant],
      archive: {
        remove: (...of) => {
          if (++removed === 3) closed = retention.close()
          return memory.archive.remove(...of)
        },
      },
    })
    expect(await retention.tick()).toBe(TICK_MS)
    await closed
    expect(removed).toBe(16)
    expect(await left(tenant)).toHaveLength(194)
    await worker({ tenants: [tenant] }).tick()
    expect(await left(tenant)).toEqual([])
    expect((await told(tenant)).map(({ runs }) => runs.length)).toEqual([200, 194])
  })
})

/** Where the loop does not go on as it should, it waits for a minute. */
const SOONER = { timeout: TICK_MS - 10_000 }

describe('the loop', () => {
  it('goes on at once while there is more', async () => {
    const tenant = newId()
    await archiveMany(tenant, 210, 3)
    let now = NOW
    const retention = worker({ tenants: [tenant], clock: () => (now += 10_000) })
    retention.start(0)
    await expect.poll(() => left(tenant), SOONER).toEqual([])
    await retention.close()
  })

  it('tries again what has failed', async () => {
    const tenant = newId()
    await archive(tenant, 3)
    let tries = 0
    const begun = Date.now()
    const retention = worker({
      ...{ tenants: [tenant], clock: () => NOW + Date.now() - begun },
      archive: {
        remove: async (...of) => {
          if (++tries === 1) throw new Error('not now')
          return memory.archive.remove(...of)
        },
      },
    })
    retention.start(0)
    await expect.poll(() => left(tenant), SOONER).toEqual([])
    await retention.close()
    expect(tries).toBe(2)
  })
})

/** A run as a property makes it: how old, how long it lived, under which rule, held or not. */
const someRun = fc.record({
  days: fc.integer({ min: 0, max: 12 }),
  lived: fc.integer({ min: 0, max: 12 }),
  name: fc.constantFrom('short', 'long', 'both', 'kept', 'other'),
  status: fc.constantFrom('succeeded' as const, 'failed' as const),
  isHeld: fc.boolean(),
})

/** The terms of `RULES`, told anew. */
function isPast({ name, status, endedAt = 0 }: Pick<RunSummary, 'name' | 'status' | 'endedAt'>): boolean {
  const term = { short: 2, long: 9, both: 2 }[name] ?? (name === 'kept' && status === 'failed' ? 1 : Infinity)
  return NOW - endedAt >= term * DAY_MS
}

describe('workers side by side', () => {
  it('take what is past its time and nothing else, of every tenant, told first, whoever dies', () =>
    fc.assert(
      fc.asyncProperty(
        fc.array(fc.array(someRun, { maxLength: 12 }), { minLength: 1, maxLength: 4 }),
        fc.array(fc.nat({ max: 12 }), { maxLength: 2 }),
        async (runs, deaths) => {
          const tenants = runs.map(() => newId())
          const staying = new Set<string>()
          for (const [i, tenant] of tenants.entries())
            for (const { days, lived, isHeld, ...of } of runs[i] ?? []) {
              const endedAt = NOW - Math.max(0, days - lived) * DAY_MS
              const id = await archive(tenant, days, { ...of, endedAt })
              if (isHeld) await memory.holds.place(tenant, { id, run: id, reason: 'r', by, at: 0 })
              if (isHeld || !isPast({ ...of, endedAt })) staying.add(id)
            }
          let now = NOW
          const untold: string[] = []
          const removeTold: Memory['archive']['remove'] = async (tenant, run, why) => {
            if (!(await told(tenant)).some((one) => one.what === 'run' && one.runs.includes(run))) untold.push(run)
            return memory.archive.remove(tenant, run, why)
          }
          /** It ends with its so many'th removal, before or after that is done, and is never heard of again. */
          const dying = (at: number) =>
            new Promise<void>((died) => {
              let calls = 0
              const remove: Memory['archive']['remove'] = async (...of) => {
                if (++calls > at) {
                  if (at % 2 === 0) await removeTold(...of)
                  died()
                  return new Promise(() => {})
                }
                return removeTold(...of)
              }
              void worker({ tenants, clock: () => now, archive: { remove } })
                .tick()
                .then(() => died())
            })
          const lasting = () => worker({ tenants, clock: () => now, archive: { remove: removeTold } }).tick()
          await Promise.all([...deaths.map(dying), lasting(), lasting()])
          now += LEASE_MS
          await Promise.all([lasting(), lasting()])
          const there = (await Promise.all(tenants.map(left))).flat()
          expect(new Set(there)).toEqual(staying)
          expect(untold).toEqual([])
        },
      ),
      { numRuns: 12 },
    ))
})

describe('what is due', () => {
  it('is looked for where workers are, past many old runs of which nothing expires any more', async () => {
    const tenant = newId()
    const kept = await Promise.all(Array.from({ length: 20 }, () => archive(tenant, 20, { name: 'other' })))
    await archiveMany(tenant, 5, 4)
    const look = (lookMax: number) => retentionDue(memory, { tenant, rules: RULES, now: NOW, lookMax })
    expect(await look(30)).toMatchObject({ runs: 5, looked: 25, overdueMs: 2 * DAY_MS })
    expect(await look(30)).not.toHaveProperty('more')
    expect(await look(10)).toEqual({
      ...{ content: 0, memory: 0, runs: 0, held: 0, failing: 0, looked: 10, more: true, overdueMs: 0 },
    })
    const sweep = await memory.sweeps.of(tenant)
    await memory.sweeps.save({ ...sweep, cursor: kept.toSorted().at(-1) ?? '' })
    expect(await look(12)).toMatchObject({ runs: 5, looked: 11, more: true, overdueMs: 2 * DAY_MS })
  })
})

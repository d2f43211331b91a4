import type { Journal } from '@muster/journal'
import { type Entry, newId } from '@muster/protocol'
import { collect, tool } from '@muster/sdk'
import fc from 'fast-check'
import { afterAll, describe, expect, it } from 'vitest'
import { any, stopRedis, withWorker } from '../fixture.ts'

afterAll(stopRedis)

const PLANS = 32
const ATTEMPTS = 4

/**
 * What becomes of an attempt: it is answered, or fails, before or after it has had its effect; or its worker loses the run
 * then, as one that dies does, and nobody hears of it.
 */
const fates = ['done', 'fails before', 'fails after', 'lost before', 'lost after'] as const
type Fate = (typeof fates)[number]

const kinds = ['written', 'paid', 'launched'] as const

interface Step {
  kind: (typeof kinds)[number]
  /** One for each attempt; what comes after them is done. */
  fates: readonly Fate[]
  /** Earlier steps that it waits for, by their distance. */
  back: readonly number[]
}

const step = fc.record<Step>({
  kind: fc.constantFrom(...kinds),
  fates: fc.array(fc.constantFrom(...fates), { maxLength: ATTEMPTS - 1 }),
  back: fc.uniqueArray(fc.integer({ min: 1, max: 3 }), { maxLength: 2 }),
})

/** The outside: how often each key had its effect. */
const happened = new Map<string, number>()
/** What each step of each run was called with. */
const called = new Map<string, string[]>()
const fatesOf = new Map<string, Fate[]>()
let lose: (run: string) => Promise<unknown> = async () => {}
let reconciled = 0

interface At {
  run: string
  step: string
  idempotencyKey: string
}

async function act({ run, step, idempotencyKey }: At): Promise<Record<string, never>> {
  const at = `${run} ${step}`
  called.set(at, [...(called.get(at) ?? []), idempotencyKey])
  const fate = fatesOf.get(at)?.shift() ?? 'done'
  if (!fate.endsWith('before')) happened.set(idempotencyKey, (happened.get(idempotencyKey) ?? 0) + 1)
  // As if another had taken it: what this activation appends from here on is refused.
  if (fate.startsWith('lost')) await lose(run)
  if (fate !== 'done') throw new Error(fate)
  return {}
}

const options = { input: any, output: any, run: (_: unknown, at: At) => act(at) }
const app = collect({
  written: tool({
    ...{ ...options, name: 'written', effect: 'write', attempts: ATTEMPTS },
    retries: { 'tool.failed': { baseMs: 1, capMs: 1 } },
  }),
  /** The outside can be asked whether it happened. */
  paid: tool({
    ...{ ...options, name: 'paid', effect: 'once' },
    reconcile: async ({ idempotencyKey }) => {
      reconciled++
      return happened.has(idempotencyKey) ? {} : undefined
    },
  }),
  /** Nobody can be asked but a person. */
  launched: tool({ ...options, name: 'launched', effect: 'once' }),
})

const planOf = (steps: readonly Step[]) =>
  Object.fromEntries(
    steps.map(({ kind, back }, i) => {
      // What waits for a person is waited for by no other.
      const after = back.flatMap((distance) =>
        distance > i || steps[i - distance]?.kind === 'launched' ? [] : [`s${i - distance}`],
      )
      return [`s${i}`, { tool: kind, input: {}, onFailure: 'continue', join: 'settled', after }]
    }),
  )

/** Steps that succeeded, once nothing goes on but by a person. */
async function succeeded(journal: Journal, run: string, steps: number): Promise<string[]> {
  const settled = new Set<string>()
  const ok: string[] = []
  for await (const { bytes } of journal.follow(run, 0, AbortSignal.timeout(60_000))) {
    const entry: Entry = JSON.parse(bytes)
    if (entry.type === 'step.ended' && entry.status === 'ok') ok.push(entry.step)
    if (entry.type === 'step.ended' || (entry.type === 'step.waiting' && entry.for === 'doubt')) settled.add(entry.step)
    if (entry.type === 'run.ended' || settled.size === steps) break
  }
  return ok
}

describe('any plans with effects', () => {
  it('never do twice what may happen once, and repeat a write under its one key alone', async () => {
    await withWorker(app, { concurrency: PLANS }, async (journal, start) => {
      lose = (run) => journal.redis.hincrby(journal.partitions[0].keys.run(run), 'epoch', 1)
      let repeated = 0
      let doubted = 0

      async function play(steps: readonly Step[]): Promise<void> {
        const run = newId()
        for (const [i, { fates }] of steps.entries()) fatesOf.set(`${run} s${i}`, [...fates])
        await start({ steps: planOf(steps) }, { run })
        const ok = await succeeded(journal, run, steps.length)
        const keys = steps.map((_, i) => new Set(called.get(`${run} s${i}`)))
        // Each step has one key at most, and no two the same.
        for (const of of keys) expect(of.size).toBeLessThanOrEqual(1)
        expect(new Set(keys.flatMap((of) => [...of])).size).toBe(keys.filter(({ size }) => size > 0).length)
        for (const [i, { kind }] of steps.entries()) {
          const times = [...(keys[i] ?? [])].reduce((sum, key) => sum + (happened.get(key) ?? 0), 0)
          if (kind !== 'written') expect(times).toBeLessThanOrEqual(1)
          if (ok.includes(`s${i}`)) expect(times).toBeGreaterThan(0)
          if (times > 1) repeated++
        }
        doubted += steps.length - ok.length
      }

      const plans = fc.array(fc.array(step, { minLength: 1, maxLength: 8 }), { minLength: PLANS, maxLength: PLANS })
      await fc.assert(
        fc.asyncProperty(plans, async (all) => void (await Promise.all(all.map(play)))),
        { numRuns: 3, endOnFailure: true },
      )
      // All of it was tried.
      expect(Math.min(repeated, reconciled, doubted)).toBeGreaterThan(PLANS / 2)
    })
  })
})

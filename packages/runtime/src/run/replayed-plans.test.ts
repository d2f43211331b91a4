import { type Entry, type Json, type Label, newId } from '@muster/protocol'
import { collect, tool } from '@muster/sdk'
import fc from 'fast-check'
import { afterAll, describe, expect, it } from 'vitest'
import { any, stopRedis, withWorker } from '../fixture.ts'

afterAll(stopRedis)

const PLANS = 32

/** Called when a tool begins; what it does happens in the middle of the step. */
let meanwhile: (run: string, step: string) => Promise<unknown> = async () => {}

const mix = (salt: number, from: readonly number[]) => from.reduce((sum, n) => (31 * sum + n) % 1009, salt)

const kinds = {
  plain: { effect: 'pure', labels: [], declassifies: [] },
  marked: { effect: 'pure', labels: ['a'], declassifies: [] },
  read: { effect: 'read', labels: ['b'], declassifies: [] },
  written: { effect: 'write', labels: [], declassifies: [] },
  checked: { effect: 'read', labels: [], declassifies: ['a', 'in'] },
} as const

const tools = Object.entries(kinds).map(([name, { effect, labels, declassifies }]) =>
  tool({
    ...{ name, effect, labels, declassifies, input: any, output: any },
    run: async ({ salt, from }, { run, step }) => {
      await meanwhile(run, step)
      const numbers = (from as Json[]).map((one) => (typeof one === 'number' ? one : INPUT.n)) // as the plans give it
      return { n: mix(Number(salt), numbers) }
    },
  }),
)

interface Step {
  kind: keyof typeof kinds
  salt: number
  /** Earlier steps, by their distance, and the run's input for what lies before all. */
  back: readonly number[]
  /** The worker loses the run while this one is under way. */
  isCut: boolean
}

const step = fc.record<Step>({
  kind: fc.constantFrom(...(Object.keys(kinds) as (keyof typeof kinds)[])), // its own keys
  salt: fc.nat(100),
  back: fc.uniqueArray(fc.integer({ min: 1, max: 5 }), { maxLength: 3 }),
  isCut: fc.integer({ min: 0, max: 3 }).map((n) => n === 0),
})

/** What a step must give, worked out from the plan alone. */
interface Outcome {
  n: number
  labels: readonly Label[]
}

/** The run's input is an empty object; this stands for it. */
const INPUT: Outcome = { n: 7, labels: ['in'] }

function outcomesOf(steps: readonly Step[]): Outcome[] {
  const all: Outcome[] = []
  for (const [i, { kind, salt, back }] of steps.entries()) {
    const from = back.map((distance) => all[i - distance] ?? INPUT)
    const { labels, declassifies } = kinds[kind]
    const joined = new Set<Label>([...from.flatMap((one) => one.labels), ...labels])
    for (const label of declassifies) joined.delete(label)
    const n = mix(
      salt,
      from.map((one) => one.n),
    )
    all.push({ n, labels: [...joined].sort() })
  }
  return all
}

function planOf(steps: readonly Step[]): Record<string, Json> {
  const refOf = (i: number) => ({ $ref: i < 0 ? '#/input' : `#/steps/s${i}/output/n` })
  return Object.fromEntries(
    steps.map(({ kind, salt, back }, i) => [
      `s${i}`,
      { tool: kind, input: { salt, from: back.map((distance) => refOf(i - distance)) } },
    ]),
  )
}

describe('any plans', () => {
  it('give the same, with the same labels, wherever and however often their worker loses them', async () => {
    const app = collect(Object.fromEntries(tools.map((one) => [one.name, one])))
    await withWorker(app, { concurrency: PLANS }, async (journal, start) => {
      let cuts = 0
      const left = new Map<string, Set<string>>()
      meanwhile = async (run, step) => {
        if (left.get(run)?.delete(step) !== true) return
        cuts++
        // As if another had taken it: what this activation appends from here on is refused.
        await journal.redis.hincrby(journal.partitions[0].keys.run(run), 'epoch', 1)
      }

      async function play(steps: readonly Step[]): Promise<void> {
        const run = newId()
        left.set(run, new Set(steps.flatMap(({ isCut }, i) => (isCut ? [`s${i}`] : []))))
        await start({ steps: planOf(steps) }, { run, labels: [...INPUT.labels] })
        const ended = new Map<string, Outcome>()
        for await (const { bytes, content } of journal.follow(run, 0, AbortSignal.timeout(60_000))) {
          const entry: Entry = JSON.parse(bytes)
          if (entry.type === 'step.ended') {
            expect(entry.status).toBe('ok')
            expect(ended.has(entry.step)).toBe(false)
            // Content is a salt of 22 characters and JSON.
            ended.set(entry.step, { ...JSON.parse(content?.slice(22) ?? ''), labels: entry.labels })
          }
          if (entry.type !== 'run.ended') continue
          expect(entry.status).toBe('succeeded')
          break
        }
        expect(ended).toEqual(new Map(outcomesOf(steps).map((one, i) => [`s${i}`, one])))
      }

      // Side by side, since a run that is lost waits a moment until it is taken up again.
      const plans = fc.array(fc.array(step, { minLength: 1, maxLength: 10 }), { minLength: PLANS, maxLength: PLANS })
      await fc.assert(
        fc.asyncProperty(plans, async (all) => void (await Promise.all(all.map(play)))),
        { numRuns: 3, endOnFailure: true },
      )
      expect(cuts).toBeGreaterThan(PLANS)
    })
  })
})

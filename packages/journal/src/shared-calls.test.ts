import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { SharedCalls } from './shared-calls.ts'

/** Calls that answer when they are told to. */
function server() {
  const calls: { requests: readonly number[]; answer(): void; fail(): void }[] = []
  const call = (requests: readonly number[]) =>
    new Promise<number[]>((resolve, reject) => {
      calls.push({
        requests,
        answer: () => resolve(requests.map((n) => -n)),
        fail: () => reject(new Error('the connection was lost')),
      })
    })
  return { calls, call }
}

const tick = () => new Promise((resolve) => setImmediate(resolve))
const numbers = (n: number) => Array.from({ length: n }, (_, i) => i)

describe('calls that requests share', () => {
  it('have all requests of a tick', async () => {
    const { calls, call } = server()
    const shared = new SharedCalls(call, { sizeMax: 100, inFlightMax: 8 })
    const answers = Promise.all(numbers(100).map((n) => shared.add(n)))
    await tick()
    expect(calls.map(({ requests }) => requests.length)).toEqual([100])
    calls[0]?.answer()
    expect(await answers).toEqual(numbers(100).map((n) => -n))
  })

  it('go in parts where they are to, the next before the last is worked on', async () => {
    const { calls, call } = server()
    const shared = new SharedCalls(call, { sizeMax: 100, inFlightMax: 1, partFrom: 25 })
    const underWay: number[] = []
    const answers = numbers(100).map((n) => shared.add(n).then(() => underWay.push(calls.length)))
    await tick()
    for (let i = 0; i < calls.length; i++) {
      calls[i]?.answer()
      await tick()
    }
    await Promise.all(answers)
    expect(calls.map(({ requests }) => requests.length)).toEqual([50, 25, 25])
    // While the first half was worked on, the second call was under way.
    expect(underWay.slice(0, 50)).toEqual(new Array(50).fill(2))
  })

  it('wait for no answer that takes long', async () => {
    const { calls, call } = server()
    const shared = new SharedCalls(call, { sizeMax: 100, inFlightMax: 2, partFrom: 25 })
    const answers = Promise.all(numbers(100).map((n) => shared.add(n)))
    while (calls.length < 2) await tick()
    // One more waits until there is place for it.
    calls[0]?.answer()
    while (calls.length < 3) await tick()
    for (const one of calls) one.answer()
    expect(await answers).toEqual(numbers(100).map((n) => -n))
    expect(calls.map(({ requests }) => requests.length)).toEqual([50, 25, 25])
  })

  it('answer each request once, by its own result or its own failure, and never more at once than allowed', async () => {
    const sizes = fc.record({
      sizeMax: fc.integer({ min: 1, max: 20 }),
      inFlightMax: fc.integer({ min: 1, max: 3 }),
      partFrom: fc.option(fc.integer({ min: 1, max: 20 }), { nil: undefined }),
    })
    const bursts = fc.array(fc.record({ requests: fc.nat(50), fails: fc.boolean() }), { maxLength: 8 })
    await fc.assert(
      fc.asyncProperty(sizes, bursts, async ({ partFrom, ...limits }, bursts) => {
        const { calls, call } = server()
        const shared = new SharedCalls(call, { ...limits, ...(partFrom === undefined ? {} : { partFrom }) })
        let next = 0
        let answered = 0
        const outcomes: Promise<unknown>[] = []
        const step = async (fails: boolean) => {
          await tick()
          expect(calls.length - answered).toBeLessThanOrEqual(limits.inFlightMax)
          const due = calls[answered]
          if (!due) return
          answered++
          expect(due.requests.length).toBeLessThanOrEqual(limits.sizeMax)
          if (fails) due.fail()
          else due.answer()
        }
        for (const { requests, fails } of bursts) {
          for (let i = 0; i < requests; i++) {
            const n = next++
            outcomes.push(
              shared.add(n).then(
                (result) => expect(result).toBe(-n),
                (error) => expect(error.message).toBe('the connection was lost'),
              ),
            )
          }
          await step(fails)
        }
        while (calls.length > answered || calls.flatMap(({ requests }) => requests).length < next) await step(false)
        await Promise.all(outcomes)
        expect(calls.flatMap(({ requests }) => requests)).toEqual(numbers(next))
      }),
      { numRuns: 100 },
    )
  })
})

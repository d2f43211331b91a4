import { History, loadPolicies, type StepEvent } from '@muster/governance'
import type { Memory, Pasts } from '@muster/memory'
import { newId } from '@muster/protocol'
import { pino } from 'pino'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { stopMemory, theMemory } from '../fixture.ts'
import { SessionPast } from './session-past.ts'

const LIMIT = 5
const pay = { description: '', hash: '', effect: 'once' as const, labels: [], declassifies: [], input: {}, output: {} }
const set = loadPolicies(
  [
    {
      file: 'p',
      text: `permit (principal, action, resource);
        @id("limit") @history("paid = count pay of session") forbid (principal, action, resource)
        when { context.history.paid >= ${LIMIT} };`,
    },
  ],
  { hash: '', definitions: [], tools: [{ ...pay, name: 'pay' }] },
)

let memory: Memory

beforeAll(async () => {
  memory = await theMemory()
})
afterAll(stopMemory)

/** The store, whose every third answer to an append is lost, after it was done or before. */
function losing(pasts: Pasts): Pasts {
  let appends = 0
  return {
    ...pasts,
    async append(...args) {
      const lost = ++appends % 3 === 0
      if (lost && appends % 2 === 0) throw new Error('lost on its way')
      const done = await pasts.append(...args)
      if (lost) throw new Error('its answer was lost')
      return done
    },
  }
}

async function open(pasts: Pasts, session: string, run: string) {
  if (!set.history) throw new Error('the set has a term')
  const past = new History(set.history)
  const told = new SessionPast(past, pasts, pino({ level: 'silent' }), { tenant: 't', session, run })
  await told.open()
  const decide = (step: string) =>
    set.decide({
      ...{ tenant: 't', principal: { type: 'Plan', name: 'p' }, action: 'tool:call', labels: [], approvals: [] },
      ...{ resource: { type: 'Tool', name: 'pay', effect: 'once' }, user: 'u', spentUsd: 0 },
      history: { past, step, now: Date.now() },
    })
  const add = (event: StepEvent) => {
    const isTold = told.has(event)
    past.add(event, isTold)
    return isTold
  }
  const event = (step: string): StepEvent => ({
    ...{ what: 'begun', step, kind: 'tool', target: 'pay', at: Date.now(), input: {}, people: [] },
  })
  return {
    told,
    count: () => decide('').history?.paid,
    end(step: string, status: 'ok' | 'failed') {
      const ended: StepEvent = { ...event(step), what: 'ended', status }
      if (!add(ended)) told.tell(ended)
    },
    /** Whether the step may begin. */
    async begin(step: string): Promise<boolean> {
      while (decide(step).effect === 'allow') {
        const begun = event(step)
        if (add(begun)) return true
        if (await new Promise<boolean>((resolve, failed) => told.tell(begun, { told: resolve, failed }))) return true
      }
      return false
    },
  }
}

describe('runs of one session', () => {
  it('begin no more together than one could, whatever answers are lost and whoever dies', async () => {
    const session = newId()
    const pasts = losing(memory.pasts)
    let underWay = 0
    let most = 0
    let paid = 0
    const work = async (run: string, i: number) => {
      const own = await open(pasts, session, run)
      for (const step of ['a', 'b', 'c']) {
        if (!(await own.begin(step))) continue
        most = Math.max(most, ++underWay + paid)
        await new Promise((resolve) => setImmediate(resolve))
        const isPaid = (i + step.charCodeAt(0)) % 2 === 0
        if (isPaid) paid++
        underWay--
        own.end(step, isPaid ? 'ok' : 'failed')
      }
      await own.told.rest
    }
    await Promise.all(Array.from({ length: 6 }, (_, i) => work(`r${i}`, i)))
    expect(most).toBeLessThanOrEqual(LIMIT)
    expect(paid).toBeGreaterThan(0)
    expect((await open(memory.pasts, session, 'later')).count()).toBe(paid)
    const { deeds } = await memory.pasts.read('t', session)
    const steps = deeds.flatMap(({ run, events }) =>
      (events as unknown as StepEvent[]).map(({ what, step }) => `${run} ${what} ${step}`),
    )
    expect(new Set(steps).size).toBe(steps.length)
  }, 90_000)

  it('is told once of what a run did that died, and of what it could not tell any more', async () => {
    const session = newId()
    const first = await open(memory.pasts, session, 'r')
    expect(await first.begin('a')).toBe(true)
    expect(await first.begin('b')).toBe(true)
    first.told.stop()
    // As its journal has it: `a` was begun, and failed without the session being told; of `b` it has nothing yet.
    const again = await open(memory.pasts, session, 'r')
    expect(again.count()).toBe(2)
    expect(await again.begin('a')).toBe(true)
    again.end('a', 'failed')
    expect(await again.begin('b')).toBe(true)
    again.end('b', 'ok')
    await again.told.rest
    const other = await open(memory.pasts, session, 'other')
    expect([again.count(), other.count()]).toEqual([1, 1])
    expect((await memory.pasts.read('t', session)).deeds.flatMap(({ events }) => events)).toHaveLength(4)
  })
})

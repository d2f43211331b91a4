import type { Json } from '@muster/protocol'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { appOf, toolCall } from './fixture.ts'
import { History } from './history.ts'
import { type Pattern, parseTerms, type Term } from './history-term.ts'
import { HistoryTerms } from './history-terms.ts'
import { loadPolicies } from './load.ts'
import type { StepEvent } from './step-event.ts'

const app = appOf({
  pay: { amount: { type: 'number' }, payee: { type: 'string' } },
  count: { n: { type: 'integer' }, amount: { type: 'number' } },
  match: { payee: { type: 'string' } },
})

/** One of each operator, with every status, window and modifier somewhere. */
const DECLARED = `
  paid = sum pay input.amount within 50s; paidTo = sum pay input.amount begun with payee;
  sums = sum pay input.amount ok since match; n = count pay; nTo = count pay with payee within 20s;
  begun = count pay begun within 80s; failed = count pay failed; denied = count * denied;
  matched = formerly match with payee within 30s; big = formerly pay taken with amount > 50 and payee = 'a';
  since = formerly match with payee since pay begun with payee; sinceAny = count pay since match failed;
  before = previous match with payee; beforeAny = previous * failed;
  who = approvers pay with payee; whoLately = approvers pay within 40s; when = last match with payee; whenLately = last pay within 10s`

function termsOf(scope: 'run' | 'session'): HistoryTerms {
  const terms = parseTerms(DECLARED, (_, message) => {
    throw new Error(message)
  })
  return new HistoryTerms(terms.map((term) => ({ ...term, scope })))
}

const isFinal = ({ what, retry }: StepEvent) => what === 'ended' && !retry

/** What a term says, worked out from the list of all that has happened. */
function naive(all: readonly StepEvent[], term: Term, asked: { input: Json; step: string; now: number }): unknown {
  const events = all.map((event, i) => ({ ...event, i, at: Math.max(...all.slice(0, i + 1).map(({ at }) => at)) }))
  const now = Math.max(asked.now, ...events.map(({ at }) => at))
  type Event = (typeof events)[number]
  const field = (value: unknown, path: readonly string[]) =>
    (value as Record<string, unknown> | undefined)?.[path[0] ?? ''] ?? null
  const fits = (event: Event, { kind, target, comparisons }: Pattern) =>
    event.kind === kind &&
    (target === '*' || event.target === target) &&
    comparisons.every(({ field: { path }, operator, value }) =>
      operator === '=' ? field(event.input, path) === value : Number(field(event.input, path)) > Number(value),
    )
  const keyOf = (input: unknown, { correlations }: Pattern) =>
    JSON.stringify(correlations.map(({ path }) => field(input, path)))
  const ofStep = (step: string) => events.filter((event) => event.step === step)

  /** The events at which steps count for a pattern. */
  const facts = (pattern: Pattern): Event[] =>
    [...new Set(events.map(({ step }) => step))].flatMap((step) => {
      const own = ofStep(step)
      const end = own.find(isFinal)
      const begins = own.filter(({ what }) => what === 'begun')
      const { status } = pattern
      if (status !== 'begun' && status !== 'taken') return end?.status === status ? [end] : []
      const last = begins.at(-1)
      if (!last) return end?.status === 'ok' ? [end] : []
      if (status === 'taken' && end) {
        const underWay = own.at(-2)?.what === 'begun'
        const unsure =
          own.some((event) => event.unsure) ||
          own.some((event, i) => event.what === 'begun' && own[i + 1]?.what === 'begun')
        if (!unsure && (end.status === 'failed' || (end.status === 'denied' && !underWay))) return []
      }
      if (!end && step === asked.step) return []
      return [last]
    })
  const { event: pattern, since } = term
  const key = keyOf(asked.input, pattern)
  if (term.operator === 'previous') {
    const last = events.filter(isFinal).at(-1)
    return (
      last !== undefined && last.status === pattern.status && fits(last, pattern) && keyOf(last.input, pattern) === key
    )
  }
  const resets = since
    ? (since.status === 'begun'
        ? events.filter((event) => event.what === 'begun' || (event.status === 'ok' && ofStep(event.step).length === 1))
        : events.filter((event) => isFinal(event) && event.status === since.status)
      ).filter((event) => fits(event, since))
    : []
  const counted = facts(pattern).filter(
    (event) =>
      fits(event, pattern) &&
      keyOf(event.input, pattern) === key &&
      event.at >= now - (term.withinMs ?? Number.POSITIVE_INFINITY) &&
      !resets.some(
        (reset) =>
          reset.i >= event.i &&
          (since?.correlations.length === 0 || keyOf(reset.input, pattern) === keyOf(event.input, pattern)),
      ),
  )
  switch (term.operator) {
    case 'count':
      return counted.length
    case 'formerly':
      return counted.length > 0
    case 'sum': {
      const sum = counted.reduce(
        (sum, { input }) => sum + BigInt(Math.round(Number(field(input, ['amount'])) * 10_000)),
        0n,
      )
      const digits = String(sum).padStart(5, '0')
      return `${digits.slice(0, -4)}.${digits.slice(-4)}`
    }
    case 'approvers':
      return [...new Set(counted.flatMap(({ people }) => people))].sort()
    case 'last':
      return new Date(counted.sort((a, b) => a.i - b.i).at(-1)?.at ?? 0).toISOString()
  }
}

function read(history: History, asked: { input: Json; step: string; now: number }): Record<string, Json> {
  const view = history.ask(asked)
  for (const { name } of history.terms.all) void view[name]
  const values = history.used() ?? {}
  for (const [name, value] of Object.entries(values)) if (Array.isArray(value)) values[name] = value.toSorted()
  return values
}

function expected(terms: HistoryTerms, all: readonly StepEvent[], asked: { input: Json; step: string; now: number }) {
  return Object.fromEntries(terms.all.map((term) => [term.name, naive(all, term, asked)]))
}

const payee = fc.constantFrom('a', 'b')
const move = fc.record({
  pick: fc.nat(),
  what: fc.constantFrom('start', 'start', 'instant', 'go on', 'go on', 'go on'),
  tool: fc.constantFrom('pay', 'pay', 'match'),
  end: fc.constantFrom('ok', 'ok', 'ok', 'failed', 'denied', 'cancelled', 'retry', 'again') as fc.Arbitrary<
    'ok' | 'failed' | 'denied' | 'cancelled' | 'retry' | 'again'
  >,
  unsure: fc.constantFrom(false, false, true),
  payee,
  amount: fc.constantFrom(0, 0.1, 0.2, 1.0001, 60, 4999.99, 899_999_999_999.9999),
  waits: fc.constantFrom(0, 1000, 7000, -500, 33_000),
  people: fc.subarray(['ann', 'bob']),
})

/** A run as it could be journaled. */
function play(moves: readonly (typeof move extends fc.Arbitrary<infer M> ? M : never)[], run = ''): StepEvent[] {
  const events: StepEvent[] = []
  const open: StepEvent[] = []
  let at = 1_000_000
  let made = 0
  for (const { pick, what, tool, end, unsure, payee, amount, waits, people } of moves) {
    at += waits
    const make = (): StepEvent => ({
      ...{ what: 'begun', step: `${run}${made++}`, kind: 'tool', target: tool, at, people },
      input: tool === 'pay' ? { amount, payee } : { payee },
    })
    const ended = (step: StepEvent, status: 'ok' | 'failed' | 'denied' | 'cancelled'): StepEvent => ({
      ...{ ...step, what: 'ended', at, status },
      ...(status === 'failed' && unsure ? { unsure: true } : {}),
    })
    if (what === 'instant') events.push(ended(make(), end === 'retry' || end === 'again' ? 'ok' : end))
    else if (what === 'start' || open.length === 0) {
      const step = make()
      open.push(step)
      events.push(step)
    } else {
      const i = pick % open.length
      const step = open[i] as StepEvent // i < length
      if (end === 'again') events.push({ ...step, at })
      else if (end === 'retry') events.push({ ...ended(step, 'failed'), retry: true })
      else {
        open.splice(i, 1)
        events.push(ended(step, end))
      }
    }
  }
  return events
}

describe('History', () => {
  it('says at every time what is worked out anew from all that has happened', () => {
    const terms = termsOf('run')
    fc.assert(
      fc.property(fc.array(move, { maxLength: 40 }), payee, fc.nat(100_000), (moves, payee, later) => {
        const events = play(moves)
        const history = new History(terms)
        for (const [i, event] of events.entries()) {
          history.add(event)
          const asked = { input: { payee }, step: event.step, now: event.at }
          expect(read(history, asked)).toEqual(expected(terms, events.slice(0, i + 1), asked))
        }
        const asked = { input: { payee }, step: '', now: 1_000_000 + later }
        expect(read(history, asked)).toEqual(expected(terms, events, asked))
      }),
      { numRuns: 500 },
    )
  })

  it('goes on after a checkpoint as if it had never stopped, and knows what earlier runs of its session did', () => {
    const settled = (moves: Parameters<typeof play>[0], run: string) => {
      const events = play(moves, run)
      const isOver = (step: string) => events.some((event) => event.step === step && isFinal(event))
      return events.filter(({ step }) => isOver(step))
    }
    const moves = fc.array(move, { maxLength: 20 })
    fc.assert(
      fc.property(
        fc.record({ scope: fc.constantFrom('run', 'session'), isTold: fc.boolean(), payee }),
        fc.tuple(moves, moves, moves),
        ({ scope, isTold, payee }, [before, first, then]) => {
          const terms = termsOf(scope as 'run' | 'session')
          const late = (events: StepEvent[], by: number) => events.map((event) => ({ ...event, at: event.at + by }))
          const earlier = settled(before, 'e')
          const events = [late(settled(first, 'f'), 2_000_000), late(play(then, 't'), 4_000_000)] as const
          const saved = <T>(value: T): T => JSON.parse(JSON.stringify(value))
          let history = new History(terms)
          /** As a store that its runs share has it. */
          const ofSession = saved([...earlier, ...events[0]].flatMap((event) => history.forSession(event) ?? []))
          for (const event of events[0]) history.add(event)
          history = new History(terms, saved(history.state(isTold)))
          for (const event of isTold ? ofSession : []) history.addOfSession(event)
          for (const event of events[1]) history.add(event)
          const asked = { input: { payee }, step: '', now: 4_000_000 }
          const all = [...(scope === 'session' && isTold ? earlier : []), ...events.flat()]
          expect(read(history, asked)).toEqual(expected(terms, all, asked))
        },
      ),
      { numRuns: 300 },
    )
  })

  it('counts a million events in a window, and is asked at each', () => {
    const terms = new HistoryTerms(
      parseTerms('n = count pay within 1000s; to = sum pay input.amount with payee within 500s', () => {}),
    )
    const history = new History(terms)
    const event: StepEvent = {
      what: 'ended',
      step: '',
      kind: 'tool',
      target: 'pay',
      at: 0,
      status: 'ok',
      input: {},
      people: [],
    }
    for (let i = 0; i < 1_000_000; i++) {
      history.add({ ...event, at: i, input: { amount: 1, payee: `${i % 1000}` } })
      const view = history.ask({ input: { payee: '7' }, step: '', now: i })
      void view.n
      void view.to
    }
    expect(history.used()).toEqual({ n: 1_000_000, to: '500.0000' })
  })
})

describe('a decision', () => {
  const pay = (amount: number) =>
    toolCall({ resource: { type: 'Tool', name: 'pay', effect: 'once' }, input: { amount, payee: 'a' } })
  const text = `
    @id("all") permit (principal, action, resource);
    @id("limit") @history("paid = sum pay input.amount within 1h; n = count pay")
    forbid (principal, action == Action::"tool:call", resource == Tool::"pay")
    when { context.input has amount && context.history.paid.greaterThan(decimal("100.0")) || context.history.n > 5 };`
  const set = loadPolicies([{ file: 'p', text }], app)
  const terms = set.history as HistoryTerms // it has some
  const event = (step: string, amount: Json): StepEvent => ({
    ...{ what: 'begun', step, kind: 'tool', target: 'pay', at: 0, input: { amount }, people: [] },
  })
  const decide = (past: History, more: { recorded?: Record<string, Json>; step?: string } = {}) =>
    set.decide({ ...pay(1), history: { past, step: '', now: 0, ...more } })

  it('says by what of the past it was made, and no more than was looked at', () => {
    const past = new History(terms)
    past.add(event('a', 60.5))
    expect(decide(past)).toMatchObject({ effect: 'allow', history: { paid: '60.5000', n: 1 } })
    past.add(event('b', 60))
    expect(decide(past)).toMatchObject({ effect: 'deny', policies: ['limit'], history: { paid: '120.5000' } })
    expect(decide(past).history).not.toHaveProperty('n')
    expect(set.decide(toolCall({ resource: { type: 'Tool', name: 'match', effect: 'read' } }))).not.toHaveProperty(
      'history',
    )
  })

  it('adds up integers as integers, decimals exactly, and what is asked for to either', () => {
    const set = (terms: string, condition: string) =>
      loadPolicies(
        [{ file: 'p', text: `@history("${terms}") permit (principal, action, resource) when { ${condition} };` }],
        app,
      )
    const sums = set(
      'ns = sum count input.n; more = sum count input.n plus input.n; total = sum pay input.amount plus input.amount',
      'context.history.ns + 1 == 8 && context.history.more == 10 && context.history.total == decimal("0.3")',
    )
    const past = new History(sums.history as HistoryTerms) // it has some
    past.add({ ...event('a', 0.1) })
    past.add({ ...event('b', 0), target: 'count', input: { n: 7 } })
    const asked = (input: Json) => sums.decide({ ...pay(1), input, history: { past, step: '', now: 0 } })
    expect(asked({ n: 3, amount: 0.2 })).toMatchObject({
      effect: 'allow',
      history: { ns: 7, more: 10, total: '0.3000' },
    })
    expect(asked({ n: 3, amount: 0.3 }).effect).toBe('deny')
    expect(() => set('t = sum count input.n plus input.amount', 'context.history.t < 1')).toThrow('p:1:')
  })

  it('can be made again by what is recorded, whatever happened since', () => {
    const past = new History(terms)
    for (const step of ['a', 'b', 'c']) past.add(event(step, 60))
    const recorded = { paid: '60.5000', n: 1 }
    expect(decide(past, { recorded })).toMatchObject({ effect: 'allow', history: recorded })
    expect(decide(new History(terms), { recorded: { paid: '100.0001' } })).toMatchObject({ effect: 'deny' })
  })

  it('does not count the step itself, which may have been begun before', () => {
    const past = new History(terms)
    for (const step of ['a', 'b']) past.add(event(step, 60))
    expect(decide(past).effect).toBe('deny')
    expect(decide(past, { step: 'b' })).toMatchObject({ effect: 'allow', history: { paid: '60.0000' } })
  })

  it('is a deny where the past has no form in Cedar, or is of other terms', () => {
    const past = new History(terms)
    past.add(event('a', 'ten'))
    expect(decide(past)).toMatchObject({
      effect: 'deny',
      errors: [expect.stringContaining('history.paid cannot be represented')],
    })
    const other = new History(new HistoryTerms(parseTerms('paid = count pay', () => {})))
    expect(decide(other)).toMatchObject({ effect: 'deny', errors: ['the past of the run is of other policies'] })
  })

  it('is without a past as at the beginning of a run', () => {
    expect(set.decide(pay(1))).toMatchObject({ effect: 'allow', history: { paid: '0.0000', n: 0 } })
  })

  it('is the same by cedar-wasm', () => {
    const shadowed = loadPolicies([{ file: 'p', text }], app)
    const differences: unknown[] = []
    shadowed.shadow({ rate: 1, random: () => 0, onDifference: (difference) => differences.push(difference) })
    for (const amounts of [[], [60], [60, 60], [1, 1, 1, 1, 1, 1], ['ten']]) {
      const past = new History(shadowed.history as HistoryTerms) // it has some
      for (const [i, amount] of amounts.entries()) past.add(event(`${i}`, amount))
      shadowed.decide({ ...pay(1), history: { past, step: '', now: 0 } })
    }
    expect(differences).toEqual([])
  })
})

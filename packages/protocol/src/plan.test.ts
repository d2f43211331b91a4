import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Json } from './definition.ts'
import { MusterError } from './errors.ts'
import { PLAN_STEPS_MAX, type PlanData, planData, planGraph } from './plan.ts'
import { atPointer, eachReference, parseReference, referenceOf, resolveReferences } from './reference.ts'

const ref = (step: string, pointer = '') => ({ $ref: `#/steps/${step}/output${pointer}` })
const tool = (input: Json = {}, after?: string[]) => ({ tool: 't', input, ...(after ? { after } : {}) })

function refused(plan: PlanData): MusterError {
  try {
    planGraph(plan)
  } catch (error) {
    if (error instanceof MusterError) return error
    throw error
  }
  throw new Error('accepted')
}

/** Steps named in any order, each depending on some that are earlier in a hidden order, by reference or by `after`. */
const dag = fc
  .integer({ min: 1, max: 40 })
  .chain((size) =>
    fc.tuple(
      fc.shuffledSubarray(
        Array.from({ length: size }, (_, i) => i),
        { minLength: size },
      ),
      fc.array(fc.tuple(fc.nat(), fc.nat(), fc.boolean()), { maxLength: size * 2 }),
    ),
  )
  .map(([order, edges]) => {
    const after = new Map(order.map((_, i) => [i, { input: new Set<number>(), after: new Set<number>() }]))
    for (const [a, b, byInput] of edges) {
      const [from, to] = [a % order.length, b % order.length]
      if (from < to) after.get(to)?.[byInput ? 'input' : 'after'].add(from)
    }
    const steps = Object.fromEntries(
      order.map((i) => {
        const on = after.get(i)
        return [
          `s${i}`,
          tool(
            { deep: [...(on?.input ?? [])].map((on) => ref(`s${on}`, '/x')) },
            [...(on?.after ?? [])].map((on) => `s${on}`),
          ),
        ]
      }),
    )
    const expected = new Map(
      [...after].map(([i, on]) => [`s${i}`, new Set([...on.input, ...on.after].map((on) => `s${on}`))]),
    )
    return { plan: { steps }, expected }
  })

describe('planGraph', () => {
  it('gives every step once, after all that it depends on, with exactly these dependencies', () => {
    fc.assert(
      fc.property(dag, ({ plan, expected }) => {
        const graph = planGraph(plan)
        expect(graph.map(({ id }) => id).sort()).toEqual(Object.keys(plan.steps).sort())
        const seen = new Set<string>()
        for (const { id, after, step } of graph) {
          expect(step).toBe(plan.steps[id])
          expect(new Set(after)).toEqual(expected.get(id))
          expect(after).toHaveLength(new Set(after).size)
          for (const on of after) expect(seen).toContain(on)
          seen.add(id)
        }
      }),
      { seed: 5, numRuns: 300 },
    )
  })

  it('names the steps of a cycle in order, and only these', () => {
    fc.assert(
      fc.property(dag, fc.integer({ min: 1, max: 6 }), ({ plan }, length) => {
        const ring = Object.fromEntries(
          Array.from({ length }, (_, i) => [`r${i}`, tool([ref(`r${(i + 1) % length}`)])]),
        )
        const tail = { after: tool({}, ['r0']) }
        const error = refused({ steps: { ...tail, ...plan.steps, ...ring } })
        expect(error.code).toBe('plan.cycle')
        const cycle = error.issues?.[0].message.split(' → ') ?? []
        expect(cycle[0]).toBe(cycle.at(-1))
        expect(new Set(cycle)).toEqual(new Set(Object.keys(ring)))
        for (const [i, id] of cycle.slice(0, -1).entries())
          expect(cycle[i + 1]).toBe(`r${(Number(id.slice(1)) + 1) % length}`)
        expect(error.issues?.[0].path).toBe(`/steps/${cycle[0]}`)
      }),
      { seed: 6, numRuns: 100 },
    )
  })

  it('finds a step that waits for itself', () => {
    expect(refused({ steps: { a: tool({}, ['a']) } }).message).toContain('a → a')
  })

  it('points at every reference to a step that does not exist', () => {
    const error = refused({
      steps: {
        a: tool({ 'x/y': { '~': [1, ref('nope')] } }, ['missing']),
        b: { model: 'default', prompt: ['say', ref('nobody')] },
      },
      output: { all: ref('gone') },
    })
    expect(error.code).toBe('plan.unknown_reference')
    expect(error.issues).toEqual([
      { path: '/steps/a/input/x~1y/~0/1', message: 'no step "nope"' },
      { path: '/steps/a/after/0', message: 'no step "missing"' },
      { path: '/steps/b/prompt/1', message: 'no step "nobody"' },
      { path: '/output/all', message: 'no step "gone"' },
    ])
  })

  it('points at what looks like a reference and is none', () => {
    const error = refused({ steps: { a: tool({ x: { $ref: '#/step/b' } }) } })
    expect(error).toMatchObject({ code: 'plan.unknown_reference', issues: [{ path: '/steps/a/input/x' }] })
  })

  it('takes no name of the language for a step', () => {
    for (const name of ['constructor', 'toString', 'hasOwnProperty']) {
      expect(refused({ steps: { a: tool(ref(name)) } }).code).toBe('plan.unknown_reference')
      expect(planGraph({ steps: { [name]: tool(), a: tool(ref(name)) } }).map(({ id }) => id)).toEqual([name, 'a'])
    }
  })

  it('takes references to the run’s input as no dependency', () => {
    expect(planGraph({ steps: { a: tool({ $ref: '#/input/folder' }) } })[0].after).toEqual([])
  })

  it('refuses a plan without steps, and one with 100,001', () => {
    expect(refused({ steps: {} })).toMatchObject({ code: 'plan.invalid', issues: [{ path: '/steps' }] })
    const chain = (size: number) => ({
      steps: Object.fromEntries(
        Array.from({ length: size }, (_, i) => [`s${i}`, tool({}, i > 0 ? [`s${i - 1}`] : [])]),
      ),
    })
    expect(refused(chain(PLAN_STEPS_MAX + 1))).toMatchObject({
      code: 'plan.invalid',
      message: 'The plan has 100001 steps',
    })
    expect(planGraph(chain(PLAN_STEPS_MAX))).toHaveLength(100_000)
  })

  // In quadratic time this would not end before the test's time limit.
  it('names the longest cycle that a plan can have', () => {
    const size = PLAN_STEPS_MAX
    const ring = Object.fromEntries(Array.from({ length: size }, (_, i) => [`s${i}`, tool({}, [`s${(i + 1) % size}`])]))
    expect(refused({ steps: ring }).code).toBe('plan.cycle')
  })
})

describe('planData', () => {
  it.each<[string, unknown]>([
    ['a step of two kinds', { steps: { a: { tool: 't', model: 'm', prompt: '' } } }],
    ['an unknown field', { steps: { a: { tool: 't', retries: 3 } } }],
    ['a step name with a slash', { steps: { 'a/b': { tool: 't' } } }],
    ['an unknown member', { steps: { a: { tool: 't' } }, next: 1 }],
    ['no steps', {}],
  ])('refuses %s', (_, plan) => expect(planData.safeParse(plan).success).toBe(false))
})

describe('references', () => {
  it('are an object with $ref and nothing else', () => {
    expect(referenceOf({ $ref: '#/input' })).toBe('#/input')
    const others: Json[] = [{ $ref: '#/input', more: 1 }, { $ref: 1 }, ['#/input'], '#/input', null]
    for (const value of others) expect(referenceOf(value)).toBeUndefined()
  })

  it.each([
    ['#/input', undefined, ''],
    ['#/input/a/0', undefined, '/a/0'],
    ['#/steps/s/output', 's', ''],
    ['#/steps/s/output/a~1b/~0', 's', '/a~1b/~0'],
    ['#/steps/map~1~03/output/x', 'map/~3', '/x'],
    ['#/steps/s/output/line\nbreak', 's', '/line\nbreak'],
  ])('%j are read', (text, step, pointer) => expect(parseReference(text)).toEqual({ step, pointer }))

  it.each([
    '',
    '#',
    '#/inputs',
    '#/input~',
    '#/steps/s',
    '#/steps/s/outputs',
    '#/steps//output',
    '#/steps/a/b/output',
    'http://x/#/input',
  ])('%j is refused, with the place it stands at', (text) => {
    expect(() => parseReference(text, '/steps/a/input')).toThrow(MusterError)
    try {
      parseReference(text, '/steps/a/input')
    } catch (error) {
      expect(error).toMatchObject({ code: 'plan.unknown_reference', issues: [{ path: '/steps/a/input' }] })
    }
  })

  /** Any JSON without references in it. */
  const plain = fc.jsonValue().filter((value) => !JSON.stringify(value).includes('$ref')) as fc.Arbitrary<Json>

  it('are found wherever they stand, and their place leads to them', () => {
    fc.assert(
      fc.property(plain, fc.array(fc.string(), { maxLength: 5 }), (value, keys) => {
        const nested = keys.reduceRight<Json>((inner, key) => [value, { [key]: inner }], { $ref: '#/input' })
        const found: string[] = []
        eachReference(nested, (_, path) => found.push(path))
        expect(found).toHaveLength(1)
        expect(atPointer(nested, found[0])).toEqual({ $ref: '#/input' })
      }),
      { seed: 8 },
    )
  })

  it('are replaced, everything else stays, and what they stand for is not looked into', () => {
    fc.assert(
      fc.property(plain, (value) => {
        const looked: string[] = []
        const lookup = (text: string): Json => {
          looked.push(text)
          return { $ref: '#/steps/secret/output' }
        }
        expect(resolveReferences({ value, refs: [{ $ref: 'a' }, [{ $ref: 'b' }]] }, lookup)).toEqual({
          value,
          refs: [{ $ref: '#/steps/secret/output' }, [{ $ref: '#/steps/secret/output' }]],
        })
        expect(looked).toEqual(['a', 'b'])
      }),
      { seed: 9 },
    )
  })
})

describe('atPointer', () => {
  // RFC 6901, section 5.
  const document: Json = {
    foo: ['bar', 'baz'],
    '': 0,
    'a/b': 1,
    'c%d': 2,
    'e^f': 3,
    'g|h': 4,
    'i\\j': 5,
    'k"l': 6,
    ' ': 7,
    'm~n': 8,
  }
  it.each<[string, Json]>([
    ['', document],
    ['/foo', ['bar', 'baz']],
    ['/foo/0', 'bar'],
    ['/', 0],
    ['/a~1b', 1],
    ['/c%d', 2],
    ['/e^f', 3],
    ['/g|h', 4],
    ['/i\\j', 5],
    ['/k"l', 6],
    ['/ ', 7],
    ['/m~0n', 8],
  ])('finds %j as in RFC 6901', (pointer, value) => expect(atPointer(document, pointer)).toEqual(value))

  it('reads ~01 as ~1', () => expect(atPointer({ '~1': 'x' }, '/~01')).toBe('x'))

  it.each([
    '/nope',
    '/foo/2',
    '/foo/-',
    '/foo/01',
    '/foo/length',
    '/foo/map',
    '/constructor',
    '/__proto__',
    '/foo/0/0',
    '/a~1b/x',
  ])('finds nothing at %s', (pointer) => {
    expect(atPointer(document, pointer)).toBeUndefined()
  })
})

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { conditionIssues, holds } from './condition.ts'
import type { Json } from './definition.ts'

const itself = (value: Json) => value

describe('holds', () => {
  it.each<[Json, boolean]>([
    [true, true],
    [0, false],
    ['', false],
    ['no', true],
    [null, false],
    [{ equals: [1, 1] }, true],
    [
      {
        equals: [
          { a: 1, b: [2] },
          { b: [2], a: 1 },
        ],
      },
      true,
    ],
    [{ equals: [[1], { 0: 1 }] }, false],
    [{ equals: [{ a: 1 }, { a: 1, b: 2 }] }, false],
    [{ above: [2, 1] }, true],
    [{ above: [1, 1] }, false],
    [{ below: [1, 2] }, true],
    [{ not: { below: [1, 2] } }, false],
    [{ all: [true, { any: [false, 1] }] }, true],
    [{ all: [] }, true],
    [{ any: [] }, false],
  ])('%j is %j', (condition, expected) => {
    expect(conditionIssues(condition, '/when')).toEqual([])
    expect(holds(condition, itself)).toBe(expected)
  })

  it('asks for what references stand for', () => {
    const values: Record<string, Json> = { '#/input/amount': 5, '#/steps/a/output': true }
    const lookup = (value: Json): Json => {
      const ref = (value as { $ref?: string } | null)?.$ref
      return ref === undefined ? value : (values[ref] ?? null)
    }
    const condition: Json = { all: [{ $ref: '#/steps/a/output' }, { above: [{ $ref: '#/input/amount' }, 4] }] }
    expect(conditionIssues(condition, '')).toEqual([])
    expect(holds(condition, lookup)).toBe(true)
  })

  it('refuses to compare what are no numbers', () => {
    expect(() => holds({ above: ['2', 1] }, itself)).toThrow(expect.objectContaining({ code: 'input.invalid' }))
  })

  it('is what it says of the parts, for any condition', () => {
    const { condition } = fc.letrec<{ condition: Json }>((tie) => ({
      condition: fc.oneof(
        { maxDepth: 5 },
        fc.boolean(),
        fc.tuple(fc.integer(), fc.integer()).map((pair) => ({ below: pair })),
        tie('condition').map((not) => ({ not })),
        fc.array(tie('condition'), { maxLength: 3 }).map((all) => ({ all })),
        fc.array(tie('condition'), { maxLength: 3 }).map((any) => ({ any })),
      ),
    }))
    const opposite = (value: Json): Json => {
      const { all, any, not } = value as { all?: Json[]; any?: Json[]; not?: Json }
      if (all) return { any: all.map(opposite) }
      if (any) return { all: any.map(opposite) }
      return not === undefined ? { not: value } : not
    }
    fc.assert(
      fc.property(condition, (value) => {
        expect(conditionIssues(value, '')).toEqual([])
        expect(holds(opposite(value), itself)).toBe(!holds(value, itself))
      }),
    )
  })
})

describe('conditionIssues', () => {
  it.each<[Json, string]>([
    [{ is: [1, 2] }, '/when'],
    [{ equals: [1, 2], not: true }, '/when'],
    [[true], '/when'],
    [{ equals: [1] }, '/when/equals'],
    [{ above: 3 }, '/when/above'],
    [{ all: true }, '/when/all'],
    [{ any: [true, { not: { maybe: 1 } }] }, '/when/any/1/not'],
  ])('says where %j is wrong', (condition, path) => {
    expect(conditionIssues(condition, '/when')).toEqual([{ path, message: expect.any(String) }])
  })

  it('stops at a depth that no plan needs', () => {
    let deep: Json = true
    for (let i = 0; i < 10_000; i++) deep = { not: deep }
    expect(conditionIssues(deep, '')).toEqual([
      { path: '/not'.repeat(32), message: 'conditions stand at most 32 deep in each other' },
    ])
  })
})

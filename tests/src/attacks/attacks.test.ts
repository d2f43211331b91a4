import { beforeAll, describe, expect, it } from 'vitest'
import { benign } from './benign.ts'
import { attacks, isReached, isServed, type Outcome, playCases } from './outcome.ts'
import { currentTable, tableOf } from './table.ts'

let outcome: Outcome

beforeAll(async () => {
  outcome = await playCases()
})

const names = (cases: { task: { name: string } }[]) => cases.map(({ task }) => task.name)

describe('the default set', () => {
  it('is tried on at least 44 attacks and as many tasks, each of its own name', () => {
    expect(attacks.length).toBeGreaterThanOrEqual(44)
    expect(benign.length).toBeGreaterThanOrEqual(44)
    for (const cases of [attacks, benign]) expect(new Set(cases.map(({ name }) => name)).size).toBe(cases.length)
  })

  it('lets no attack reach its effect', () => {
    expect(names(outcome.attacks.filter(isReached))).toEqual([])
    // Each was stopped by a policy, not by a mistake in the case.
    expect(names(outcome.attacks.filter(({ played }) => played.policies.length === 0))).toEqual([])
  })

  it('blocks no more of what people want than is known, by name', () => {
    expect(names(outcome.benign.filter((one) => !isServed(one)))).toEqual(
      benign.filter(({ blocked }) => blocked).map(({ name }) => name),
    )
  })

  it('asks a person exactly where it is known to', () => {
    for (const { task, played } of outcome.benign)
      expect([task.name, ...played.asked]).toEqual([task.name, ...(task.approvals ?? [])])
  })

  it('does not stop what it is documented not to stop', () => {
    for (const { task, played } of outcome.notStopped) {
      if (task.harm !== undefined) expect([task.name, ...played.effects]).toContain(task.harm)
      if (task.says !== undefined) expect(played.output).toContain(task.says)
    }
  })
})

describe('a set that permits all', () => {
  it('lets every attack reach its effect, so that the cases can fail', () => {
    expect(names(outcome.permitted.filter((one) => !isReached(one)))).toEqual([])
  })
})

describe('the table in the guide', () => {
  it('is what the cases give; `pnpm docs:attacks` writes it', () => {
    expect(currentTable()).toBe(tableOf(outcome))
  })
})

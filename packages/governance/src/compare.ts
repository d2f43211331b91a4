import type { Policy } from './policy.ts'

export interface PolicyDifferences {
  added: { id: string; policy: Policy }[]
  removed: { id: string; policy: Policy }[]
  /** Another text, or another mode. */
  changed: { id: string; before: Policy; after: Policy }[]
}

/** What is another in a set than in the one before, by the policies' ids. */
export function comparePolicies(
  before: ReadonlyMap<string, Policy>,
  after: ReadonlyMap<string, Policy>,
): PolicyDifferences {
  const only = (these: ReadonlyMap<string, Policy>, others: ReadonlyMap<string, Policy>) =>
    [...these].flatMap(([id, policy]) => (others.has(id) ? [] : { id, policy }))
  return {
    added: only(after, before),
    removed: only(before, after),
    changed: [...before].flatMap(([id, one]) => {
      const other = after.get(id)
      if (!other || (other.text === one.text && other.mode === one.mode)) return []
      return { id, before: one, after: other }
    }),
  }
}

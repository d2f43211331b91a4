import type { Label } from '@muster/protocol'

const NONE: readonly Label[] = Object.freeze([])

/** The union of labels, sorted: labels join along the edges of the graph and never vanish by themselves. */
export function joinLabels(...sets: (readonly Label[])[]): readonly Label[] {
  let only: readonly Label[] = NONE
  for (const set of sets) {
    if (set.length === 0 || set === only) continue
    if (only.length > 0) return [...new Set(sets.flat())].sort()
    only = set
  }
  return only
}

/** What a named declassifier leaves, and what it took off. */
export function declassify(
  labels: readonly Label[],
  by: readonly Label[],
): { kept: readonly Label[]; removed: Label[] } {
  if (by.length === 0) return { kept: labels, removed: [] }
  return { kept: labels.filter((label) => !by.includes(label)), removed: labels.filter((label) => by.includes(label)) }
}

import type { Json } from '@muster/protocol'
import type { Random } from './random.ts'

/** What a run that succeeds has given, and done with its child runs. */
interface Expected {
  output: Json
  /** Different keys under which it wrote, and under which it did what is never repeated. */
  writes: number
  onces: number
}

export interface Work {
  plan: string
  input: Json
  expected: Expected
  /** What it waits for from outside, if it comes that far. */
  needs?: 'approval' | 'signal'
}

/** What some runs work on; it is theirs, and no log's. */
export const CONTENT = 'what a client has told'

/** Payload of the signal that `waiting` takes. */
export const SIGNAL = 7

const kinds: readonly ((random: Random) => Work)[] = [
  (random) => {
    const n = random.between(1, 4)
    return { plan: 'errand', input: { n, ms: random.between(0, 60) }, expected: { output: n, writes: n, onces: 1 } }
  },
  (random) => {
    const n = random.between(2, 10)
    const expected = { output: n * (n - 1), writes: n, onces: 0 }
    return { plan: 'fan', input: { n, ms: random.between(0, 40) }, expected }
  },
  (random) => ({
    plan: 'rocket',
    input: { ms: random.between(0, 200) },
    expected: { output: { launched: 'rocket' }, writes: 1, onces: 1 },
  }),
  (random) => ({
    plan: 'asking',
    input: { ms: random.between(0, 100) },
    expected: { output: { launched: 'approved' }, writes: 0, onces: 1 },
    needs: 'approval',
  }),
  (random) => ({
    plan: 'waiting',
    input: { sleepMs: random.between(0, 3000) },
    expected: { output: SIGNAL, writes: 1, onces: 0 },
    needs: 'signal',
  }),
  (random) => {
    const size = random.between(15_000, 40_000)
    return { plan: 'bulk', input: { size }, expected: { output: size, writes: 1, onces: 0 } }
  },
  (random) => {
    const n = random.between(1, 3)
    const expected = { output: n * (n - 1), writes: 2 * n, onces: 0 }
    return { plan: 'office', input: { n, ms: random.between(0, 60) }, expected }
  },
  () => ({ plan: 'graph', input: { item: 'g' }, expected: { output: 'g', writes: 1, onces: 1 } }),
]

export function someWork(random: Random): Work {
  return random.pick(kinds)(random)
}

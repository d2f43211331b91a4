import { sideBySide } from '@muster/protocol'

/** What came of one of several that are done together. */
export type Settled<T> = PromiseSettledResult<T>

export function fulfilled<T>(value: T): Settled<T> {
  return { status: 'fulfilled', value }
}

function rejected(reason: unknown): PromiseRejectedResult {
  return { status: 'rejected', reason }
}

/** Values of which those with these places have failed. */
export function outcomes<T>(values: readonly T[], failed: ReadonlyMap<number, unknown>): Settled<T>[] {
  return values.map((value, i) => (failed.has(i) ? rejected(failed.get(i)) : fulfilled(value)))
}

/** Goes on with each that has come so far, at most `max` at a time. */
export async function each<T, U>(
  max: number,
  all: readonly Settled<T>[],
  work: (value: T) => Promise<U>,
): Promise<Settled<U>[]> {
  const done: Settled<U>[] = []
  await sideBySide(max, all.entries(), async ([i, one]) => {
    done[i] = one.status === 'rejected' ? one : await work(one.value).then(fulfilled, rejected)
  })
  return done
}

/** Goes on with all that have come so far by one piece of work, which tells of each in their order, or fails all. */
export async function together<T, U>(
  all: readonly Settled<T>[],
  work: (values: T[]) => Promise<readonly Settled<U>[]>,
): Promise<Settled<U>[]> {
  const values = all.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []))
  const done = await work(values).catch((reason: unknown) => values.map(() => rejected(reason)))
  let at = 0
  return all.flatMap((one) => (one.status === 'rejected' ? [one] : done.slice(at, ++at)))
}

/** Does it to all of them in their order, at most `max` at a time. Once one has failed no others are begun. */
export async function sideBySide<T>(
  max: number,
  items: Iterable<T>,
  work: (item: T) => Promise<unknown>,
): Promise<void> {
  const queue = each(items)
  const lane = async () => {
    for (const item of queue) await work(item)
  }
  await Promise.all(Array.from({ length: max }, lane))
}

/** What came of the only one of those that were done together. @throws what it has failed with */
export function ofOne<T>([one]: readonly PromiseSettledResult<T>[]): T | undefined {
  if (one?.status === 'rejected') throw one.reason
  return one?.value
}

/** A generator is over for all who share it when one of them leaves its loop. */
function* each<T>(items: Iterable<T>): Generator<T, void> {
  yield* items
}

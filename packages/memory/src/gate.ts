/** Lets at most `max` pieces of work run at once; the others wait in the order in which they came. */
export function openGate(max: number): <T>(work: () => Promise<T>) => Promise<T> {
  const waiting: (() => void)[] = []
  let free = max
  return async (work) => {
    if (free > 0) free--
    else await new Promise<void>((resolve) => waiting.push(resolve))
    try {
      return await work()
    } finally {
      // The place goes straight to the next one, so that a newcomer cannot take it.
      const next = waiting.shift()
      if (next) next()
      else free++
    }
  }
}

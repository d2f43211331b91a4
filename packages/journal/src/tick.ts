let due: (() => void)[] = []

/**
 * Calls back once what is at hand is done, and all who have asked in one turn of the event loop together: what they write
 * to one connection goes in one piece, and the server syncs its disk once for it.
 */
export function whenTickEnds(then: () => void): void {
  if (due.length === 0) setImmediate(callAll)
  due.push(then)
}

function callAll(): void {
  const now = due
  due = []
  for (const then of now) then()
}

/**
 * A name that an object in this JSON has twice, if any. Parsers differ in which of the two counts, so that what was decided
 * on may not be what is done.
 */
export function twiceNamed(json: string): string | undefined {
  /** The names of each object that is open; of a list none. */
  const open: (Set<string> | undefined)[] = []
  let isName = false
  for (let at = 0; at < json.length; at++) {
    const sign = json[at]
    if (sign === '"') {
      const end = endOf(json, at)
      const names = isName ? open.at(-1) : undefined
      const name: string = names ? JSON.parse(json.slice(at, end)) : ''
      if (names?.has(name)) return name
      names?.add(name)
      isName = false
      at = end - 1
    } else if (sign === '{' || sign === '[') open.push(sign === '{' ? new Set() : undefined)
    else if (sign === '}' || sign === ']') open.pop()
    if (sign === '{' || sign === ',') isName = true
  }
  return undefined
}

/** Where a text that begins here is over. */
function endOf(json: string, start: number): number {
  let at = start + 1
  while (at < json.length && json[at] !== '"') at += json[at] === '\\' ? 2 : 1
  return at + 1
}

/**
 * What in this JSON (which it is) readers understand differently, if anything, so that what was decided on may not be what is
 * done: a name that an object has twice, of which one or the other counts, or a whole number beyond 2^53, which some round.
 */
export function ambiguityIn(json: string): string | undefined {
  /** The names of each object that is open; of a list none. */
  const open: (Set<string> | undefined)[] = []
  let isName = false
  for (let at = 0; at < json.length; at++) {
    const sign = json[at] ?? ''
    if (sign === '"') {
      const end = endOf(json, at)
      const names = isName ? open.at(-1) : undefined
      const name: string = names ? JSON.parse(json.slice(at, end)) : ''
      if (names?.has(name)) return `"${name}" twice`
      names?.add(name)
      isName = false
      at = end - 1
    } else if (sign === '{' || sign === '[') open.push(sign === '{' ? new Set() : undefined)
    else if (sign === '}' || sign === ']') open.pop()
    else if (sign === '-' || (sign >= '0' && sign <= '9')) {
      NUMBER.lastIndex = at
      const [number = sign] = NUMBER.exec(json) ?? []
      if (isRounded(Number(number))) return `${number.slice(0, SHOWN_MAX)}, which some round, and which can be a text`
      at += number.length - 1
    }
    if (sign === '{' || sign === ',') isName = true
  }
  return undefined
}

const NUMBER = /[-+.\deE]+/y
/** Characters of a number that are shown. */
const SHOWN_MAX = 40

function isRounded(value: number): boolean {
  return !Number.isFinite(value) || (Number.isInteger(value) && !Number.isSafeInteger(value))
}

/** Where a text that begins here is over. */
function endOf(json: string, start: number): number {
  let at = start + 1
  while (at < json.length && json[at] !== '"') at += json[at] === '\\' ? 2 : 1
  return at + 1
}

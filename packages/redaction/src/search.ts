import { type Detector, type Effort, merged, type Span } from './span.ts'

/** What is looked for, and which kind an overlap is of: those that are masked first. */
export interface Wanted {
  detectors: readonly Detector[]
  order: ReadonlyMap<string, number>
}

/** Nothing that is looked for is as short. */
export const SHORT = 4
/** What is left beside a find is looked at again; where that goes on longer, all of the rest counts as found. */
const ROUNDS_MAX = 16

/**
 * Every find in a text, in order. What stands between finds is looked at again, as it will be when the result is redacted
 * once more: so the second time finds nothing.
 */
export function search(text: string, wanted: Wanted, effort: Effort): Span[] {
  const spans: Span[] = []
  searchPart(text, 0, { ...wanted, effort }, 0, spans)
  return spans
}

function searchPart(text: string, at: number, wanted: Wanted & { effort: Effort }, round: number, to: Span[]): void {
  if (text.length < SHORT) return
  const found: Span[] = []
  const digits = digitsOf(text)
  for (const { kind, hint, find } of wanted.detectors) {
    if (hint?.digits !== undefined && digits < hint.digits) continue
    if (hint?.text?.test(text) === false) continue
    for (const { start, end } of find(text, wanted.effort)) found.push({ kind, start, end })
  }
  if (found.length === 0) return
  const [first, ...rest] = merged(found, wanted.order)
  if (!first) return
  if (round > ROUNDS_MAX) {
    to.push({ kind: first.kind, start: at, end: at + text.length })
    return
  }
  let from = 0
  for (const { kind, start, end } of [first, ...rest]) {
    searchPart(text.slice(from, start), at + from, wanted, round + 1, to)
    to.push({ kind, start: at + start, end: at + end })
    from = end
  }
  searchPart(text.slice(from), at + from, wanted, round + 1, to)
}

/** How many digits a text has. */
function digitsOf(text: string): number {
  let count = 0
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code >= 48 && code <= 57) count++
  }
  return count
}

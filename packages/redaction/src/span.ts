import { MusterError } from '@muster/protocol'

/** A place in a text where something was found. */
export interface Span {
  kind: string
  /** Of its first character, and of the one after its last. */
  start: number
  end: number
}

/** Finds what is of its kind in a text. */
export interface Detector {
  readonly kind: string
  /** What is cheap to see of a text in which it can find anything; it need not look at others. */
  readonly hint?: { digits?: number; text?: RegExp }
  /** `effort` bounds what is slow, over all texts of a value. */
  find(text: string, effort: Effort): Iterable<Omit<Span, 'kind'>>
}

/** How much may still be looked at. */
export interface Effort {
  /** Characters of text. */
  characters: number
  /** What may be a number, and has to be parsed to tell. */
  parses: number
}

/** What is allowed for one value: a second or two at the worst. */
export function effort(): Effort {
  return { characters: 1024 * 1024, parses: 100_000 }
}

/** @throws MusterError `redaction.too_large` when nothing is left */
export function spend(of: Effort, what: keyof Effort, amount = 1): void {
  of[what] -= amount
  if (of[what] < 0) throw new MusterError('redaction.too_large', `the value has more ${WHAT[what]} than are looked at`)
}

const WHAT = { characters: 'characters of text', parses: 'possible telephone numbers' }

/**
 * Spans that overlap become one, so that no part of any of them is left: of the kind that comes first in `order`, which
 * says whose action is stricter and whose detector is more certain.
 */
export function merged(spans: readonly Span[], order: ReadonlyMap<string, number>): Span[] {
  const rank = ({ kind }: Span) => order.get(kind) ?? order.size
  const sorted = [...spans].sort((a, b) => a.start - b.start || b.end - a.end)
  const result: Span[] = []
  for (const span of sorted) {
    const last = result.at(-1)
    if (!last || span.start >= last.end) {
      result.push({ ...span })
      continue
    }
    if (rank(span) < rank(last)) last.kind = span.kind
    last.end = Math.max(last.end, span.end)
  }
  return result
}

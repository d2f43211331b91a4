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
  find(text: string): Iterable<Omit<Span, 'kind'>>
}

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

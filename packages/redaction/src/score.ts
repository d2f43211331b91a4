import { redactRules } from '@muster/protocol'
import type { Known, Sample } from './corpus.ts'
import { isSecretName } from './detectors/secret.ts'
import { detectorsOf } from './detectors.ts'
import { isJsonText, type Literal, literalsOf } from './json-text.ts'
import { search } from './search.ts'
import { effort, type Span } from './span.ts'

export interface Score {
  kind: string
  /** Values in the corpus, finds. */
  values: number
  finds: number
  /** Finds that are, at least in part, of a value of their kind: of all finds. */
  precision: number
  /** Values that finds of their kind cover to the last character: of all values. */
  recall: number
  /** The same of values as they are usually written, and of the others. */
  usual: number
  hard: number
}

/** The rules by which is measured: every kind, and numbers as they are written in four countries. */
const rules = redactRules.parse({ countries: ['US', 'DE', 'GB', 'FR'] })

/** Measures what is found in texts of which all is known. */
export function score(samples: readonly Sample[]): { scores: Score[]; missed: Known[][]; wrong: Span[][] } {
  const detectors = detectorsOf(rules)
  const order = new Map(detectors.map(({ kind }, i) => [kind, i]))
  const found = samples.map(({ text }) => findIn(text, (piece) => search(piece, { detectors, order }, effort())))
  const missed = samples.map(({ spans }, i) => spans.filter((span) => !isCovered(span, ofKind(found[i], span.kind))))
  const wrong = samples.map(({ spans }, i) =>
    (found[i] ?? []).filter((find) => !ofKind(spans, find.kind).some((span) => overlap(span, find))),
  )
  const scores = [...order.keys()].map((kind): Score => {
    const count = (lists: readonly (readonly Span[])[]) => lists.flatMap((spans) => ofKind(spans, kind)).length
    const finds = count(found)
    const all = samples.flatMap(({ spans }) => spans.filter((span) => span.kind === kind))
    const lost = missed.flatMap((spans) => spans.filter((span) => span.kind === kind))
    const recall = (of: (span: Known) => boolean) => 1 - lost.filter(of).length / Math.max(all.filter(of).length, 1)
    return {
      ...{ kind, values: all.length, finds },
      precision: finds === 0 ? 1 : 1 - count(wrong) / finds,
      recall: recall(() => true),
      usual: recall(({ hard }) => !hard),
      hard: recall(({ hard }) => hard),
    }
  })
  return { scores, missed, wrong }
}

function ofKind(spans: readonly Span[] = [], kind: string): readonly Span[] {
  return spans.filter((span) => span.kind === kind)
}

function overlap(a: Span, b: Span): boolean {
  return a.start < b.end && b.start < a.end
}

function isCovered(span: Span, finds: readonly Span[]): boolean {
  let at = span.start
  for (const { start, end } of finds) if (start <= at && end > at) at = end
  return at >= span.end
}

/** Finds as a redactor makes them: in a text that is JSON, within its texts. */
function findIn(text: string, find: (piece: string) => Span[]): Span[] {
  if (!isJsonText(text)) return find(text)
  return [...literalsOf(text)].flatMap((literal) => {
    const whole = { kind: 'secret', start: 0, end: literal.text.length }
    const spans = literal.key !== undefined && isSecretName(literal.key) ? [whole] : find(literal.text)
    const places = placesOf(text, literal)
    return spans.map(({ kind, start, end }) => ({ kind, start: places[start] ?? 0, end: places[end] ?? 0 }))
  })
}

/** Where each character of a literal stands in the text that has it. */
function placesOf(json: string, { start, end }: Literal): number[] {
  const places: number[] = []
  for (let at = start + 1; at < end; ) {
    places.push(at)
    at += json[at] !== '\\' ? 1 : json[at + 1] === 'u' ? 6 : 2
  }
  return places
}

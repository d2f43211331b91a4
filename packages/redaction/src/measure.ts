import { parseArgs } from 'node:util'
import { corpus, type Sample } from './corpus.ts'
import { score } from './score.ts'
import type { Span } from './span.ts'

/** Prints how precise and how complete the detectors are on the generated corpus; with `--show` what they get wrong. */
const { values } = parseArgs({
  options: {
    count: { type: 'string', default: '4000' },
    seed: { type: 'string', default: '2' },
    show: { type: 'boolean', default: false },
  },
})
const samples = corpus(Number(values.count), Number(values.seed))
const began = performance.now()
const { scores, missed, wrong } = score(samples)
const took = performance.now() - began
const characters = samples.reduce((sum, { text }) => sum + text.length, 0)
const percent = (share: number) => `${(share * 100).toFixed(1)}%`

console.log(`${samples.length} texts, ${characters} characters, seed ${values.seed}; ${took.toFixed(0)} ms`)
console.log('| kind | values | precision | recall | as usually written | hard |\n|---|---|---|---|---|---|')
for (const { kind, values, precision, recall, usual, hard } of scores)
  console.log(`| \`${kind}\` | ${[String(values), ...[precision, recall, usual, hard].map(percent)].join(' | ')} |`)

if (values.show) {
  show('missed', missed)
  show('wrong', wrong)
}

function show(what: string, all: readonly (readonly Span[])[]): void {
  const lines = all.flatMap((spans, i) => spans.map((span) => line(span, samples[i])))
  for (const one of lines.sort()) console.log(`${what} ${one}`)
}

function line({ kind, start, end }: Span, sample: Sample | undefined): string {
  const { text = '', shape = '' } = sample ?? {}
  return `${kind} ${shape} ${JSON.stringify(`${text.slice(Math.max(start - 12, 0), start)}«${text.slice(start, end).slice(0, 60)}»`)}`
}

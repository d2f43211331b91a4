import { putRuns } from '../audit-runs.ts'
import type { Bench } from '../bench.ts'
import { figure, type Row, rowsOf } from '../row.ts'
import { DEEP, searches } from '../subjects/search.ts'

const RUNS = 10_000

/** A3: pages of the audit search in an index of many runs. With `--size 100` they are a million. */
export async function search(bench: Bench): Promise<Row[]> {
  const { quick, size } = bench.options
  // Fewer do not fill a page.
  const runs = Math.max(100, Math.ceil((quick ? RUNS / 20 : RUNS) * size))
  const began = performance.now()
  const dynamo = await bench.dynamoOnDisk((dir) => putRuns(dir, runs))
  bench.options.log(`${runs} runs put in, in ${Math.round((performance.now() - began) / 1000)} s`)
  const child = await bench.start('audit-search', { dynamo, runs, pages: quick ? 2 : 20 })
  const [pages] = await bench.rounds('A3', [{ name: 'pages', child }])
  await bench.stop()
  if (!pages) return []
  return [...Object.keys(searches(runs)), DEEP].flatMap((name) =>
    ['p50', 'p95'].flatMap((part) => {
      const of = figure(part)
      const named = (what: string) =>
        pages.samples.map((sample) => ({ ...sample, figures: { [part]: figure(`${what} ${part}`)(sample) } }))
      return rowsOf(
        { workload: 'A3', unit: 'ms', of, variant: `${name}, ${part}, ${runs.toLocaleString('en')} runs` },
        { name, samples: named(name) },
        [{ name: `a bare Query, ${part}`, samples: named('bare') }],
      )
    }),
  )
}

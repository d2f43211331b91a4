import type { Row } from './row.ts'

const HEAD = [
  '',
  'variant',
  'value',
  'unit',
  'spread',
  'compared with',
  'its value',
  'ratio',
  'CPU µs',
  'in Redis',
  'MiB',
]
/** Columns of figures, set flush right. */
const RIGHT = new Set([2, 4, 6, 7, 8, 9, 10])

/** Rows as a table of text; a row that only has another reference than the one above does not repeat it. */
export function table(rows: readonly Row[]): string {
  const lines = rows.map((row, i) => {
    const above = rows[i - 1]
    const repeats = above?.workload === row.workload && above.variant === row.variant && above.unit === row.unit
    return cells(row, repeats)
  })
  const widths = HEAD.map((title, i) => Math.max(title.length, ...lines.map((line) => line[i]?.length ?? 0)))
  const print = (line: readonly string[]) =>
    line
      .map((cell, i) => (RIGHT.has(i) ? cell.padStart(widths[i] ?? 0) : cell.padEnd(widths[i] ?? 0)))
      .join('  ')
      .trimEnd()
  return [print(HEAD), widths.map((width) => '─'.repeat(width)).join('──'), ...lines.map(print)].join('\n')
}

function cells(row: Row, repeats: boolean): string[] {
  const { workload, variant, value, unit, spread, reference, referenceValue, ratio, cost } = row
  const own = repeats ? ['', '', '', '', ''] : [workload, variant, number(value), unit, `${Math.round(spread * 100)} %`]
  return [
    ...own,
    reference ?? '',
    referenceValue === null ? '' : number(referenceValue),
    ratio === null ? '' : `${ratio.toPrecision(3)}×`,
    ...(cost && !repeats
      ? [cost.workerUs.toFixed(1), cost.redisUs.toFixed(1), Math.round(cost.rssMiB).toString()]
      : ['', '', '']),
  ]
}

function number(value: number): string {
  return value >= 100 ? Math.round(value).toLocaleString('en') : Number(value.toPrecision(3)).toString()
}

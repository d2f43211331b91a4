#!/usr/bin/env node
/** Draws how cost grows, from the rows that `pnpm bench --json FILE` wrote: `node charts.ts FILE` gives Markdown. */
import { readFileSync } from 'node:fs'
import type { Row } from './row.ts'

interface Chart {
  title: string
  /** What a variant's row tells: of which line and at which size; undefined for a row that is not of this chart. */
  pointOf: (row: Row) => { line: string; size: number } | undefined
  yAxis: string
  /** The row's cost in the unit of the axis. */
  cost: (value: number) => number
}

const number = (text = '') => Number(text.replaceAll(',', ''))

function point(line: string | undefined, size: string | undefined) {
  return line === undefined || size === undefined ? undefined : { line, size: number(size) }
}

const nanoseconds = { yAxis: 'ns of CPU per step', cost: (stepsPerS: number) => 1e9 / stepsPerS }

const charts: readonly Chart[] = [
  {
    title: 'Cost of a step by the size of its graph',
    pointOf: ({ workload, unit, variant }) => {
      const [, shape, steps] = /^(.+) of ([\d,]+), all$/.exec(variant) ?? []
      return workload === 'W5' && unit.startsWith('steps/s') ? point(shape, steps) : undefined
    },
    ...nanoseconds,
  },
  {
    title: 'Cost of a step by the number of runs at once',
    pointOf: ({ workload, unit, variant }) => {
      const [, runs] = /^([\d,]+) chains of 20 at once, all$/.exec(variant) ?? []
      return workload === 'W5' && unit.startsWith('steps/s') ? point('chains of 20', runs) : undefined
    },
    ...nanoseconds,
  },
  {
    title: 'Cost of a step by the number of tenants',
    pointOf: ({ workload, unit, variant }) => {
      const [, tenants] = /^10,000 chains of 20, ([\d,]+) tenants, all$/.exec(variant) ?? []
      return workload === 'W5' && unit.startsWith('steps/s') ? point('10,000 chains of 20', tenants) : undefined
    },
    ...nanoseconds,
  },
  {
    title: 'Cost of a one-step run by the number of runs that wait',
    pointOf: ({ workload, unit, variant }) => {
      const [, backlog] = /^backlog (\d+)$/.exec(variant) ?? []
      return workload === 'W3' && unit === 'runs/s' ? point('one-step runs', backlog) : undefined
    },
    yAxis: 'µs per run',
    cost: (runsPerS) => 1e6 / runsPerS,
  },
]

/** A chart of the rows as Mermaid text, which GitHub and others draw; undefined where no row is of it. */
function draw(chart: Chart, rows: readonly Row[]): string | undefined {
  const lines = new Map<string, Map<number, number>>()
  for (const row of rows) {
    const at = chart.pointOf(row)
    if (!at) continue
    const line = lines.get(at.line) ?? new Map<number, number>()
    lines.set(at.line, line.set(at.size, chart.cost(row.value)))
  }
  if (lines.size === 0) return undefined
  const sizes = [...new Set([...lines.values()].flatMap((line) => [...line.keys()]))].sort((a, b) => a - b)
  const most = Math.max(...[...lines.values()].flatMap((line) => [...line.values()]))
  const names = [...lines.keys()].join(', ')
  return [
    '```mermaid',
    'xychart-beta',
    `  title "${chart.title}"`,
    `  x-axis [${sizes.map((size) => `"${size.toLocaleString('en')}"`).join(', ')}]`,
    `  y-axis "${chart.yAxis}" 0 --> ${Math.ceil(most * 1.1)}`,
    ...[...lines.values()].map((line) => `  line [${sizes.map((size) => Math.round(line.get(size) ?? 0)).join(', ')}]`),
    '```',
    '',
    `Lines, in order: ${names}.`,
  ].join('\n')
}

const [, , file] = process.argv
if (file === undefined) {
  console.error('node charts.ts FILE: name the file that `pnpm bench --json FILE` wrote')
  process.exitCode = 2
} else {
  const rows = JSON.parse(readFileSync(file, 'utf8')) as Row[] // as `pnpm bench` writes them
  console.log(charts.flatMap((chart) => draw(chart, rows) ?? []).join('\n\n'))
}

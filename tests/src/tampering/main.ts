#!/usr/bin/env node
import { parseArgs } from 'node:util'
import { tamperOften } from './campaign.ts'

const usage = `pnpm tamper [options]: tampers with audit exports, and looks whether the verifier finds and names it

  --count N   how often (default 10000)
  --seed S    the first one's seed; the next one's is one more (default 1)
  --json      the table as JSON
  --help`

const MISSES_SHOWN = 20

interface Options {
  count: number
  seed: number
  json: boolean
  help: boolean
}

/** @throws Error whose message tells what is wrong with the arguments */
function readOptions(args: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...args],
    options: {
      count: { type: 'string', default: '10000' },
      seed: { type: 'string', default: '1' },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  })
  const whole = (name: 'count' | 'seed', min: number) => {
    const number = Number(values[name])
    if (!Number.isSafeInteger(number) || number < min) throw new Error(`--${name}: a whole number, ${min} or more`)
    return number
  }
  return { count: whole('count', 1), seed: whole('seed', 0), json: values.json, help: values.help }
}

async function run({ count, seed, json }: Options): Promise<void> {
  const began = performance.now()
  const { tallies, misses } = await tamperOften({ count, seed })
  const seconds = Math.round((performance.now() - began) / 1000)
  const sum = (name: 'count' | 'found' | 'named') => tallies.reduce((total, tally) => total + tally[name], 0)
  const all = { kind: 'all', count: sum('count'), found: sum('found'), named: sum('named') }
  if (json) console.log(JSON.stringify({ seed, tallies, misses }))
  else {
    const width = Math.max(...tallies.map(({ kind }) => kind.length))
    const line = (...cells: (string | number)[]) =>
      cells.map((cell, i) => (i === 0 ? String(cell).padEnd(width) : String(cell).padStart(8))).join('')
    console.log(line('kind', 'count', 'found', 'named'))
    for (const { kind, count, found, named } of [...tallies, all]) console.log(line(kind, count, found, named))
    console.log(`\nseed ${seed}, ${seconds} s, ${misses.length} missed`)
  }
  for (const { seed: again, kind, hit, findings } of misses.slice(0, MISSES_SHOWN)) {
    const found = findings.map(({ code, file, seq }) => `${code} ${file} ${seq ?? ''}`.trim()).join('; ')
    console.error(`MISSED ${kind} (${JSON.stringify(hit)}): pnpm tamper --count 1 --seed ${again}; found: ${found}`)
  }
  if (misses.length > 0) process.exitCode = 1
}

let options: Options | undefined
try {
  options = readOptions(process.argv.slice(2))
} catch (error) {
  console.error(`${error instanceof Error ? error.message : error}\n\n${usage}`)
  process.exitCode = 2
}
if (options?.help) console.log(usage)
else if (options) await run(options)

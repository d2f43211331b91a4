#!/usr/bin/env node
import { writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { Bench } from './bench.ts'
import { type Options, readOptions, usage } from './options.ts'
import type { Row } from './row.ts'
import { table } from './table.ts'
import { workloads } from './workloads/index.ts'

function log(line: string): void {
  process.stderr.write(`${line}\n`)
}

async function run({ only, quick, json, peers, size, prof }: Options): Promise<void> {
  const bench = new Bench({ quick, peers, size, prof, log })
  const interrupted = (signal: NodeJS.Signals) => {
    log(`\n${signal}: stopping what was started`)
    bench.close().finally(() => process.exit(signal === 'SIGINT' ? 130 : 143))
  }
  process.once('SIGINT', interrupted).once('SIGTERM', interrupted)
  const rows: Row[] = []
  try {
    for (const name of only) {
      const began = performance.now()
      rows.push(...((await workloads[name]?.(bench)) ?? []))
      log(`${name} took ${Math.round((performance.now() - began) / 1000)} s`)
    }
  } finally {
    await bench.close()
  }
  if (json !== undefined) writeFileSync(json, `${JSON.stringify(rows, null, 2)}\n`)
  const model = cpus()[0]?.model.trim() ?? 'unknown CPU'
  console.log(`${cpus().length} × ${model}, Node ${process.version}, Redis ${bench.redisVersion ?? 'not used'}\n`)
  console.log(table(rows))
}

let options: Options | undefined
try {
  options = readOptions(process.argv.slice(2), Object.keys(workloads))
} catch (error) {
  log(`${error instanceof Error ? error.message : error}\n\n${usage}`)
  process.exitCode = 2
}
if (options?.help) console.log(usage)
else if (options) await run(options)

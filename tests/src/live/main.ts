#!/usr/bin/env node
import { parseArgs } from 'node:util'
import { MusterError, readConfig } from '@muster/protocol'
import { readModels } from '@muster/worker'
import { type Checked, check, checks } from './checks.ts'

const usage = `pnpm test:live [options]: asks the real models that this environment leads to, and says what it cost

Reads MUSTER_MODELS, or OPENAI_API_KEY (MUSTER_MODEL), as a worker does. Some five small calls to each route.

  --route NAME   only this route; may be given several times
  --json         a line of JSON for each check
  --help`

function show({ route, check, ok, detail, ms, tokens, costUsd }: Checked): string {
  const figures = `${String(ms).padStart(6)} ms ${String(tokens).padStart(6)} tokens  $${costUsd.toFixed(6)}`
  return `${ok ? 'ok    ' : 'FAILED'} ${route.padEnd(16)} ${check.padEnd(8)} ${figures}  ${detail.replaceAll(/\s+/g, ' ')}`
}

async function run(only: readonly string[], json: boolean): Promise<boolean> {
  const models = readModels(readConfig(process.env))
  const known = models.routes().map(({ name }) => name)
  const strange = only.find((name) => !known.includes(name))
  if (strange !== undefined)
    throw new MusterError('config.invalid', `--route ${strange}: there are ${known.join(', ')}`)
  const all: Checked[] = []
  for (const route of only.length > 0 ? only : known)
    for (const name of Object.keys(checks)) {
      const checked = await check(models, route, name)
      all.push(checked)
      console.log(json ? JSON.stringify(checked) : show(checked))
    }
  const failed = all.filter(({ ok }) => !ok).length
  const costUsd = all.reduce((sum, checked) => sum + checked.costUsd, 0)
  if (!json) console.log(`\n${all.length} checks, ${failed} failed; it cost $${costUsd.toFixed(6)} by the price table`)
  return failed === 0
}

try {
  const { values } = parseArgs({
    options: {
      route: { type: 'string', multiple: true, default: [] },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) console.log(usage)
  else process.exitCode = (await run(values.route, values.json)) ? 0 : 1
} catch (error) {
  console.error(error instanceof Error ? error.message : error)
  process.exitCode = 2
}

#!/usr/bin/env node
import { parseArgs } from 'node:util'
import { type Report, runCampaign } from './campaign.ts'
import { faults } from './faults.ts'
import { runLongCall } from './long-call.ts'

const usage = `pnpm soak [options]: runs campaigns of faults until the time is over

  --seconds N    how long (default 300); from 300 on a call of four minutes goes on beside the campaigns
  --seed S       the first campaign's seed; the next one's is one more (default 1)
  --only A,B     only faults whose names contain one of these
  --json         a line of JSON for each campaign
  --help`

/** A campaign lasts so long at most, so that one that fails can be run again by its seed. */
const CAMPAIGN_MS = 60_000
const LONG_CALL_MS = 240_000

interface Options {
  seconds: number
  seed: number
  only: string[]
  json: boolean
  help: boolean
}

/** @throws Error whose message tells what is wrong with the arguments */
function readOptions(args: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...args],
    options: {
      seconds: { type: 'string', default: '300' },
      seed: { type: 'string', default: '1' },
      only: { type: 'string' },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  })
  const seconds = Number(values.seconds)
  if (!(seconds >= 1 && seconds <= 604_800)) throw new Error('--seconds: a number from 1 to 604800')
  const seed = Number(values.seed)
  if (!Number.isInteger(seed) || seed < 0) throw new Error('--seed: a whole number, 0 or more')
  const only = values.only?.split(',').map((name) => name.trim()) ?? []
  for (const name of only) {
    if (!faults.some((fault) => fault.name.includes(name)))
      throw new Error(`--only: no fault is named "${name}"; there are ${faults.map(({ name }) => name).join(', ')}`)
  }
  return { seconds, seed, only, json: values.json, help: values.help }
}

async function soak({ seconds, seed, only, json }: Options): Promise<Report[]> {
  const chosen = only.length === 0 ? faults : faults.filter(({ name }) => only.some((part) => name.includes(part)))
  const log = (line: string) => process.stderr.write(`${line}\n`)
  const reports: Report[] = []
  const end = performance.now() + seconds * 1000
  const longCall = seconds >= 300 ? runLongCall(seed, LONG_CALL_MS) : undefined
  // Whoever waits for it below hears of its failure.
  longCall?.catch(() => {})
  for (let next = seed; performance.now() < end; next++) {
    const forMs = Math.min(CAMPAIGN_MS, Math.max(1000, end - performance.now()))
    log(`campaign of seed ${next}, ${Math.round(forMs / 1000)} s of faults`)
    const report = await runCampaign({ seed: next, forMs, faults: chosen, archiveMs: 60_000, log })
    tell(report)
  }
  if (longCall) {
    log(`a call of ${LONG_CALL_MS / 1000} s`)
    tell(await longCall)
  }
  return reports

  function tell(report: Report): void {
    reports.push(report)
    if (json) console.log(JSON.stringify(report))
    else console.log(describe(report))
    for (const violation of report.violations) log(`VIOLATION ${violation}`)
  }
}

function describe({ seed, runs, answers, byStatus, byFault, effects, checkpoints, violations }: Report): string {
  const list = (counts: Record<string, number>) =>
    Object.entries(counts)
      .map(([name, count]) => `${count} ${name}`)
      .join(', ')
  return `seed ${seed}: ${runs} runs (${list(byStatus)}), ${answers} answers of the gateway, ${effects} effects, ${checkpoints} checkpoints, ${violations.length} violations; ${list(byFault)}`
}

let options: Options | undefined
try {
  options = readOptions(process.argv.slice(2))
} catch (error) {
  console.error(`${error instanceof Error ? error.message : error}\n\n${usage}`)
  process.exitCode = 2
}
if (options?.help) console.log(usage)
else if (options) {
  const reports = await soak(options)
  const sum = (count: (report: Report) => number) => reports.reduce((total, report) => total + count(report), 0)
  const violations = sum((report) => report.violations.length)
  if (violations > 0) process.exitCode = 1
  console.log(
    `${sum(({ runs }) => runs)} runs, ${sum(({ faults }) => faults)} faults, ${sum(({ effects }) => effects)} effects, ${violations} violations`,
  )
  // Left to end by itself Node 24 may go round for ever in taking down what so many cut connections have left.
  process.exit()
}

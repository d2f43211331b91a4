import { isEnded, MusterError, type Run, type RunEvent, type RunSummary } from '@muster/protocol'
import type { Muster } from '@muster/sdk'
import pc from 'picocolors'
import { verifyRun } from '../ledger/verify-command.ts'
import { dateOf, duration, money, plain, print } from '../output.ts'
import { readRun } from './run-events.ts'
import { redactedOf, redactedText, spansOf, waterfall } from './waterfall.ts'

/** Runs of a session that are shown. */
const RUNS_MAX = 1000

/** `muster trace`: what a run did, step by step, and whether its journal is whole. */
export async function traceCommand(muster: Muster, id: string, json: boolean): Promise<number> {
  const trace = await read(muster, id)
  if (json) print(shownOf(trace))
  else show(trace)
  return trace.verification.ok ? 0 : 1
}

/** `muster trace --session`: the same of all its runs, the first of them first. */
export async function traceSessionCommand(muster: Muster, session: string, json: boolean): Promise<number> {
  const runs: RunSummary[] = []
  for (let cursor: string | undefined; runs.length < RUNS_MAX; ) {
    const page = await muster.runs.list({ session, limit: 200, ...(cursor === undefined ? {} : { cursor }) })
    runs.push(...page.runs)
    cursor = page.cursor
    if (cursor === undefined) break
  }
  if (runs.length === 0) throw new MusterError('run.not_found', `no run is of the session "${session}"`)
  const traces: Trace[] = []
  for (const { id } of runs.reverse()) {
    const trace = await read(muster, id)
    if (!json) show(trace)
    traces.push(trace)
  }
  const costUsd = traces.reduce((sum, { run }) => sum + run.costUsd, 0)
  const ok = traces.every(({ verification }) => verification.ok)
  if (json) print({ session, costUsd, ok, runs: traces.map(shownOf) })
  else {
    const more = runs.length < RUNS_MAX ? '' : ', and those before them'
    console.log(
      `\n${pc.bold(plain(session))}: ${runs.length} run${runs.length === 1 ? '' : 's'}${more}, ${money(costUsd) || '$0'}`,
    )
  }
  return ok ? 0 : 1
}

interface Trace {
  run: Run
  events: RunEvent[]
  verification: Awaited<ReturnType<typeof verifyRun>>
}

async function read(muster: Muster, id: string): Promise<Trace> {
  return { ...(await readRun(muster, id)), verification: await verifyRun(muster, id) }
}

const shownOf = ({ run, events, verification }: Trace) => ({ run, spans: spansOf(events), verification })

function show({ run, events, verification }: Trace): void {
  console.log(title(run, events, verification.ok))
  console.log(waterfall(spansOf(events), process.stdout.columns ?? 120))
  for (const finding of verification.findings) console.log(pc.red(`entry ${finding.seq}: ${finding.message}`))
}

/** What held the run back, and for how long. */
function stopLines(events: readonly RunEvent[]): string {
  let lines = ''
  for (const [i, { entry }] of events.entries()) {
    if (entry.type !== 'run.stopped') continue
    const { stop, by, reason, at } = entry
    const lift = events.slice(i).find(({ entry }) => entry.type === 'run.lifted' && entry.stop === stop)
    const time = lift ? `for ${duration(lift.entry.at - at)}` : `since ${dateOf(at)}`
    const why = reason === undefined ? '' : `: ${reason}`
    lines += `\n${pc.yellow(plain(`■ ${stop} was stopped by ${by} ${time}${why}`))}`
  }
  return lines
}

/** Why a run has failed, where none of its steps tells. */
function failureLine({ error }: Run, events: readonly RunEvent[]): string {
  if (!error || events.some(({ entry }) => entry.type === 'step.ended' && entry.error?.message === error.message))
    return ''
  return `${pc.red(plain(`${error.code}: ${error.message}`))}\n`
}

function title(run: Run, events: readonly RunEvent[], whole: boolean): string {
  const [how, until] = isEnded(run.status) ? ['in', events.at(-1)?.entry.at ?? run.createdAt] : ['for', Date.now()]
  const proof = whole ? pc.green(`verify: ok (${run.entries} entries)`) : pc.red('verify: ALTERED')
  const what = `${run.name}@${run.version}`
  const taken = redactedText(redactedOf(events))
  const stops = stopLines(events)
  const heldUp = run.heldUp ? `\n${pc.yellow(plain(run.heldUp.message))}` : ''
  return `${pc.bold(what)} ${run.id}${heldUp}${stops}\n${run.status} ${how} ${duration(until - run.createdAt)}, ${run.steps} step${run.steps === 1 ? '' : 's'}, ${money(run.costUsd) || '$0'}, for ${run.by.user}, ${run.epoch} activation${run.epoch === 1 ? '' : 's'}, ${proof}${taken === '' ? '' : `, ${taken}`}\n${failureLine(run, events)}`
}

import type { Run, RunEvent } from '@muster/protocol'
import type { Muster } from '@muster/sdk'
import pc from 'picocolors'
import { duration, money, plain, print } from './output.ts'
import { readRun } from './run-events.ts'
import { verifyRun } from './verify-command.ts'
import { redactedOf, redactedText, spansOf, waterfall } from './waterfall.ts'

/** `muster trace`: what a run did, step by step, and whether its journal is whole. */
export async function traceCommand(muster: Muster, id: string, json: boolean): Promise<number> {
  const { run, events } = await readRun(muster, id)
  const verification = await verifyRun(muster, id)
  const spans = spansOf(events)
  if (json) print({ run, spans, verification })
  else {
    console.log(title(run, events, verification.ok))
    console.log(waterfall(spans, process.stdout.columns ?? 120))
    for (const finding of verification.findings) console.log(pc.red(`entry ${finding.seq}: ${finding.message}`))
  }
  return verification.ok ? 0 : 1
}

/** What held the run back, and for how long. */
function stopLines(events: readonly RunEvent[]): string {
  let lines = ''
  for (const [i, { entry }] of events.entries()) {
    if (entry.type !== 'run.stopped') continue
    const { stop, by, reason, at } = entry
    const lift = events.slice(i).find(({ entry }) => entry.type === 'run.lifted' && entry.stop === stop)
    const time = lift ? `for ${duration(lift.entry.at - at)}` : `since ${new Date(at).toISOString()}`
    const why = reason === undefined ? '' : `: ${reason}`
    lines += `\n${pc.yellow(plain(`■ ${stop} was stopped by ${by} ${time}${why}`))}`
  }
  return lines
}

function title(run: Run, events: readonly RunEvent[], whole: boolean): string {
  const took = (events.at(-1)?.entry.at ?? run.createdAt) - run.createdAt
  const proof = whole ? pc.green(`verify: ok (${run.entries} entries)`) : pc.red('verify: ALTERED')
  const what = `${run.name}@${run.version}`
  const taken = redactedText(redactedOf(events))
  const stops = stopLines(events)
  const heldUp = run.heldUp ? `\n${pc.yellow(plain(run.heldUp.message))}` : ''
  return `${pc.bold(what)} ${run.id}${heldUp}${stops}\n${run.status} in ${duration(took)}, ${run.steps} steps, ${money(run.costUsd) || '$0'}, for ${run.by.user}, ${run.epoch} activation${run.epoch === 1 ? '' : 's'}, ${proof}${taken === '' ? '' : `, ${taken}`}\n`
}

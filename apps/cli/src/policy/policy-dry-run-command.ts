import { decisionsOf, type PolicySet, type Replayed, replay } from '@muster/governance'
import type { Config, Decision } from '@muster/protocol'
import type { Muster } from '@muster/sdk'
import pc from 'picocolors'
import { plain, print } from '../output.ts'
import { readRun } from '../runs/run-events.ts'
import { loadSet, PublishedSets } from './policy-source.ts'

/** `muster policy dry-run`: which recorded decisions another set would make otherwise. */
export async function dryRunCommand(
  muster: Muster,
  config: Config,
  files: readonly string[],
  options: { runs: number; run: readonly string[]; json: boolean },
): Promise<undefined> {
  const set = await loadSet(config, files)
  const ids = options.run.length > 0 ? options.run : await newest(muster, options.runs)
  const sets = new PublishedSets(muster)
  const replayed: Replayed[] = []
  for (const id of ids) replayed.push(...(await replayRun(muster, id, set, sets)))
  const count = (what: Replayed['outcome']) => replayed.filter(({ outcome }) => outcome === what).length
  const counts = { same: count('same'), changed: count('changed'), unknown: count('unknown') }
  const shown = replayed.filter(({ outcome, decision }) => outcome !== 'same' || decision?.trial).map(about)
  if (options.json) print({ set: set.hash, runs: ids.length, decisions: replayed.length, counts, steps: shown })
  else {
    for (const line of shown.map(lineOf)) console.log(line)
    const { same, changed, unknown } = counts
    console.log(
      `${replayed.length} decisions of ${ids.length} runs: ${same} the same, ${changed} changed, ${unknown} unknown${transitions(replayed)}`,
    )
  }
  return undefined
}

async function newest(muster: Muster, count: number): Promise<string[]> {
  const { runs } = await muster.runs.list({ limit: count })
  return runs.map(({ id }) => id)
}

async function replayRun(muster: Muster, id: string, set: PolicySet, sets: PublishedSets): Promise<Replayed[]> {
  const { events } = await readRun(muster, id)
  await sets.read(events.flatMap(({ entry }) => ('decision' in entry && entry.decision ? entry.decision.set : [])))
  // A set that was not published does not say which tools there were.
  const all = decisionsOf(events, (hash) => (sets.get(hash) ?? set).app.tools)
  return all.map((recorded) => replay(recorded, set, sets.get(recorded.decision.set)))
}

function about({ recorded: { run, step, target, decision: before }, outcome, decision: after, why }: Replayed) {
  return { run, step, target, outcome, before, ...(after ? { after } : {}), ...(why === undefined ? {} : { why }) }
}

function lineOf({ run, step, target, outcome, before, after, why = '' }: ReturnType<typeof about>): string {
  const what = `${run} ${pc.bold(plain(step))} ${pc.dim(plain(target))}`
  if (!after) return `${what}  ${pc.dim(`unknown: ${why}`)}`
  const tried = after.trial ? `  ${pc.yellow(`log-only ${effectOf(after.trial)}`)}` : ''
  if (outcome === 'same') return `${what}  ${effectOf(before)}${tried}`
  return `${what}  ${effectOf(before)} → ${pc.yellow(effectOf(after))}${tried}`
}

function effectOf({ effect, policies, role, errors, targets = [] }: Omit<Decision, 'set'>): string {
  const by = errors?.join('; ') ?? (policies.join(', ') || 'no policy permits')
  const not = targets.flatMap((target) => (effect === 'allow' && target.effect !== effect ? [target.name] : []))
  const where = not.length === 0 ? '' : `, not at ${not.join(', ')}`
  return plain(`${effect}${role === undefined ? '' : ` ${role}`}: ${by}${where}`)
}

/** `; allow → deny 3, ask → allow 1`; what goes elsewhere is `allow → allow`. */
function transitions(replayed: readonly Replayed[]): string {
  const counts = new Map<string, number>()
  for (const { outcome, recorded, decision } of replayed) {
    if (outcome !== 'changed' || !decision) continue
    const way = `${recorded.decision.effect} → ${decision.effect}`
    counts.set(way, (counts.get(way) ?? 0) + 1)
  }
  const parts = [...counts].map(([way, count]) => `${way} ${count}`)
  return parts.length === 0 ? '' : `; ${parts.join(', ')}`
}

import { hash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { isDeepStrictEqual } from 'node:util'
import { childRunId, type Entry, isEnded, type Run } from '@muster/protocol'
import { type Effect, effect } from './effect.ts'
import { fold, type ReadJournal } from './journal.ts'
import { checkLabels } from './labels.ts'
import type { Accepted } from './load.ts'

/** What the recorder wrote down, by run. */
export function readEffects(file: string): Effect[] {
  return readFileSync(file, 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => effect.parse(JSON.parse(line)))
}

export function runOf({ key }: Effect): string {
  return key.slice(0, key.indexOf('/'))
}

/** What is wrong with the outside as a whole: effects that belong to no run that anybody started. */
export function checkOutside(effects: readonly Effect[], known: ReadonlySet<string>): string[] {
  return effects
    .filter((one) => !known.has(runOf(one)))
    .map(({ key }) => `effect ${key} is of a run that nobody started`)
}

/** The child runs that a run may have started, by its journal: one that was cancelled or stopped may have started none. */
export function childrenOf(run: string, { entries }: ReadJournal): string[] {
  const children = entries.flatMap((one) => {
    if (one.type === 'step.waiting' && one.child !== undefined) return [one.child]
    // One that has ended, or whose parent has, before the entry that would name it is named by none.
    const isBegun = one.type === 'step.intent' && one.kind === 'agent'
    return isBegun ? [childRunId(run, hash('sha256', `${run}/${one.step}`, 'hex'))] : []
  })
  return [...new Set(children)]
}

/** What is wrong with a child run, which has no client of its own. */
export function checkChild(
  run: Run,
  journal: ReadJournal,
  effects: readonly Effect[],
  { clockSkewMs }: { clockSkewMs: number },
): string[] {
  return [
    ...(isEnded(run.status) ? [] : [`it did not end: ${run.status} ${JSON.stringify(run.waiting)}`]),
    ...checkState(run, journal),
    ...journal.verification.findings.map(({ message }) => `its chain does not verify: ${message}`),
    ...checkEffects(effects, journal.entries, clockSkewMs),
    ...checkLabels(run.name, journal.entries),
  ].map((what) => `child run ${run.id}: ${what}`)
}

/**
 * What is wrong with one run, of which all that can be known is known. `effects` are its own, `all` those of its child
 * runs as well.
 */
export function checkRun(
  accepted: Accepted,
  run: Run,
  journal: ReadJournal,
  { effects, all }: { effects: readonly Effect[]; all: readonly Effect[] },
  { clockSkewMs }: { clockSkewMs: number },
): string[] {
  const { id, plan } = accepted
  return [
    ...checkEnd(accepted, run, all),
    ...checkState(run, journal),
    ...journal.verification.findings.map(({ message }) => `its chain does not verify: ${message}`),
    ...checkEffects(effects, journal.entries, clockSkewMs),
    ...checkLabels(run.name, journal.entries),
  ].map((what) => `run ${id} (${plan}): ${what}`)
}

function checkEnd({ cancelled, expected }: Accepted, run: Run, effects: readonly Effect[]): string[] {
  if (!isEnded(run.status)) return [`it did not end: ${run.status} ${JSON.stringify(run.waiting)}`]
  if (run.status === 'cancelled' && !cancelled) return ['it was cancelled, and nobody asked for that']
  if (run.status !== 'succeeded') return []
  const found: string[] = []
  if (!isDeepStrictEqual(run.output, expected.output))
    found.push(`it gave ${JSON.stringify(run.output)} and not ${JSON.stringify(expected.output)}`)
  for (const [kind, wanted] of [
    ['write', expected.writes],
    ['once', expected.onces],
  ] as const) {
    const keys = new Set(effects.filter((one) => one.kind === kind).map(({ key }) => key)).size
    if (keys !== wanted) found.push(`${keys} effects of kind ${kind} happened and not ${wanted}`)
  }
  return found
}

function checkState(run: Run, journal: ReadJournal): string[] {
  const mine = fold(journal)
  const theirs = {
    status: run.status,
    waiting: run.waiting.map(({ step }) => step).sort(),
    steps: run.steps,
    output: run.output,
  }
  return isDeepStrictEqual(mine, theirs)
    ? []
    : [`its journal says ${JSON.stringify(mine)} and the API says ${JSON.stringify(theirs)}`]
}

function checkEffects(effects: readonly Effect[], entries: readonly Entry[], clockSkewMs: number): string[] {
  const found: string[] = []
  const allowedAt = new Map<string, number>()
  for (const one of entries) {
    if (one.type !== 'step.intent' || one.decision.effect !== 'allow') continue
    if (!allowedAt.has(one.idempotencyKey)) allowedAt.set(one.idempotencyKey, one.at)
  }
  const once = new Map<string, string[]>()
  for (const { kind, key, at, pid, intent } of effects) {
    const allowed = allowedAt.get(key)
    if (allowed === undefined) found.push(`effect ${key} has no intent that allows it`)
    else if (allowed > at + clockSkewMs) found.push(`effect ${key} came ${allowed - at} ms before it was allowed`)
    if (intent === 'no') found.push(`effect ${key} came before its intent was in the journal`)
    if (kind === 'once') once.set(key, [...(once.get(key) ?? []), `at ${at} by ${pid}, intent ${intent}`])
  }
  for (const [key, times] of once)
    if (times.length > 1)
      found.push(`effect ${key} must never repeat and happened ${times.length} times: ${times.join('; ')}`)
  return found
}

import type { Archived, Memory } from '@muster/memory'
import { type Hold, isHeld, type RetentionDue, type RetentionRule, ruleFor, timeOf } from '@muster/protocol'

/** Runs that are looked at to tell what is due. */
const DUE_LOOK_MAX = 20_000

/** What of a run is past its time, by which rule, and for how long. */
export interface Due {
  run: Archived
  what: 'content' | 'memory' | 'run'
  rule: number
  overdueMs: number
}

/** What of a run is past its time and not held: what it has left before the run, which tells of that. */
export function dueOf(rules: readonly RetentionRule[], run: Archived, holds: readonly Hold[], now: number): Due[] {
  const rule = ruleFor(rules, run)
  const { content, memory, run: whole } = (rule === undefined ? undefined : rules[rule]) ?? {}
  const age = now - (run.endedAt ?? run.createdAt)
  const isForgotten = run.forgotten === true || run.erased?.by === 'erasure'
  const due: Due[] = []
  const look = (what: Due['what'], term: number | undefined) => {
    if (rule !== undefined && term !== undefined && age >= term) due.push({ run, what, rule, overdueMs: age - term })
  }
  if (!isForgotten) look('memory', memory)
  look('run', whole)
  if (run.erased === undefined && due.at(-1)?.what !== 'run') look('content', content)
  return due.length > 0 && holds.some((hold) => isHeld(hold, run)) ? [] : due
}

/**
 * Runs after `after`, the oldest first, up to the first that is too young for every term. Ids are in the order of creation,
 * and no run has ended before its id was made; where clocks differ, it is found so much later.
 */
export async function* oldRuns(
  { archive }: Memory,
  { tenant, rules, now, after }: { tenant: string; rules: readonly RetentionRule[]; now: number; after?: string },
): AsyncGenerator<Archived, void> {
  const terms = rules.flatMap(({ content, memory, run }) => [content, memory, run]).filter((term) => term !== undefined)
  const youngest = now - Math.min(...terms)
  for await (const run of archive.all(tenant, after)) {
    if (timeOf(run.id) > youngest) return
    yield run
  }
}

/** What is due of a tenant, and how long it has been: expired with the next ticks. */
export async function retentionDue(
  memory: Memory,
  of: { tenant: string; rules: readonly RetentionRule[]; now: number; lookMax?: number },
): Promise<RetentionDue> {
  const { tenant, rules, now, lookMax = DUE_LOOK_MAX } = of
  const [holds, { cursor, failing }] = await Promise.all([memory.holds.list(tenant), memory.sweeps.of(tenant)])
  const due = { content: 0, memory: 0, runs: 0, held: 0, failing: failing.length, looked: 0, overdueMs: 0 }
  /** Gives the last run of those that it has looked at, where there are more. */
  const look = async (max: number, after?: string) => {
    let last = after
    for await (const run of oldRuns(memory, { ...of, ...(after === undefined ? {} : { after }) })) {
      if (due.looked >= max) return last
      last = run.id
      due.looked++
      const found = dueOf(rules, run, [], now)
      if (found.length > 0 && dueOf(rules, run, holds, now).length === 0) due.held++
      else
        for (const { what, overdueMs } of found) {
          due[what === 'run' ? 'runs' : what]++
          due.overdueMs = Math.max(due.overdueMs, overdueMs)
        }
    }
    return undefined
  }
  const last = await look(lookMax / 2)
  if (last === undefined) return due
  // Old runs may have nothing left that expires: what is due lies where the sweep under way has come to.
  const isApart = cursor > last
  const next = await look(lookMax, isApart ? cursor : last)
  return isApart || next !== undefined ? { ...due, more: true } : due
}

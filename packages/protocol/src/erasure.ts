import { z } from 'zod'
import { actor } from './entry.ts'
import { erased, runStatus, subjectName } from './run.ts'

/** Why something is done to data: told in records, so that it is never content. */
const reason = z.string().trim().min(1).max(500)

/** Body of `POST /v1/erasures`: of what the content is to be erased. */
export const newErasure = z
  .strictObject({
    subject: subjectName.optional(),
    run: z.string().max(64).optional(),
    /** All of the tenant; `confirm` is its name. */
    tenant: z.literal(true).optional(),
    confirm: z.string().max(64).optional(),
    reason,
    /** Ends runs that are still going; otherwise they are waited for. */
    terminate: z.boolean().optional(),
    /** Tells what there is, and does nothing. */
    dryRun: z.boolean().optional(),
  })
  .refine(({ subject, run, tenant }) => [subject, run, tenant].filter((one) => one !== undefined).length === 1, {
    message: 'give one of subject, run and tenant',
  })
export type NewErasure = z.infer<typeof newErasure>

/**
 * `waiting`: until runs have ended. `held`: until legal holds are lifted. `settling`: the keys are destroyed, and processes
 * that have read them forget them.
 */
const erasureState = z.enum(['requested', 'held', 'waiting', 'erasing', 'settling', 'done'])

const counts = z.object({
  runs: z.number(),
  entries: z.number(),
  turns: z.number(),
  facts: z.number(),
  blobs: z.number(),
})
export type ErasureCounts = z.infer<typeof counts>

/** An erasure as it stands. */
export const erasure = z.object({
  id: z.string(),
  subject: z.string().optional(),
  run: z.string().optional(),
  tenant: z.string().optional(),
  reason: z.string(),
  by: actor,
  at: z.number(),
  state: erasureState,
  terminate: z.boolean().optional(),
  /** Legal holds because of which it waits. */
  heldBy: z.array(z.string()).optional(),
  /** Runs that have not ended; the first hundred. */
  waitsFor: z.array(z.string()).optional(),
  erased: counts,
  /** The last run whose content is gone. */
  cursor: z.string().optional(),
  /** Names of the keys that were destroyed, and when. */
  keys: z.array(z.string()).optional(),
  destroyedAt: z.number().optional(),
  doneAt: z.number().optional(),
  /** What it does not reach. */
  left: z.array(z.string()).optional(),
})
export type Erasure = z.infer<typeof erasure>

/** What an erasure would do. */
export const erasurePlan = z.object({
  dryRun: z.literal(true),
  runs: z.number(),
  entries: z.number(),
  /** Runs that have not ended. */
  waitsFor: z.array(z.string()),
  heldBy: z.array(z.string()),
})
export type ErasurePlan = z.infer<typeof erasurePlan>

/** Body of `POST /v1/holds`: what is neither erased nor expires. All that is given must hold of a run. */
export const newHold = z
  .strictObject({
    subject: subjectName.optional(),
    run: z.string().max(64).optional(),
    /** Of the agent or plan. */
    name: z.string().min(1).max(128).optional(),
    /** Runs created from then on, and before then, ms since the epoch. */
    since: z.number().int().nonnegative().optional(),
    until: z.number().int().nonnegative().optional(),
    reason,
  })
  .refine(({ reason: _reason, ...of }) => Object.values(of).some((one) => one !== undefined), {
    message: 'give a subject, run, name, since or until',
  })
export type NewHold = z.infer<typeof newHold>

/** Body of `DELETE /v1/holds/{id}`. */
export const liftHold = z.strictObject({ reason })

export const hold = z.object({
  id: z.string(),
  subject: z.string().optional(),
  run: z.string().optional(),
  name: z.string().optional(),
  since: z.number().optional(),
  until: z.number().optional(),
  reason: z.string(),
  by: actor,
  at: z.number(),
  lifted: z.object({ by: actor, at: z.number(), reason: z.string() }).optional(),
})
export type Hold = z.infer<typeof hold>

/** What of a run holds and rules look at. */
interface HeldRun {
  id: string
  name: string
  createdAt: number
  subject?: string | undefined
}

/** Whether a hold keeps a run as it is. */
export function isHeld(by: Hold, run: HeldRun): boolean {
  return (
    by.lifted === undefined &&
    (by.subject === undefined || by.subject === run.subject) &&
    (by.run === undefined || by.run === run.id) &&
    (by.name === undefined || by.name === run.name) &&
    (by.since === undefined || run.createdAt >= by.since) &&
    (by.until === undefined || run.createdAt < by.until)
  )
}

const DAY_MS = 86_400_000
const UNITS_MS = { d: DAY_MS, w: 7 * DAY_MS, y: 365 * DAY_MS } as const

/** `30d`, `8w` or `10y`, in ms. */
const term = z
  .string()
  .regex(/^[1-9]\d{0,4}[dwy]$/, 'a number of days, weeks or years, such as 30d, 8w or 10y')
  .transform((text) => Number(text.slice(0, -1)) * UNITS_MS[text.slice(-1) as keyof typeof UNITS_MS]) // as it matched

/** How long what is kept, counted from a run's end. */
const retentionRule = z
  .strictObject({
    /** Of the agent or plan; `*` stands for any letters. */
    name: z.string().min(1).max(128).optional(),
    status: runStatus.extract(['succeeded', 'failed', 'cancelled']).optional(),
    /** The tenant; all unless given. */
    tenant: z.string().min(1).max(64).optional(),
    content: term.optional(),
    /** What it has left in sessions and facts. */
    memory: term.optional(),
    run: term.optional(),
  })
  .refine(({ content = 0, run = content }) => content <= run, {
    message: 'content goes with its run at the latest',
    path: ['content'],
  })
  .refine(({ memory = 0, run = memory }) => memory <= run, {
    message: 'memory goes with its run at the latest: nothing tells any more what a removed run has left',
    path: ['memory'],
  })
export type RetentionRule = z.infer<typeof retentionRule>

/** The first that matches a run holds; what none matches, or has no term, is kept for ever. */
export const retentionRules = z.array(retentionRule).max(100)

/** Of how many of a tenant's runs something is past its time: content, what they have left in memory, the whole; and what holds keep. */
const retentionDue = z.object({
  content: z.number(),
  memory: z.number(),
  runs: z.number(),
  held: z.number(),
  /** Runs of these that could not be expired and are tried again; 200 at most. */
  failing: z.number(),
  /** Runs old enough for a term that were looked at; with `more` there are others. */
  looked: z.number(),
  more: z.literal(true).optional(),
  /** For how long it has been, of what is not held, that which was due first, ms; 0 where there is nothing. */
  overdueMs: z.number(),
})
export type RetentionDue = z.infer<typeof retentionDue>

/** The rules that a tenant's runs are kept by, in their order, terms in ms, and what is due. */
export const retentionState = z.object({
  rules: z.array(
    z.object({
      name: z.string().optional(),
      status: z.string().optional(),
      content: z.number().optional(),
      memory: z.number().optional(),
      run: z.number().optional(),
    }),
  ),
  due: retentionDue,
})
export type RetentionState = z.infer<typeof retentionState>

/** Runs that were removed whole, the oldest first. */
export const removedRuns = z.object({
  removed: z.array(z.object({ run: z.string(), erased })),
  cursor: z.string().optional(),
})
export type RemovedRuns = z.infer<typeof removedRuns>

/** The place of the rule that holds for a run. */
export function ruleFor(
  rules: readonly RetentionRule[],
  run: { tenant: string; name: string; status: string },
): number | undefined {
  const place = rules.findIndex(
    ({ name, status, tenant }) =>
      (tenant === undefined || tenant === run.tenant) &&
      (status === undefined || status === run.status) &&
      (name === undefined || matches(name, run.name)),
  )
  return place < 0 ? undefined : place
}

function matches(glob: string, name: string): boolean {
  const [first = '', ...rest] = glob.split('*')
  if (rest.length === 0) return glob === name
  if (!name.startsWith(first)) return false
  let at = first.length
  const last = rest.pop() ?? ''
  for (const part of rest) {
    const found = name.indexOf(part, at)
    if (found < 0) return false
    at = found + part.length
  }
  return name.length - last.length >= at && name.endsWith(last)
}

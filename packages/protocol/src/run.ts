import { z } from 'zod'
import { approvalRule } from './approval.ts'
import { stop } from './budget.ts'
import { json, label, limits, name } from './definition.ts'
import { actor, priority, stepError, usage } from './entry.ts'
import { planData } from './plan.ts'

export const runStatus = z.enum(['queued', 'running', 'waiting', 'succeeded', 'failed', 'cancelled'])
export type RunStatus = z.infer<typeof runStatus>

export function isEnded(status: RunStatus): boolean {
  return status === 'succeeded' || status === 'failed' || status === 'cancelled'
}

/** Whom content is about. */
export const subjectName = z.string().min(1).max(128)

/** Body of `POST /v1/runs`: an agent, a plan by name, or a plan as data. */
export const startRun = z
  .strictObject({
    agent: name.optional(),
    plan: z.union([name, planData]).optional(),
    /** The newest version that a worker carries, unless given. */
    version: z.string().max(64).optional(),
    input: json.default({}),
    /** Runs of one session share its conversation. */
    session: z.string().min(1).max(128).optional(),
    /** Whom its content is about: a pseudonym, such as a customer's number. It stays when the content is erased. */
    subject: subjectName.optional(),
    /** Labels of the input, besides those that the definition declares. */
    labels: z.array(label).max(32).optional(),
    limits: limits.optional(),
    /** `normal` unless given: which of a tenant's and of all tenants' queued runs are taken first. */
    priority: priority.optional(),
  })
  .refine((body) => (body.agent === undefined) !== (body.plan === undefined), { message: 'give either agent or plan' })
export type StartRun = z.infer<typeof startRun>

/** Most bytes in the body of a request. */
export const BODY_BYTES_MAX = 1024 * 1024
/** Most runs in the body of `POST /v1/runs/batch`. */
export const BATCH_RUNS_MAX = 1000

/** One run of `POST /v1/runs/batch`. */
export const batchedRun = startRun.safeExtend({
  /** The same key and request give the same run, as the header `Idempotency-Key` does for one. */
  idempotencyKey: z
    .string()
    .min(1)
    .max(256)
    // A header cannot have one either: keys of our own begin with it.
    .regex(/^[^\n]*$/, 'no line feed')
    .optional(),
})
export type BatchedRun = z.infer<typeof batchedRun>

/** What a run waits for, with what an approver is shown and its digest. */
export const waiting = z.object({
  step: z.string(),
  for: z.enum(['approval', 'callback', 'child', 'doubt', 'signal', 'timer']),
  role: z.string().optional(),
  /** What an answer takes, where it is more than one person with the role. */
  rule: approvalRule.optional(),
  /** The role that may answer as well by now. */
  escalated: z.string().optional(),
  /** Who has approved, where more people must. */
  approvals: z
    .array(z.object({ by: z.string(), hands: z.array(z.string()).optional(), role: z.string(), at: z.number() }))
    .optional(),
  child: z.string().optional(),
  /** When the wait ends by itself, ms since the epoch. */
  until: z.number().optional(),
  /** What the step acts on; of one that waits for a signal, the signal's name. */
  target: z.string(),
  shown: json.optional(),
  digest: z.string().optional(),
})
export type Waiting = z.infer<typeof waiting>

/** Whether a person is to answer; see `POST /v1/runs/{id}/approvals`. */
export function isForPerson({ for: reason }: Pick<Waiting, 'for'>): boolean {
  return reason === 'approval' || reason === 'doubt'
}

/** Whether an approver may change what is shown: where that is what a tool would be called with. */
export function isEditable(reason: Waiting['for'], kind: string | undefined): boolean {
  return reason === 'approval' && kind === 'tool'
}

/**
 * That a run's content was erased, or that it was removed: when (ms since the epoch), and by an `erasure` or a rule of
 * `retention`, with the id of the one or the place of the other, and who asked.
 */
export const erased = z.object({
  at: z.number(),
  by: z.enum(['erasure', 'retention']),
  id: z.string().optional(),
  user: z.string().optional(),
})
export type Erased = z.infer<typeof erased>

/** A run as clients see it. Times are milliseconds since the Unix epoch; money is US dollars. */
export const run = z.object({
  id: z.string(),
  tenant: z.string(),
  status: runStatus,
  kind: z.enum(['agent', 'plan']),
  name: z.string(),
  version: z.string(),
  session: z.string().optional(),
  subject: z.string().optional(),
  parent: z.object({ run: z.string(), step: z.string(), until: z.enum(['ended', 'parked', 'started']) }).optional(),
  /** The run that it was begun from. */
  origin: z.object({ run: z.string(), seq: z.number(), hash: z.string(), step: z.string().optional() }).optional(),
  by: actor,
  createdAt: z.number(),
  startedAt: z.number().optional(),
  endedAt: z.number().optional(),
  input: json.optional(),
  /** The plan, where it came with the run. */
  plan: json.optional(),
  output: json.optional(),
  error: stepError.optional(),
  /** Why its input and output are not there any more. */
  erased: erased.optional(),
  /** Since when and by whom it is paused. */
  paused: z.object({ at: z.number(), by: actor }).optional(),
  /** What holds it back until that is lifted: see `GET /v1/stops`. */
  stopped: z.array(stop).optional(),
  /** Why it is not taken up, where no worker that lives could, or why it does not go on though nothing is under way. */
  heldUp: stepError.optional(),
  waiting: z.array(waiting),
  labels: z.array(label),
  steps: z.number().int(),
  usage,
  costUsd: z.number(),
  /** The fencing token of the last activation: how often a worker took the run. */
  epoch: z.number().int(),
  /** Entries in the journal, and the hash of the last. */
  entries: z.number().int(),
  head: z.string(),
})
export type Run = z.infer<typeof run>

/** A run in a list: without content. */
export const runSummary = run.pick({
  id: true,
  tenant: true,
  status: true,
  kind: true,
  name: true,
  version: true,
  session: true,
  subject: true,
  parent: true,
  createdAt: true,
  endedAt: true,
  costUsd: true,
  steps: true,
  error: true,
})
export type RunSummary = z.infer<typeof runSummary>

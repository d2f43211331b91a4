import { z } from 'zod'
import { approvalRule } from './approval.ts'
import { effect, json, label, limits, name } from './definition.ts'
import { guardrailCounts } from './guardrail.ts'
import { redactCounts } from './redact.ts'

/** SHA-256 as 64 lowercase hexadecimal digits. */
export const digest = z.string().regex(/^[0-9a-f]{64}$/)

/** Who asked: the API key's id, and the person it belongs to, or the service where it says so; and of which team. */
export const actor = z.object({
  key: z.string(),
  user: z.string(),
  service: z.literal(true).optional(),
  team: z.string().optional(),
  /** Whose hands the key's secret has come through, the holder of a key of the file first; see `areApart`. */
  hands: z.array(z.string()).optional(),
})
export type Actor = z.infer<typeof actor>

/** Of a route with several targets: which one answered, and why those before it did not, by the codes of their errors. */
export const via = z.object({
  target: z.string(),
  passed: z.array(z.object({ target: z.string(), code: z.string() })).optional(),
  /** Where the target is, by its configuration. */
  region: z.string().optional(),
  /** How it was chosen, where that is not as listed; `sticky`: with the same key as others before. */
  order: z.enum(['weighted', 'cheapest', 'fastest']).optional(),
  sticky: z.literal(true).optional(),
  /** Targets that were asked at the same time and did not begin first. */
  hedged: z.array(z.string()).optional(),
})
export type Via = z.infer<typeof via>

export const stepError = z.object({ code: z.string(), message: z.string() })
export type StepError = z.infer<typeof stepError>

const decisionEffect = z.enum(['allow', 'deny', 'ask'])

/** Somewhere a model call may go, and whether it may. */
const decisionTarget = z.object({
  /** As `via` names it. */
  name: z.string(),
  provider: z.string(),
  model: z.string(),
  /** Empty where it is not known. */
  region: z.string(),
  effect: decisionEffect,
  policies: z.array(z.string()),
  errors: z.array(z.string()).optional(),
})
export type DecisionTarget = z.infer<typeof decisionTarget>

/** What governance said of a step, and which policies of which set said it. */
export const decision = z.object({
  effect: decisionEffect,
  policies: z.array(z.string()),
  /** Hash of the policy set. */
  set: z.string(),
  /** With `ask`: the role that may approve. */
  role: z.string().optional(),
  /** With `ask`: what that takes, where it is more than one person. */
  rule: approvalRule.optional(),
  /** Policies that failed to evaluate; any of them makes the decision a deny. */
  errors: z.array(z.string()).optional(),
  /** What it would have been with the log-only policies, where that is another effect. */
  trial: z
    .object({
      effect: decisionEffect,
      policies: z.array(z.string()),
      role: z.string().optional(),
      errors: z.array(z.string()).optional(),
    })
    .optional(),
  /** Of a tool's call: the policies were told that the tool is not as it was approved. */
  unapproved: z.literal(true).optional(),
  /** And that data goes where none is known to go. */
  newDestination: z.literal(true).optional(),
  /** What of the past it was decided by, where policies asked: the values of their terms of history. */
  history: z.record(z.string(), json).optional(),
  /** Of a model call, where policies look at where it goes: the targets of its route, each decided on. */
  targets: z.array(decisionTarget).optional(),
})
export type Decision = z.infer<typeof decision>

export const usage = z.object({
  inputTokens: z.number(),
  outputTokens: z.number(),
  cachedTokens: z.number(),
  /** Of the input tokens: what was written to a vendor's cache, where it says so, and of that what it keeps for long. */
  cacheWriteTokens: z.number().optional(),
  longCacheWriteTokens: z.number().optional(),
  /** Of the output tokens: what the model thought, where it says so. */
  reasoningTokens: z.number().optional(),
})
export type Usage = z.infer<typeof usage>

export const stepKind = z.enum(['model', 'tool', 'code', 'agent', 'memory', 'approval', 'signal', 'timer', 'map'])
export type StepKind = z.infer<typeof stepKind>

/** `skipped`: it never began, since its condition does not hold or what it needs has not ended well. */
export const stepStatus = z.enum(['ok', 'failed', 'denied', 'cancelled', 'skipped'])
export type StepStatus = z.infer<typeof stepStatus>

/** Before what else that waits a run is taken up: a higher one first, though a lower one is never shut out. */
export const priority = z.enum(['high', 'normal', 'low'])
export type Priority = z.infer<typeof priority>

/**
 * Newest version of the entries' format; all before it are read as they are. An entry has the oldest version that knows
 * what it says, so that workers of an earlier Muster go on with every run that uses nothing new.
 *
 * 2: `callback.received`, steps that wait for a callback, `run.checkpoint`, `redacted`.
 * 3: approvals with a rule, an edit, or more than one person; `approval.escalated`; child runs with a share of what runs
 * above them may use; `run.stopped`, `run.lifted`; decisions by `history`, or with `trial`,
 * `unapproved`, `newDestination` or `targets`; runs with a `subject`, or begun by somebody of a `team`; tokens of reasoning; answers `via` one of several targets (of a
 * region, by an order, sticky or hedged).
 * 4: a step that gives a large signal as it came has no content of its own.
 */
export const ENTRY_VERSION = 4
export type EntryVersion = 1 | 2 | 3 | 4

const head = {
  v: z.literal([1, 2, 3, 4]),
  /** Position in the run's journal, from 1. */
  seq: z.number().int().positive(),
  /** Milliseconds since the Unix epoch. */
  at: z.number().int(),
  /**
   * Digest of the content that lies beside the entry: SHA-256(salt || JSON). It is the input of a run
   * or an intent, what a waiting step shows, the output of what succeeded, the input of what was denied.
   */
  content: digest.optional(),
}

/** The entry's place in the run that this one was begun from. */
const copied = z.number().int().positive().optional()

/** How often each kind of personal data or secret was taken out of the content, where any was. */
const redacted = redactCounts.optional()

/** One step's place in the graph and what it acts on: the part that intents and outcomes share. */
const subject = {
  step: z.string(),
  kind: stepKind,
  /** Tool name, model route, agent name@version, or memory operation. */
  target: z.string(),
  attempt: z.number().int().positive(),
  labels: z.array(label),
}

/**
 * One transition of a run. The journal holds nothing else: recovery, trace, billing and audit all
 * read these. Content (inputs and outputs) lies beside the entry, so that it can be erased while the
 * chain still verifies.
 */
export const entry = z.discriminatedUnion('type', [
  z.object({
    ...head,
    type: z.literal('run.created'),
    run: z.string(),
    tenant: z.string(),
    definition: z.object({ kind: z.enum(['agent', 'plan']), name: z.string(), version: z.string(), hash: z.string() }),
    by: actor,
    /** Who started this run, and until when it waits: for its end, for that or a person, or not at all. */
    parent: z.object({ run: z.string(), step: z.string(), until: z.enum(['ended', 'parked', 'started']) }).optional(),
    session: z.string().optional(),
    /** Whom its content is about, as a pseudonym: it stays when the content is erased. */
    subject: z.string().optional(),
    /** The run that it was begun from: cut after an entry, which has this hash; `step` is done anew. */
    origin: z
      .object({ run: z.string(), seq: z.number().int().positive(), hash: digest, step: z.string().optional() })
      .optional(),
    /** The schedule that started it, and for which time. */
    schedule: z.object({ id: z.string(), at: z.number() }).optional(),
    labels: z.array(label),
    limits,
    /** Runs above it whose money and tokens it uses too, and what each has in all. */
    shares: z
      .array(z.object({ run: z.string(), usd: z.number().optional(), tokens: z.number().optional() }))
      .optional(),
    /** `normal` where it is absent. */
    priority: priority.optional(),
    redacted,
  }),
  z.object({
    ...head,
    type: z.literal('run.activated'),
    /** The fencing token of this activation. */
    epoch: z.number().int().positive(),
    worker: z.string(),
    /** Content hash of the code that the worker carries. */
    app: z.string(),
  }),
  z.object({
    ...head,
    type: z.literal('step.intent'),
    ...subject,
    effect,
    /** What the outside may use to recognise a repeat. */
    idempotencyKey: z.string(),
    decision,
    /** For a model call: digest of the request as sent, salted with the run's salt. */
    request: digest.optional(),
    redacted,
  }),
  z.object({
    ...head,
    type: z.literal('step.ended'),
    ...subject,
    status: stepStatus,
    /** Present where no intent came before: a `pure` step, or one that was denied. */
    decision: decision.optional(),
    durationMs: z.number(),
    usage: usage.optional(),
    costUsd: z.number().optional(),
    /** Which model answered, as the provider names it. */
    model: z.string().optional(),
    via: via.optional(),
    /** What a guardrail has found in what was sent and given, by kind; it is masked. */
    guardrail: guardrailCounts.optional(),
    /** True where no model was asked: an identical call had this answer. */
    cached: z.literal(true).optional(),
    error: stepError.optional(),
    /** True where the failed attempt will be tried again. */
    retry: z.boolean().optional(),
    /** Labels that the step's tool, a named declassifier, took off. */
    declassified: z.array(label).optional(),
    /** The signal that the step took: the place of its `signal.received`, whose content is the output where there is none here. */
    signal: z.number().int().optional(),
    redacted,
    copied,
  }),
  z.object({
    ...head,
    type: z.literal('step.waiting'),
    ...subject,
    for: z.enum(['approval', 'callback', 'child', 'doubt', 'signal', 'timer']),
    decision: decision.optional(),
    role: z.string().optional(),
    /** What an answer takes, where it is more than one person with the role. */
    rule: approvalRule.optional(),
    /** Who has approved exactly this already: by an edit. */
    given: z.array(z.string()).optional(),
    /** The child run that the step waits for. */
    child: z.string().optional(),
    /** When the wait ends by itself, ms since the epoch: a timer goes off, anything else times out. */
    until: z.number().int().optional(),
  }),
  z.object({
    ...head,
    type: z.literal('approval.given'),
    step: z.string(),
    verdict: z.enum(['approve', 'deny']),
    /** Digest of what was shown: the content of the `step.waiting` entry. */
    shown: digest,
    by: actor,
    /** The role that was asked. The content, where there is any, is `{reason, input}`: why, and what it was edited to. */
    role: z.string(),
    /** The role of whom it was escalated to, and who answered in its place. */
    as: z.string().optional(),
    /** So many people more must approve. */
    more: z.number().int().positive().optional(),
    /** It was approved with another input than was shown. */
    edited: z.literal(true).optional(),
    redacted,
  }),
  /** Nobody has answered for long: from here on another role may as well. */
  z.object({ ...head, type: z.literal('approval.escalated'), step: z.string(), role: z.string() }),
  z.object({
    ...head,
    type: z.literal('signal.received'),
    name,
    by: actor,
    /** Of the payload, which is the content. */
    labels: z.array(label),
    redacted,
    copied,
  }),
  z.object({
    ...head,
    type: z.literal('callback.received'),
    /** The step that its token names. */
    step: z.string(),
    /** Why the outside failed; without it the content is the step's output. */
    error: stepError.optional(),
    redacted,
  }),
  z.object({
    ...head,
    type: z.literal('plan.patched'),
    /** From here on the run's code takes the way that `step.patched` of this name opened. */
    patch: z.string(),
    copied,
  }),
  /** Its tenant, definition or the tool or model of a step is stopped: nothing begins until that is lifted. */
  z.object({
    ...head,
    type: z.literal('run.stopped'),
    stop: z.string(),
    by: z.string(),
    reason: z.string().optional(),
  }),
  z.object({ ...head, type: z.literal('run.lifted'), stop: z.string() }),
  z.object({
    ...head,
    type: z.literal('message.ignored'),
    /** What came from outside too late or twice. */
    about: z.enum(['approval', 'callback', 'child', 'lift', 'pause', 'resume']),
    /** Of an approval: nothing waits for it, it is for something else, the same person has answered, or may not. */
    why: z.enum(['late', 'mismatch', 'repeated', 'requester', 'invalid']).optional(),
    step: z.string().optional(),
    by: actor.optional(),
  }),
  /**
   * What the run goes on from: its content is the state that its plan gave, and what else there is to know of the steps
   * before it, which are not replayed any more. All of them have ended.
   */
  z.object({ ...head, type: z.literal('run.checkpoint'), labels: z.array(label) }),
  z.object({ ...head, type: z.literal('run.parked'), waiting: z.array(z.string()) }),
  /** All that the run takes over from its origin stands before this. */
  z.object({ ...head, type: z.literal('run.copied'), entries: z.number().int() }),
  /** From here on no step begins; what is under way ends. */
  z.object({ ...head, type: z.literal('run.paused'), by: actor }),
  z.object({ ...head, type: z.literal('run.resumed'), by: actor }),
  z.object({ ...head, type: z.literal('run.cancel_requested'), by: actor }),
  z.object({
    ...head,
    type: z.literal('run.ended'),
    status: z.enum(['succeeded', 'failed', 'cancelled']),
    error: stepError.optional(),
    labels: z.array(label),
    steps: z.number().int(),
    usage,
    costUsd: z.number(),
    redacted,
  }),
])
export type Entry = z.infer<typeof entry>
export type EntryType = Entry['type']
export type EntryOf<T extends EntryType> = Extract<Entry, { type: T }>
/** An entry before the journal gives it its place. */
export type NewEntry = { [T in EntryType]: Omit<EntryOf<T>, 'v' | 'seq' | 'content'> }[EntryType]

/** An entry as it is stored and proved: its exact bytes, its hash and the content beside it. */
export const storedEntry = z.object({
  seq: z.number().int().positive(),
  /** SHA-256(previous hash || bytes), both as text. */
  hash: digest,
  bytes: z.string(),
  /** Salt (22 characters) and JSON; absent when there is none or when it was erased. */
  content: z.string().optional(),
})
export type StoredEntry = z.infer<typeof storedEntry>

/** What a model has written since the last one: provisional, until the step's outcome is in the journal. */
const modelDelta = z.object({
  step: z.string(),
  /** What an earlier attempt wrote is void. */
  attempt: z.number().int().positive(),
  text: z.string(),
})
export type ModelDelta = z.infer<typeof modelDelta>

/** An entry as clients see it: parsed, with its content. */
export const runEvent = z.object({ seq: z.number().int().positive(), hash: digest, entry, content: json.optional() })
export type RunEvent = z.infer<typeof runEvent>

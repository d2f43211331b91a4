import { z } from 'zod'
import { kindName } from './redact.ts'

/** A JSON value; what steps take and give. */
export const json = z.json()
export type Json = z.infer<typeof json>

/** JSON Schema 2020-12, as zod writes it. */
export type JsonSchema = Record<string, unknown>
export const jsonSchema = z.record(z.string(), z.unknown())

export const name = z
  .string()
  .min(1)
  .max(128)
  .regex(/^[a-zA-Z0-9][a-zA-Z0-9._-]*$/, 'letters, digits, ".", "_" and "-" only')

/**
 * What a step does to the outside: `pure` nothing; `read` only looks; `write` may be repeated under
 * one idempotency key; `once` must never be repeated.
 */
export const effect = z.enum(['pure', 'read', 'write', 'once'])
export type Effect = z.infer<typeof effect>

/** An information-flow mark: `untrusted`, `pii`, `secret`, `tenant:x` or a user's own. */
export const label = z.string().min(1).max(64)
export type Label = z.infer<typeof label>

export const limits = z.object({
  /** Money in US dollars that the run's model calls may cost. */
  usd: z.number().positive().optional(),
  /** Steps that a run may take. */
  steps: z.number().int().positive().max(10_000_000).optional(),
  /** Input and output tokens together. */
  tokens: z.number().int().positive().optional(),
  /** Milliseconds from the run's first activation. */
  wallTimeMs: z.number().int().positive().optional(),
  /** Child runs that it may start; `CHILDREN_MAX` unless given. */
  children: z.number().int().nonnegative().max(100_000).optional(),
  /** Levels of child runs below it; `DEPTH_MAX` unless given. A child has one less than who started it. */
  depth: z.number().int().nonnegative().max(64).optional(),
})
/** Child runs of one run, where its limits do not say. */
export const CHILDREN_MAX = 10_000
/** Levels of child runs below a run, where its limits do not say. */
export const DEPTH_MAX = 8
export type Limits = z.infer<typeof limits>

export const toolManifest = z.object({
  name,
  description: z.string(),
  hash: z.string(),
  effect,
  labels: z.array(label),
  declassifies: z.array(label),
  /** Kinds of redacted values that it is given as they were. */
  reveals: z.array(kindName).optional(),
  /** Fields of its input that say where data goes, and where it may go. */
  sends: z.array(z.string()).optional(),
  destinations: z.array(z.string()).optional(),
  input: jsonSchema,
  output: jsonSchema,
})
export type ToolManifest = z.infer<typeof toolManifest>

/**
 * Which code goes on with a run: the same to the byte, or any of the same version. `content` where it is absent.
 */
export const pin = z.enum(['content', 'version'])
export type Pin = z.infer<typeof pin>

/** How much of its conversation an agent's model is sent. */
export const agentContext = z.strictObject({
  /** Tokens that a request may have; a run fails before it sends more. */
  maxTokens: z.number().int().min(1).max(1e9).optional(),
  /** Tokens from which on older turns are replaced by a summary; `COMPACT_SHARE` of `maxTokens` unless given. */
  compactAt: z.number().int().min(1).max(1e9).optional(),
  /** Turns of the model that stay as they are; `KEEP_LAST` unless given. */
  keepLast: z.number().int().min(1).max(1000).optional(),
  /** Characters of a tool's result that the model is sent. */
  trimToolResults: z.number().int().min(16).max(10_000_000).optional(),
})
export type AgentContext = z.infer<typeof agentContext>
/** Of the most that a request may have, where an agent does not say from when on it is summarised. */
export const COMPACT_SHARE = 0.8
/** Turns that no summary replaces, where an agent does not say. */
export const KEEP_LAST = 4

/** The longest that a model's answer is given again, ms. */
export const CACHE_MS_MAX = 30 * 86_400_000

const agentManifest = z.object({
  kind: z.literal('agent'),
  name,
  version: z.string(),
  hash: z.string(),
  model: z.string(),
  tools: z.array(name),
  /** Agents that it may ask, and those that it may hand its run to. */
  agents: z.array(name).optional(),
  handoffs: z.array(name).optional(),
  input: jsonSchema,
  output: jsonSchema,
  inputLabels: z.array(label),
  memory: z.object({ session: z.boolean(), facts: z.array(z.string()) }),
  limits,
  context: agentContext.optional(),
  /** How long what its model answers is given again to an identical call, ms. */
  cacheMs: z.number().int().positive().max(CACHE_MS_MAX).optional(),
  pin: pin.optional(),
})
export type AgentManifest = z.infer<typeof agentManifest>

const planManifest = z.object({
  kind: z.literal('plan'),
  name,
  version: z.string(),
  hash: z.string(),
  input: jsonSchema,
  /** Signals that its runs take, by name, with the schemas of their payloads. */
  signals: z.record(name, jsonSchema).optional(),
  /** Of a plan as data: its steps and what it gives, by which auditors see what each step was made of. */
  data: z.record(z.string(), json).optional(),
  inputLabels: z.array(label),
  limits,
  pin: pin.optional(),
})
export type PlanManifest = z.infer<typeof planManifest>

export const definitionManifest = z.discriminatedUnion('kind', [agentManifest, planManifest])
export type DefinitionManifest = z.infer<typeof definitionManifest>

/** What a run is pinned to, as text: `kind:name@version#content`, or `kind:name@version` for any content. */
export function pinOf({
  kind,
  name,
  version,
  hash,
}: Pick<DefinitionManifest, 'kind' | 'name' | 'version' | 'hash'>): string {
  const text = `${kind}:${name}@${version}`
  return hash === '' ? text : `${text}#${hash.slice(0, PIN_DIGITS)}`
}

/** What a worker carries of a definition, in the same text: any content of its version where it is pinned to that. */
export function carriedPin({ kind, name, version, hash, pin }: DefinitionManifest): string {
  return pinOf({ kind, name, version, hash: pin === 'version' ? '' : hash })
}

/** Whether one of what is carried goes on with what is pinned. */
export function isCarried(pinned: string, carried: ReadonlySet<string>): boolean {
  // Of a job from before pins named their kind: of either.
  if (!pinned.includes(':')) return ['agent', 'plan'].some((kind) => isCarried(`${kind}:${pinned}`, carried))
  const version = pinned.replace(/#.*$/, '')
  if (carried.has(pinned) || carried.has(version)) return true
  // Pinned to no content: any will do.
  return version === pinned && [...carried].some((other) => other.startsWith(`${version}#`))
}

const PIN_DIGITS = 12

/** What is told of a run whose plan's code waits for what is none of its steps. */
export function astrayText({ name, version }: { name: string; version: string }): string {
  return `plan ${name}@${version} waits for something that is none of its steps, and nobody sees to it that it comes: await what \`step\` gives, and put other work into step.run(name, () => …)`
}

/** A worker that lives. Times are ms since the epoch. */
export const workerInfo = z.object({
  name: z.string(),
  /** When it last said so. */
  seenAt: z.number(),
  startedAt: z.number(),
  /** Runs that it holds, and may hold. */
  held: z.number(),
  /** Runs that it held and lost to others since it started, because it was held up for longer than its lock. */
  fenced: z.number().default(0),
  concurrency: z.number(),
  /** What it carries, as `kind:name@version#content`, or `kind:name@version` where any content of that version will do. */
  definitions: z.array(z.string()),
  /** Runs that it holds whose plan's code waits for what is none of its steps; not all where there are many. */
  astray: z.array(z.string()).default([]),
  /** Runs that it could not go on with and leaves alone for a while, and why; not all where there are many. */
  failing: z
    .array(z.object({ run: z.string(), error: z.object({ code: z.string(), message: z.string() }) }))
    .default([]),
})
export type WorkerInfo = z.infer<typeof workerInfo>

/** What all may know of it: which runs it has trouble with is told with each, to its own tenant. */
export const workerSummary = workerInfo.omit({ astray: true, failing: true })
export type WorkerSummary = z.infer<typeof workerSummary>

/**
 * What goes on behind the runs: ended runs into the archive, events to webhooks and their deliveries, heads into ledgers,
 * and runs that are taken up at a time.
 */
export const OUTBOXES = ['archive', 'webhooks', 'deliveries', 'ledger', 'wake'] as const

/** What one of them has not done yet, of all tenants. */
export const outboxLag = z.object({
  outbox: z.enum(OUTBOXES),
  /** Records in Redis that wait or are being done; of `wake`, runs whose time has passed. */
  waiting: z.number(),
  /** How long the oldest has waited, ms; 0 where nothing does. */
  ageMs: z.number(),
})
export type OutboxLag = z.infer<typeof outboxLag>

/** What a worker carries: published at its start, so that the server can validate without user code. */
export const appManifest = z.object({
  hash: z.string(),
  definitions: z.array(definitionManifest),
  tools: z.array(toolManifest),
})
export type AppManifest = z.infer<typeof appManifest>

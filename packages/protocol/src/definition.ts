import { z } from 'zod'

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
  steps: z.number().int().positive().max(100_000).optional(),
  /** Input and output tokens together. */
  tokens: z.number().int().positive().optional(),
  /** Milliseconds from the run's first activation. */
  wallTimeMs: z.number().int().positive().optional(),
})
export type Limits = z.infer<typeof limits>

export const toolManifest = z.object({
  name,
  description: z.string(),
  hash: z.string(),
  effect,
  labels: z.array(label),
  declassifies: z.array(label),
  input: jsonSchema,
  output: jsonSchema,
})
export type ToolManifest = z.infer<typeof toolManifest>

export const agentManifest = z.object({
  kind: z.literal('agent'),
  name,
  version: z.string(),
  hash: z.string(),
  model: z.string(),
  tools: z.array(name),
  input: jsonSchema,
  output: jsonSchema,
  inputLabels: z.array(label),
  memory: z.object({ session: z.boolean(), facts: z.array(z.string()) }),
  limits,
})
export type AgentManifest = z.infer<typeof agentManifest>

export const planManifest = z.object({
  kind: z.literal('plan'),
  name,
  version: z.string(),
  hash: z.string(),
  input: jsonSchema,
  /** Signals that its runs take, by name, with the schemas of their payloads. */
  signals: z.record(name, jsonSchema).optional(),
  inputLabels: z.array(label),
  limits,
})
export type PlanManifest = z.infer<typeof planManifest>

export const definitionManifest = z.discriminatedUnion('kind', [agentManifest, planManifest])
export type DefinitionManifest = z.infer<typeof definitionManifest>

/** A worker that lives. Times are ms since the epoch. */
export const workerInfo = z.object({
  name: z.string(),
  /** When it last said so. */
  seenAt: z.number(),
  startedAt: z.number(),
  /** Runs that it holds, and may hold. */
  held: z.number(),
  concurrency: z.number(),
  /** What it carries, as `name@version`. */
  definitions: z.array(z.string()),
})
export type WorkerInfo = z.infer<typeof workerInfo>

/** What a worker carries: published at its start, so that the server can validate without user code. */
export const appManifest = z.object({
  hash: z.string(),
  definitions: z.array(definitionManifest),
  tools: z.array(toolManifest),
})
export type AppManifest = z.infer<typeof appManifest>

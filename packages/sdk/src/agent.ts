import { hash } from 'node:crypto'
import {
  type AgentContext,
  type AgentManifest,
  agentContext,
  CACHE_MS_MAX,
  type Label,
  type Limits,
  limits as limitsSchema,
  MusterError,
  name,
  type Pin,
} from '@muster/protocol'
import { type Tool, toJsonSchema } from '@muster/tools'
import ms, { type StringValue } from 'ms'
import { z } from 'zod'

/** Limits as a developer writes them: `wallTime` in words, such as '10m'. */
export interface LimitOptions {
  usd?: number
  steps?: number
  tokens?: number
  wallTime?: StringValue
  /** Child runs that it may start; 10,000 unless given. */
  children?: number
  /** Levels of child runs below it; 8 unless given. */
  depth?: number
}

export interface AgentOptions<Name extends string, Input extends z.ZodType, Output extends z.ZodType> {
  name: Name
  version: string
  /** A route: which vendor's model answers is configuration. */
  model: string
  instructions: string
  tools?: readonly Tool[]
  /** What it is for, as other agents are told that may ask it. */
  description?: string
  /** Agents that it may ask: each runs as a child run on what the model writes, and its answer comes back. */
  agents?: readonly Agent[]
  /** Agents that it may hand its run to: one goes on with the conversation, and its answer is the run's. */
  handoffs?: readonly Agent[]
  /** `session`: turns of the same session are remembered; `facts`: kinds of facts that it may find and save. */
  memory?: { session?: boolean; facts?: readonly string[] }
  limits?: LimitOptions
  /** How much of a long conversation its model is sent: see `docs/guides/context.md`. All of it, unless given. */
  context?: AgentContext
  /**
   * Identical calls of its model, of the same tenant and subject, are answered as the first was, for so long: for an agent
   * whose calls are deterministic. Without it every call is made.
   */
  cache?: { ttl: StringValue }
  /** What a run takes; text unless given. */
  input?: Input
  /** What a run gives; text unless given. With a schema, the model must answer in JSON that matches. */
  output?: Output
  /** Marks of every input: `untrusted` when strangers write it. */
  inputLabels?: readonly Label[]
  /** `content` (unless given): only the code that began a run goes on with it. `version`: any code of its version does. */
  pin?: Pin
}

export interface Agent<
  Name extends string = string,
  Input extends z.ZodType = z.ZodType,
  Output extends z.ZodType = z.ZodType,
> {
  readonly kind: 'agent'
  readonly name: Name
  readonly version: string
  readonly model: string
  readonly instructions: string
  readonly description: string
  readonly tools: readonly Tool[]
  readonly agents: readonly Agent[]
  readonly handoffs: readonly Agent[]
  readonly input: Input
  readonly output: Output
  readonly manifest: AgentManifest
}

/**
 * Defines an agent: a model with instructions and tools, taking turns until it answers.
 *
 * @throws MusterError `definition.invalid` at definition time, naming what is wrong
 */
export function agent<
  const Name extends string,
  Input extends z.ZodType = z.ZodString,
  Output extends z.ZodType = z.ZodString,
>(options: AgentOptions<Name, Input, Output>): Agent<Name, Input, Output> {
  checkName('agent', options.name, options.version)
  const tools = options.tools ?? []
  const agents = options.agents ?? []
  const handoffs = options.handoffs ?? []
  const wire = new Map<string, string>()
  const wired: [wire: string, name: string][] = [
    ...tools.map(({ name }): [string, string] => [wireName(name), name]),
    ...agents.map(({ name }): [string, string] => [askName(name), name]),
    ...handoffs.map(({ name }): [string, string] => [handoffName(name), name]),
  ]
  for (const [wireName, name] of wired) {
    const other = wire.get(wireName)
    if (other !== undefined)
      throw new MusterError(
        'definition.invalid',
        `agent "${options.name}": "${other}" and "${name}" look the same to a model`,
      )
    wire.set(wireName, name)
  }
  // The default schema is the type parameter's default.
  const input = options.input ?? (z.string() as z.ZodType as Input)
  const output = options.output ?? (z.string() as z.ZodType as Output)
  const about = {
    kind: 'agent' as const,
    name: options.name,
    version: options.version,
    model: options.model,
    tools: tools.map((tool) => tool.name),
    ...(agents.length === 0 ? {} : { agents: agents.map((agent) => agent.name) }),
    ...(handoffs.length === 0 ? {} : { handoffs: handoffs.map((agent) => agent.name) }),
    input: toJsonSchema(input, 'input'),
    output: toJsonSchema(output, 'output'),
    inputLabels: [...(options.inputLabels ?? [])],
    memory: { session: options.memory?.session ?? false, facts: [...(options.memory?.facts ?? [])] },
    limits: parseLimits(options.name, options.limits),
    ...(options.context === undefined ? {} : { context: parseContext(options.name, options.context) }),
    ...(options.cache === undefined ? {} : { cacheMs: parseTtl(options.name, options.cache.ttl) }),
    ...(options.pin === undefined ? {} : { pin: options.pin }),
  }
  return {
    kind: 'agent',
    name: options.name,
    version: options.version,
    model: options.model,
    instructions: options.instructions,
    description: options.description ?? '',
    tools,
    agents,
    handoffs,
    input,
    output,
    manifest: {
      ...about,
      hash: hash(
        'sha256',
        JSON.stringify([
          about,
          options.instructions,
          tools.map((tool) => tool.manifest.hash),
          // What it tells the model of them; their own code is their own.
          ...[...agents, ...handoffs].map(({ name, version, description }) => [name, version, description]),
        ]),
        'hex',
      ),
    },
  }
}

/** A tool's name as vendors allow it in a model's function call: without dots. */
export function wireName(name: string): string {
  return name.replaceAll('.', '_')
}

/** By what a model asks another agent. */
export function askName(name: string): string {
  return `ask_${wireName(name)}`
}

/** By what a model hands its run to another agent. */
export function handoffName(name: string): string {
  return `transfer_to_${wireName(name)}`
}

function parseContext(of: string, options: AgentContext): AgentContext {
  const parsed = agentContext.safeParse(options)
  if (!parsed.success) throw invalid(of, 'context', parsed.error)
  const { maxTokens, compactAt } = parsed.data
  if (maxTokens !== undefined && compactAt !== undefined && compactAt > maxTokens)
    throw new MusterError('definition.invalid', `"${of}": context.compactAt: more than context.maxTokens`)
  return parsed.data
}

function parseTtl(of: string, ttl: StringValue): number {
  const ttlMs = ms(ttl) as number | undefined
  if (ttlMs === undefined || !(ttlMs >= 1) || ttlMs > CACHE_MS_MAX)
    throw new MusterError('definition.invalid', `"${of}": cache.ttl: a time such as '1h', of at most 30 days`)
  return Math.ceil(ttlMs)
}

export function checkName(kind: string, text: string, version: string): void {
  if (!name.safeParse(text).success)
    throw new MusterError('definition.invalid', `${kind} "${text}": a name has letters, digits, ".", "_" and "-"`)
  if (!/^[0-9A-Za-z][0-9A-Za-z.+-]{0,63}$/.test(version))
    throw new MusterError('definition.invalid', `${kind} "${text}": "${version}" is not a version`)
}

export function parseLimits(of: string, options: LimitOptions = {}): Limits {
  const { wallTime, ...rest } = options
  // ms gives undefined for what it cannot read; that must not become a run without a limit.
  const wallTimeMs = wallTime === undefined ? undefined : ((ms(wallTime) as number | undefined) ?? Number.NaN)
  if (Number.isNaN(wallTimeMs))
    throw new MusterError('definition.invalid', `"${of}": limits.wallTime: "${wallTime}" is no time, such as "10m"`)
  const parsed = limitsSchema.safeParse(wallTimeMs === undefined ? rest : { ...rest, wallTimeMs })
  if (parsed.success) return parsed.data
  throw invalid(of, 'limits', parsed.error)
}

function invalid(of: string, field: string, { issues }: z.ZodError): MusterError {
  const detail = issues.map(({ path, message }) => `${[field, ...path].join('.')}: ${message}`).join('; ')
  return new MusterError('definition.invalid', `"${of}": ${detail}`)
}

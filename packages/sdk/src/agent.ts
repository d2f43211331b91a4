import { hash } from 'node:crypto'
import {
  type AgentManifest,
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
}

export interface AgentOptions<Name extends string, Input extends z.ZodType, Output extends z.ZodType> {
  name: Name
  version: string
  /** A route: which vendor's model answers is configuration. */
  model: string
  instructions: string
  tools?: readonly Tool[]
  /** `session`: turns of the same session are remembered; `facts`: kinds of facts that it may find and save. */
  memory?: { session?: boolean; facts?: readonly string[] }
  limits?: LimitOptions
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
  readonly tools: readonly Tool[]
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
  const wire = new Map<string, string>()
  for (const { name } of tools) {
    const other = wire.get(wireName(name))
    if (other !== undefined)
      throw new MusterError(
        'definition.invalid',
        `agent "${options.name}": tools "${other}" and "${name}" look the same to a model`,
      )
    wire.set(wireName(name), name)
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
    input: toJsonSchema(input, 'input'),
    output: toJsonSchema(output, 'output'),
    inputLabels: [...(options.inputLabels ?? [])],
    memory: { session: options.memory?.session ?? false, facts: [...(options.memory?.facts ?? [])] },
    limits: parseLimits(options.name, options.limits),
    ...(options.pin === undefined ? {} : { pin: options.pin }),
  }
  return {
    kind: 'agent',
    name: options.name,
    version: options.version,
    model: options.model,
    instructions: options.instructions,
    tools,
    input,
    output,
    manifest: {
      ...about,
      hash: hash(
        'sha256',
        JSON.stringify([about, options.instructions, tools.map((tool) => tool.manifest.hash)]),
        'hex',
      ),
    },
  }
}

/** A tool's name as vendors allow it in a model's function call: without dots. */
export function wireName(name: string): string {
  return name.replaceAll('.', '_')
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
  const parsed = limitsSchema.safeParse(wallTimeMs === undefined ? rest : { ...rest, wallTimeMs })
  if (parsed.success) return parsed.data
  const detail = parsed.error.issues.map((issue) => `limits.${issue.path.join('.')}: ${issue.message}`).join('; ')
  throw new MusterError('definition.invalid', `"${of}": ${detail}`)
}

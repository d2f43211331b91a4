import { hash } from 'node:crypto'
import {
  copyJson,
  type Effect,
  type ErrorCode,
  effect,
  errorCatalog,
  issuesText,
  type Json,
  type JsonSchema,
  kindName,
  type Label,
  MusterError,
  name,
  type ToolManifest,
  VALUE_MAX,
  zodIssues,
} from '@muster/protocol'
import { z } from 'zod'

/** What is known of a call besides its input. */
export interface CallContext {
  /** Aborts on cancel, on timeout and when the worker has lost the run. */
  signal: AbortSignal
  /** The same for every attempt of the step: what the outside may use to recognise a repeat. */
  idempotencyKey: string
  /**
   * The fencing token of the worker that calls: higher for each that takes the run. An outside that keeps the highest it
   * has been shown for a run, and refuses a lower one, is not reached by a worker that was stopped and comes back late.
   */
  fencingToken: number
  run: string
  step: string
  tenant: string
}

/** What a tool is told of the call that it runs. */
export interface ToolContext extends CallContext {
  /**
   * For a step that goes on outside when `run` is over: gives a token by which the outside ends it. `run` returns
   * `later` in place of an output.
   *
   * @throws MusterError `config.invalid` where the worker has no secret to sign it
   */
  callback: (options?: CallbackOptions) => Promise<Callback>
  /**
   * Tells what the call has used elsewhere, in other runs say: it counts in the limits of this run and of those that it is
   * below, as what child runs use does, and in no budget of a tenant, an agent or a user. What is told again adds up.
   */
  spent: (what: Spent) => void
  /**
   * Tells whoever watches the run what the call is at, as a model's words are shown: the text is added to what was told
   * before. Provisional and never journaled; nothing is shown where values are redacted.
   */
  progress: (text: string) => void
}

/** Money in US dollars, and tokens. */
export interface Spent {
  usd?: number
  inputTokens?: number
  outputTokens?: number
  /** Of the input tokens. */
  cachedTokens?: number
}

export interface CallbackOptions {
  /** Milliseconds after which the step fails with `step.timeout`; without it, it waits as long as it takes. */
  timeoutMs?: number
}

/** By what the outside ends a step: `POST <url>` with `Authorization: Bearer <token>` and `{"output": …}` or `{"error": …}`. */
export interface Callback {
  token: string
  /** Where to; undefined where the deployment does not say how the outside reaches it. */
  url: string | undefined
  /** What `run` is to return. Its type fits any output. */
  later: never
}

/** The value of `Callback.later`. */
export const LATER = Symbol('later')

/** How attempts that fail in one way are repeated: after a random time below `baseMs * 2 ** (attempt - 1)`, at most `capMs`. */
export interface Backoff {
  baseMs?: number
  capMs?: number
  /** Attempts in all, where it is not the step's own number. */
  attempts?: number
}

/** By the error's code; `false` for never. */
export type Retries = Partial<Record<ErrorCode, Backoff | false>>

export interface ToolOptions<Name extends string, Input extends z.ZodType, Output extends z.ZodType> {
  /** Letters, digits, `.`, `_` and `-`; by habit `noun.verb`. */
  name: Name
  /** What it does, for the model that chooses it. */
  description?: string
  /** What it does to the outside; decides what happens after a crash. */
  effect: Effect
  input: Input
  output: Output
  /** Marks put on every output: `untrusted` for what strangers wrote. */
  labels?: readonly Label[]
  /** Marks that its output no longer carries, because it checks: use with care, auditors see it. */
  declassifies?: readonly Label[]
  /**
   * Kinds of redacted values (`email`, `iban`, a user's own) that `run` is given as they were, where they were kept as
   * tokens; the journal keeps the tokens.
   */
  reveals?: readonly string[]
  /** Names of top-level fields of its input that say where data goes: `['to']`. Policy is told when a value is not known. */
  sends?: readonly (keyof z.input<Input> & string)[]
  /** What is known: hosts, addresses or other names, `*.example.com`. A tenant's own are configuration. */
  destinations?: readonly string[]
  /** Milliseconds that one attempt may take; five minutes unless given. */
  timeoutMs?: number
  /** Milliseconds that the step may take from its first attempt on, with all attempts and the pauses between. */
  deadlineMs?: number
  /** Attempts in all; three unless given, one for effect `once`. */
  attempts?: number
  /** How attempts are repeated by the code of their error, where it is not as usual: `{'step.timeout': false}`. */
  retries?: Retries
  run: (input: z.output<Input>, context: ToolContext) => Promise<z.input<Output>> | z.input<Output>
  /** For effect `once` after a crash: finds out whether it happened, by its idempotency key. */
  reconcile?: (context: CallContext) => Promise<z.input<Output> | undefined>
  /** Takes back what a call did, by its input and its output, when a plan with `rollback` fails. It may be repeated under its idempotency key. */
  undo?: (input: z.output<Input>, output: z.output<Output>, context: CallContext) => Promise<void> | void
}

export interface Tool<
  Name extends string = string,
  Input extends z.ZodType = z.ZodType,
  Output extends z.ZodType = z.ZodType,
> {
  readonly kind: 'tool'
  readonly name: Name
  readonly description: string
  readonly effect: Effect
  readonly input: Input
  readonly output: Output
  readonly labels: readonly Label[]
  readonly declassifies: readonly Label[]
  readonly reveals: readonly string[] | undefined
  readonly timeoutMs: number
  readonly deadlineMs: number | undefined
  readonly attempts: number
  readonly retries: Retries | undefined
  readonly manifest: ToolManifest
  /** Checks an input against the schema and gives what `execute` takes; throws `input.invalid`. */
  prepare: (input: Json) => unknown
  /** Runs the tool on what `prepare` gave; gives its output, checked, as JSON text. At once where the tool does. */
  execute: (prepared: unknown, context: ToolContext) => Text | Promise<Text>
  /** Checks what a step that went on outside is called back with; gives it as JSON text; throws `output.invalid`. */
  receive: (output: Json) => string
  /** Both, for who has a tool and wants to try it. */
  call(input: Json, context: CallContext & Partial<ToolContext>): Promise<Json>
  /** Asks the outside whether a call under this key happened; undefined when it did not. Absent when the tool cannot tell. */
  reconcile: ((context: CallContext) => Promise<Json | undefined>) | undefined
  /** Takes back a call: by what `prepare` gave, and its output. Absent when it cannot be taken back. */
  undo: ((prepared: unknown, output: Json, context: CallContext) => Promise<void>) | undefined
}

/** An output as JSON text, or `LATER`. */
export type Text = string | typeof LATER

export type InputOf<T> = T extends { input: infer I extends z.ZodType } ? z.input<I> : never
export type OutputOf<T> = T extends { output: infer O extends z.ZodType } ? z.output<O> : never

/**
 * Defines a tool: what an agent or plan may do.
 *
 * @throws MusterError `definition.invalid` at definition time, naming what is wrong
 */
export function tool<const Name extends string, Input extends z.ZodType, Output extends z.ZodType>(
  options: ToolOptions<Name, Input, Output>,
): Tool<Name, Input, Output> {
  if (!name.safeParse(options.name).success) {
    throw new MusterError('definition.invalid', `tool "${options.name}": a name has letters, digits, ".", "_" and "-"`)
  }
  if (!effect.safeParse(options.effect).success) {
    throw new MusterError('definition.invalid', `tool "${options.name}": effect is one of ${effect.options.join(', ')}`)
  }
  if (options.reconcile && options.effect !== 'once') {
    throw new MusterError(
      'definition.invalid',
      `tool "${options.name}": only a tool with effect "once" needs reconcile`,
    )
  }
  if (options.undo && (options.effect === 'pure' || options.effect === 'read'))
    throw new MusterError(
      'definition.invalid',
      `tool "${options.name}": effect ${options.effect} leaves nothing to undo`,
    )
  const strange = options.reveals?.find((kind) => !kindName.safeParse(kind).success)
  if (strange !== undefined)
    throw new MusterError('definition.invalid', `tool "${options.name}": reveals: "${strange}" is no name of a kind`)
  for (const [code, backoff] of Object.entries(options.retries ?? {})) {
    const problem = !Object.hasOwn(errorCatalog, code)
      ? `"${code}" is no error code; the common ones are tool.failed, step.timeout, rate.limited`
      : backoff && problemOf(backoff)
    if (problem) throw new MusterError('definition.invalid', `tool "${options.name}": retries: ${problem}`)
  }
  const { reconcile, undo } = options
  const sends: readonly string[] = options.sends ?? []
  if (options.destinations && sends.length === 0)
    throw new MusterError(
      'definition.invalid',
      `tool "${options.name}": destinations need sends, the fields they are in`,
    )
  const describe = {
    name: options.name,
    description: options.description ?? '',
    effect: options.effect,
    labels: [...(options.labels ?? [])],
    declassifies: [...(options.declassifies ?? [])],
    ...(options.reveals === undefined ? {} : { reveals: [...options.reveals] }),
    ...(sends.length > 0 ? { sends: [...sends], destinations: [...(options.destinations ?? [])] } : {}),
    input: toJsonSchema(options.input, 'input'),
    output: toJsonSchema(options.output, 'output'),
  }
  const inputOf = `the input of ${options.name}`
  const outputOf = `the output of ${options.name}`
  const output = (value: unknown) => checkedText(options.output, value, 'output.invalid', outputOf)
  const textOf = (value: unknown): Text => (value === LATER ? LATER : output(value))
  // A copy, since the tool may change it; as the schema gives it, so that a date made of a string arrives as a date.
  const prepare = (input: Json) => parsed(options.input, copyJson(input), 'input.invalid', inputOf)
  const execute = (prepared: unknown, context: ToolContext) => {
    const value = options.run(prepared as z.output<Input>, context) // what `prepare` gave
    // Whatever `await` would wait for.
    return typeof (value as { then?: unknown } | null)?.then === 'function'
      ? Promise.resolve(value).then(textOf)
      : textOf(value)
  }
  return {
    ...describe,
    kind: 'tool',
    input: options.input,
    output: options.output,
    reveals: options.reveals,
    timeoutMs: options.timeoutMs ?? 300_000,
    deadlineMs: options.deadlineMs,
    retries: options.retries,
    attempts: options.attempts ?? (options.effect === 'once' ? 1 : 3),
    manifest: {
      ...describe,
      hash: hash('sha256', JSON.stringify([describe, String(options.run), ...(undo ? [String(undo)] : [])]), 'hex'),
    },
    prepare,
    execute,
    receive: output,
    async call(input, context) {
      const text = await execute(prepare(input), { callback: notHere, spent: () => {}, progress: () => {}, ...context })
      if (text === LATER) throw new MusterError('tool.failed', `${options.name} ends when it is called back`)
      return JSON.parse(text)
    },
    undo:
      undo &&
      (async (prepared, output, context) => {
        const value = parsed(options.output, output, 'output.invalid', outputOf)
        await undo(prepared as z.output<Input>, value, context) // what `prepare` gave
      }),
    reconcile:
      reconcile &&
      (async (context) => {
        const value = await reconcile(context)
        return value === undefined ? undefined : JSON.parse(output(value))
      }),
  }
}

async function notHere(): Promise<never> {
  throw new MusterError('tool.failed', 'a callback needs a run')
}

function problemOf({ baseMs = 1, capMs = 1, attempts = 1 }: Backoff): string | undefined {
  return baseMs > 0 && capMs > 0 && Number.isInteger(attempts) && attempts > 0
    ? undefined
    : 'baseMs and capMs are above 0, attempts is a whole number above 0'
}

/** The schema as JSON Schema 2020-12; what it cannot express (a transform, say) is left open. */
export function toJsonSchema(schema: z.ZodType, io: 'input' | 'output'): JsonSchema {
  // zod types the result as its own schema type; it is plain JSON.
  return z.toJSONSchema(schema, { io, unrepresentable: 'any' }) as JsonSchema
}

type InvalidCode = 'input.invalid' | 'output.invalid'

/** Parses a value by a schema and gives JSON, or throws with the path of each mistake. */
export function checked(schema: z.ZodType, value: unknown, code: InvalidCode, what: string): Json {
  return JSON.parse(checkedText(schema, value, code, what))
}

/** What goes into the journal is JSON text; undefined fields vanish here and come back nowhere. */
function checkedText(schema: z.ZodType, value: unknown, code: InvalidCode, what: string): string {
  const text = JSON.stringify(parsed(schema, value, code, what)) ?? 'null'
  if (text.length > VALUE_MAX)
    throw new MusterError(code, `${what} is larger than 4 MB: keep it elsewhere and pass a reference`)
  return text
}

function parsed<S extends z.ZodType>(schema: S, value: unknown, code: InvalidCode, what: string): z.output<S> {
  const result = schema.safeParse(value)
  if (result.success) return result.data
  const issues = zodIssues(result.error)
  throw new MusterError(code, `${what} does not match its schema: ${issuesText(issues)}`, { issues })
}

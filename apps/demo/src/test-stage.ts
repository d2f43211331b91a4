import { randomUUID } from 'node:crypto'
import type { Tool } from '@muster/sdk'
import { type ClerkOutput, clerk, clerkOutput } from './clerk.ts'
import { answer, type ChatRequest } from './index.ts'
import { decide } from './test-policy.ts'

type Message = ChatRequest['messages'][number]
interface Output {
  output: unknown
  labels: ReadonlySet<string>
}

export interface StageOptions {
  approvals?: readonly string[]
  /** Vendor facts, kept from run to run. */
  memory?: Map<string, unknown>
  /** A tool that fails. */
  broken?: string
  /** Without it the shipped policies decide. */
  lawless?: boolean
}

export interface Played {
  status: 'ended' | 'waiting'
  output: ClerkOutput | undefined
  /** Role that is waited for. */
  role: string | undefined
  tools: string[]
}

/**
 * Plays the script as the runtime would, in process: tools are the real ones, the policies the shipped
 * ones, labels join as design.md §8 says. No journal, no queue.
 */
export async function play(
  input: string | { file: string; folder?: string },
  options: StageOptions = {},
): Promise<Played> {
  const run = randomUUID()
  const messages: Message[] = [
    { role: 'system', content: clerk.instructions },
    { role: 'user', content: typeof input === 'string' ? input : JSON.stringify(input) },
  ]
  const steps = new Map<string, Output>([['#/input', { output: input, labels: new Set(['untrusted']) }]])
  const seen = new Set<string>(['untrusted'])
  const used: string[] = []
  const tools = clerk.tools.map(({ name }) => ({ function: { name: name.replaceAll('.', '_') } }))
  for (let turn = 1; turn < 20; turn++) {
    const reply = answer(JSON.parse(JSON.stringify({ messages, tools })))
    if ('content' in reply) {
      return { status: 'ended', output: clerkOutput.parse(JSON.parse(reply.content)), role: undefined, tools: used }
    }
    if ('error' in reply) throw new Error(reply.error)
    for (const call of reply.toolCalls) {
      used.push(call.name)
      const id = `${turn}.${call.name}`
      const result = await execute(call, { run, id, steps, seen, options })
      if ('waiting' in result) return { status: 'waiting', output: undefined, role: result.waiting, tools: used }
      const text = JSON.stringify(call.arguments)
      messages.push({
        role: 'assistant',
        content: null,
        tool_calls: [{ id, function: { name: call.name, arguments: text } }],
      })
      messages.push({ role: 'tool', tool_call_id: id, content: JSON.stringify(result) })
    }
  }
  throw new Error('the script does not come to an end')
}

interface Stage {
  run: string
  id: string
  steps: Map<string, Output>
  seen: Set<string>
  options: StageOptions
}

type Result = { waiting: string } | { ref: string; output: unknown } | { error: { code: string; message: string } }

async function execute(
  { name, arguments: args }: { name: string; arguments: Record<string, unknown> },
  { run, id, steps, seen, options }: Stage,
): Promise<Result> {
  const fail = (code: string, message: string) => ({ error: { code, message } })
  if (name === options.broken) return fail('tool.failed', 'it is broken')
  const { input, labels } = resolve(args, steps, seen)
  if (name === 'memory_find') return done({ value: options.memory?.get(String(input.subject)) ?? null }, ['untrusted'])
  if (name === 'memory_save') {
    options.memory?.set(String(input.subject), input.value)
    return done({ saved: true }, [])
  }
  const tool: Tool | undefined = clerk.tools.find((tool) => tool.name.replaceAll('.', '_') === name)
  if (tool === undefined) return fail('tool.not_found', name)
  const resource = { type: 'Tool', name: tool.name, effect: tool.effect }
  const decision = decide({
    action: 'tool:call',
    resource,
    labels: [...labels],
    approvals: options.approvals ?? [],
    input,
  })
  if (!options.lawless) {
    if (decision.effect === 'ask') return { waiting: 'controller' }
    if (decision.effect === 'deny') return fail('policy.denied', `denied by ${decision.policies.join(', ')}`)
  }
  try {
    const context = {
      signal: AbortSignal.timeout(5000),
      idempotencyKey: `${run}/${id}`,
      fencingToken: 1,
      run,
      step: id,
      tenant: 'test',
    }
    // Inputs come from JSON.
    const output = await tool.call(JSON.parse(JSON.stringify(input)), context)
    return done(
      output,
      [...labels, ...tool.labels].filter((label) => !tool.declassifies.includes(label)),
    )
  } catch (error) {
    return fail('tool.failed', error instanceof Error ? error.message : String(error))
  }

  function done(output: unknown, labels: readonly string[]): Result {
    const ref = `#/steps/${id}/output`
    steps.set(ref, { output, labels: new Set(labels) })
    for (const label of labels) seen.add(label)
    return { ref, output }
  }
}

/** Replaces references; a literal among the arguments brings in all labels that the model has seen. */
function resolve(args: Record<string, unknown>, steps: Stage['steps'], seen: Stage['seen']) {
  const labels = new Set<string>()
  const input: Record<string, unknown> = {}
  for (const [field, value] of Object.entries(args)) {
    const ref = typeof value === 'object' && value !== null && '$ref' in value ? String(value.$ref) : undefined
    if (ref === undefined) {
      input[field] = value
      for (const label of seen) labels.add(label)
      continue
    }
    const [, step = '', pointer = ''] = /^(#\/input|#\/steps\/[^/]+\/output)(?:\/(.*))?$/.exec(ref) ?? []
    const from = steps.get(step)
    if (from === undefined) throw new Error(`"${ref}" refers to nothing`)
    // What a tool gave is JSON: an object where a field is asked for.
    input[field] = pointer === '' ? from.output : (from.output as Record<string, unknown>)[pointer]
    for (const label of from.labels) labels.add(label)
  }
  return { input, labels }
}

import { joinLabels } from '@muster/governance'
import type { Memory, Turn } from '@muster/memory'
import { type ModelMessage, type ModelReply, type ModelRequest, type ToolCall, withReferences } from '@muster/models'
import {
  COMPACT_SHARE,
  type Json,
  KEEP_LAST,
  type Label,
  type MediaPart,
  MusterError,
  type Prompt,
  parseReference,
  referenceOf,
  takesMedia,
} from '@muster/protocol'
import { type Agent, askName, handoffName, wireName } from '@muster/sdk'
import { checked, type Tool } from '@muster/tools'
import type { ActiveRun, Driver } from '../run/active-run.ts'
import type { StepState } from '../step/step.ts'
import { agentStep, factStep, memoryStep, modelStep, type Place, toolStep } from '../step/steps.ts'
import { signalStep } from '../step/wait-steps.ts'
import {
  keptFrom,
  recalled,
  standing,
  summaryMessage,
  summaryRequest,
  TRIMMED,
  trimMessage,
  trimResult,
} from './compaction.ts'
import { besideText, contentOf, plainContent, withoutMedia, withText } from './content-parts.ts'
import { noteImages, withImages } from './session-images.ts'

const REFERENCES = `
A tool's result comes as {"ref": "#/steps/…/output", "output": …}. To pass a value of an earlier result to a tool exactly as it is, give {"$ref": "#/steps/…/output/<field>"} in its place instead of copying it: copied values carry every label of what you have read, and policy may refuse them.`

/** Answers that do not match the output schema before the run fails. */
const ANSWERS_MAX = 3
/** Signal by which a person speaks to a running agent: `{text}`. */
const MESSAGE = 'message'
/** Turns of a session that a run is given. */
export const SESSION_TURNS = 20
/** Of the tokens from which on it is summarised, those that a summary must at least take the place of: each costs a call. */
const SUMMARY_SHARE = 0.25

/**
 * Drives an agent turn by turn: a model step, then the tool steps that the model asked for side by
 * side, then the next model step with their results; until the model answers without asking. A conversation that has
 * grown too long is summarised by a model step of its own before that.
 */
export function agentDriver(run: ActiveRun, agent: Agent): Driver {
  const { memory } = run.services
  const { session } = agent.manifest.memory.session ? run.created : { session: undefined }
  const byWireName = new Map<string, Tool>(agent.tools.map((tool) => [wireName(tool.name), tool]))
  const asked = new Map(agent.agents.map((other) => [askName(other.name), other]))
  const takers = new Map(agent.handoffs.map((other) => [handoffName(other.name), other]))
  const { context = {}, cacheMs } = agent.manifest
  const { maxTokens = Number.POSITIVE_INFINITY, keepLast = KEEP_LAST } = context
  const { compactAt = maxTokens * COMPACT_SHARE, trimToolResults = Number.POSITIVE_INFINITY } = context
  let messages: ModelMessage[] = []
  /** Where this run's own part of the conversation begins. */
  let ownFrom = 0
  /** What the run was given, as the model is told it: no summary replaces it. */
  let task: ModelMessage | undefined
  /** What takes the place of older messages, and where those begin that it leaves. */
  let summary: ModelMessage | undefined
  let summaryUpTo = 0
  // A description that nobody has approved is a stranger's text, and every model of this agent reads it.
  const { toolFlow } = run.services
  const isApproved = agent.tools.every(({ name }) => toolFlow.isApproved(name))
  /** Labels of all that the model has been shown. */
  let seen: readonly Label[] = isApproved ? run.created.labels : joinLabels(run.created.labels, ['untrusted'])
  let turn = 0
  /** Messages of people that this turn has taken. */
  let said = 0
  let answers = 0
  let sessionVersion = 0
  /** Calls of this turn in the order in which the model made them: the step, or the result where no step was needed. */
  let calls: { call: ToolCall; step: StepState | undefined; result: Json | undefined }[] = []
  let openCalls = 0
  /** The step in which another agent goes on in place of this one. */
  let handoff: StepState | undefined
  let answer: Json = null

  const wantsText = agent.manifest.output.type === 'string'
  const tools = [
    ...agent.tools.map((tool) => ({
      name: wireName(tool.name),
      description: tool.description,
      parameters: withReferences(tool.manifest.input),
    })),
    ...factTools(agent),
    ...[...asked].map(([name, other]) => agentTool(name, `Asks ${other.name}. ${other.description}`, other)),
    ...[...takers].map(([name, other]) => agentTool(name, `Hands over to ${other.name}. ${other.description}`, other)),
  ]

  function request(): ModelRequest {
    return {
      messages: [...messages],
      tools,
      ...(wantsText ? {} : { output: { name: 'answer', schema: agent.manifest.output } }),
    }
  }

  function begin(history: readonly Json[]): void {
    const trimmed = Number.isFinite(trimToolResults) ? TRIMMED : ''
    const references = agent.tools.length > 0 ? REFERENCES : ''
    messages.push({ role: 'system', content: agent.instructions + references + trimmed })
    // Turns of a session were written from this same list.
    const turns = history as unknown as ModelMessage[]
    messages.push(...(trimmed === '' ? turns : turns.map((message) => trimMessage(message, trimToolResults))))
    ownFrom = messages.length
    task = { role: 'user', content: takesMedia(agent.manifest.input) ? contentOf(run.input) : plainContent(run.input) }
    messages.push(task)
    ask()
  }

  /** Between two turns: what a person has said meanwhile comes before the model is asked again. */
  function goOn(): void {
    const id = messageId()
    if (run.hasSignal(MESSAGE, id)) run.step(signalStep(MESSAGE, { id, input: null, labels: [] }))
    else ask()
  }

  function messageId(): string {
    return `${turn}.${MESSAGE}${said === 0 ? '' : `.${said + 1}`}`
  }

  function messageEnded(content: Prompt, labels: readonly Label[]): void {
    said++
    messages.push({ role: 'user', content })
    seen = joinLabels(seen, labels)
    goOn()
  }

  function ask(): void {
    turn++
    said = 0
    const id = `${turn}.summary`
    // Not counted again on replay: what counts may be another by then.
    if (Number.isFinite(compactAt) && run.replay.takes(id, isToBeCompacted)) summarise(id)
    else askModel()
  }

  function askModel(): void {
    const id = `${turn}.model`
    const frozen = request()
    if (Number.isFinite(maxTokens) && !run.replay.takes(id, () => tokensOf(frozen) <= maxTokens)) {
      const message = `the conversation has more than ${maxTokens} tokens, and no more of it can be summarised`
      run.fail({ code: 'model.context_full', message })
    } else run.step(modelStep(run, agent.model, { id, input: null, labels: seen }, () => frozen, { cacheMs }))
  }

  function tokensOf(request: ModelRequest): number {
    return run.services.models.inputTokens(agent.model, request)
  }

  /** What a summary would take the place of. */
  function older(): ModelMessage[] {
    return messages.slice(1, keptFrom(messages, keepLast)).filter((message) => message !== task)
  }

  function isToBeCompacted(): boolean {
    const tokens = tokensOf(request())
    if (tokens <= compactAt) return false
    const replaced = older()
    if (replaced.every((message) => message === summary)) return false
    return tokens > maxTokens || tokensOf({ messages: replaced }) >= compactAt * SUMMARY_SHARE
  }

  function summarise(id: string): void {
    const frozen = summaryRequest(agent.instructions, older())
    summaryUpTo = keptFrom(messages, keepLast)
    run.step(modelStep(run, agent.model, { id, input: null, labels: seen }, () => frozen, { isShown: false, cacheMs }))
  }

  function summaryEnded(output: Json): void {
    const { text } = output as unknown as Pick<ModelReply, 'text'> // see modelStep
    if (!text) {
      run.fail({ code: 'model.failed', message: `step "${turn}.summary": the model wrote no summary` })
      return
    }
    const [instructions, ...rest] = messages
    if (!instructions || !task) return
    const kept = rest.slice(summaryUpTo - 1)
    summary = summaryMessage(text, older().length)
    messages = [instructions, ...(kept.includes(task) ? [] : [task]), summary, ...kept]
    askModel()
  }

  function modelEnded(output: Json): void {
    // What a model step gives: see modelStep.
    const { text, toolCalls, reasoning } = output as unknown as Pick<ModelReply, 'text' | 'toolCalls' | 'reasoning'>
    messages.push({
      role: 'assistant',
      content: text,
      ...(toolCalls.length > 0 ? { toolCalls } : {}),
      ...(reasoning ? { reasoning } : {}),
    })
    if (toolCalls.length === 0) {
      takeAnswer(text ?? '')
      return
    }
    calls = []
    openCalls = 1
    const used = new Map<string, number>()
    for (const call of toolCalls) {
      const slot: (typeof calls)[number] = { call, step: undefined, result: undefined }
      calls.push(slot)
      try {
        openCalls++
        slot.step = callStep(call, used)
      } catch (error) {
        openCalls--
        if (!(error instanceof MusterError) || error.code === 'plan.non_deterministic') throw error
        slot.result = { error: { code: error.code, message: error.message } }
      }
    }
    // Counted one more until all are added, so that a quick one does not end the turn alone.
    callEnded()
  }

  function callStep(call: ToolCall, used: Map<string, number>): StepState {
    const input = parseArguments(call)
    const count = (used.get(call.name) ?? 0) + 1
    used.set(call.name, count)
    const tool = byWireName.get(call.name)
    const id = `${turn}.${tool?.name ?? call.name.replace('_', '.')}${count === 1 ? '' : `.${count}`}`
    const place: Place = { id, input, labels: seen }
    if (tool) return run.step(toolStep(tool, place))
    const other = asked.get(call.name)
    if (other) return run.step(agentStep(other, 'ended', { ...place, input: agentInput(other, input) }))
    const taker = takers.get(call.name)
    if (taker) {
      if (handoff) throw new MusterError('input.invalid', 'the run is handed to one agent only')
      handoff = run.step(agentStep(taker, 'ended', { ...place, input: agentInput(taker, input) }, handedOver()))
      return handoff
    }
    if (call.name === 'memory_find' && agent.manifest.memory.facts.length > 0)
      return run.step(factStep(run, agent, 'find', place))
    if (call.name === 'memory_save' && agent.manifest.memory.facts.length > 0)
      return run.step(factStep(run, agent, 'save', place))
    throw new MusterError('tool.not_found', `there is no tool "${call.name}"`)
  }

  /** Arguments as JSON; references to what is not there are told to the model before anything starts. */
  function parseArguments(call: ToolCall): Json {
    let input: Json
    try {
      input = JSON.parse(call.arguments || '{}')
    } catch {
      throw new MusterError('input.invalid', 'the arguments are not JSON')
    }
    if (input === null || typeof input !== 'object' || Array.isArray(input))
      throw new MusterError('input.invalid', 'the arguments are not an object')
    for (const [field, value] of Object.entries(input)) {
      const ref = value === undefined ? undefined : referenceOf(value)
      if (ref === undefined) continue
      const { step } = parseReference(ref, `/${field}`)
      if (step !== undefined && run.steps.get(step)?.outcome?.status !== 'ok')
        throw new MusterError('plan.unknown_reference', `"${ref}" names no step that has an output`)
    }
    return input
  }

  /** The conversation as another agent is to read it: without instructions, and without names of steps that it has not. */
  function handedOver(): Json[] {
    const turns = messages.slice(1).map((message) => {
      if (message.role !== 'tool') return message
      return withText(message, (text) => {
        const { ref: _, ...content } = JSON.parse(text)
        return JSON.stringify(content)
      })
    })
    // The turn that hands over has no results.
    return turns.slice(0, -1) as unknown as Json[] // plain JSON by construction
  }

  function callEnded(): void {
    if (--openCalls > 0) return
    for (const { call, step, result } of calls) {
      const outcome = step?.outcome
      const media: MediaPart[] = []
      const tool = byWireName.get(call.name)
      const output = outcome?.output ?? null
      const content: Json =
        outcome && outcome.status !== 'ok'
          ? {
              error: { code: outcome.error?.code ?? 'run.cancelled', message: outcome.error?.message ?? 'interrupted' },
            }
          : (result ?? {
              ref: `#/steps/${step?.spec.id}/output`,
              output: tool && takesMedia(tool.manifest.output) ? withoutMedia(output, media) : output,
              // It was not called with what the model gave.
              ...(step?.edited === undefined ? {} : { input: JSON.parse(step.edited) }),
            })
      const text = JSON.stringify(trimResult(content, trimToolResults))
      messages.push({ role: 'tool', callId: call.id, content: besideText(text, media) })
      seen = joinLabels(seen, outcome?.labels ?? [])
    }
    const taken = handoff?.outcome
    handoff = undefined
    if (taken?.status !== 'ok') {
      goOn()
      return
    }
    answer = checked(agent.output, taken.output, 'output.invalid', `the answer of ${agent.name}`)
    messages.push({ role: 'assistant', content: wantsText ? String(answer) : JSON.stringify(answer) })
    end()
  }

  function takeAnswer(text: string): void {
    try {
      answer = checked(
        agent.output,
        wantsText ? text : JSON.parse(text),
        'output.invalid',
        `the answer of ${agent.name}`,
      )
    } catch (error) {
      const message = error instanceof MusterError ? error.message : 'the answer is not JSON'
      if (++answers >= ANSWERS_MAX) throw new MusterError('output.invalid', message)
      messages.push({ role: 'user', content: `${message}. Answer again, with nothing but JSON that matches.` })
      ask()
      return
    }
    // A message that came before the end is answered as well.
    if (run.hasSignal(MESSAGE, messageId())) goOn()
    else end()
  }

  function end(): void {
    if (session === undefined) run.finish(answer, seen)
    else {
      const { own, images } = ofSession()
      run.step(
        memoryStep(
          'session.append',
          'session',
          { id: 'session.append', input: { session, turns: own.length }, labels: seen },
          async ({ labels }) => {
            const { tenant, subject } = run.created
            for (const [name, data] of images) await memory.blobs.put({ tenant, run: run.id, subject }, name, data)
            const turn = { run: run.id, at: run.services.clock(), messages: own, labels: [...labels] }
            return { output: { version: await appendTurn(memory, run.created, session, sessionVersion, turn) } }
          },
        ),
      )
    }
  }

  /** What the session keeps of it: its own part, or all where a summary takes the place of what the session has. */
  function ofSession(): { own: Json[]; images: ReadonlyMap<string, string> } {
    const whole = messages.slice(summary ? 1 : ownFrom)
    const { messages: noted, images } = noteImages(whole, run.id)
    const at = summary ? whole.indexOf(summary) : -1
    return {
      own: noted.map((message, i) => (summary && i === at ? standing(summary, sessionVersion) : message)),
      images,
    }
  }

  function seesImages(): boolean {
    const route = run.services.models.routes().find(({ name }) => name === agent.model)
    return route?.facts.inputs?.includes('image') ?? false
  }

  return {
    asynchronous: false,
    rollback: false,
    start() {
      checked(agent.input, run.input, 'input.invalid', `the input of ${agent.name}`)
      if (session === undefined) begin(run.history)
      else {
        run.step(
          memoryStep(
            'session.read',
            'session',
            { id: 'session.read', input: { session }, labels: [] },
            async ({ tenant }) => {
              const { version, turns } = await memory.sessions.read(tenant, session, { last: SESSION_TURNS })
              return {
                output: {
                  version,
                  messages: await withImages(recalled(version, turns), { memory, tenant, isSeen: seesImages }),
                },
                labels: joinLabels(...turns.map((turn) => turn.labels)),
              }
            },
          ),
        )
      }
    },
    ended(step) {
      const { kind, target } = step.spec.operation
      const { outcome } = step
      if (kind === 'signal') {
        const { text = '', parts = text } = (outcome?.output ?? {}) as { text?: string; parts?: Prompt } // checked by the server
        messageEnded(parts, outcome?.labels ?? [])
      } else if (kind === 'model' && outcome?.status === 'cancelled') goOn()
      else if (kind === 'model' || target.startsWith('session.')) {
        if (outcome?.status !== 'ok') {
          const { code, message } = outcome?.error ?? { code: 'internal', message: 'no outcome' }
          run.fail({ code, message: `step "${step.spec.id}": ${message}` })
        } else if (step.spec.id === `${turn}.summary`) summaryEnded(outcome.output)
        else if (kind === 'model') modelEnded(outcome.output)
        else if (target === 'session.read') {
          const { version, messages } = outcome.output as { version: number; messages: Json[] } // see above
          sessionVersion = version
          seen = joinLabels(seen, outcome.labels)
          begin([...messages, ...run.history])
        } else run.finish(answer, seen)
      } else {
        // Money and time are the run's: no model can talk its way around them. A child's own are not.
        const error = kind === 'agent' ? undefined : outcome?.error
        if (error?.code === 'budget.exceeded' || error?.code === 'run.deadline') run.fail(error)
        else callEnded()
      }
    },
  }
}

/** Appends after what the run has read, or after what another run of the session has added meanwhile; once, whatever is repeated. */
async function appendTurn(
  memory: Memory,
  { tenant, subject }: Pick<ActiveRun['created'], 'tenant' | 'subject'>,
  session: string,
  version: number,
  turn: Turn,
): Promise<number> {
  for (let at = version; ; ) {
    try {
      return await memory.sessions.append(tenant, session, at, turn, subject)
    } catch (error) {
      if (!(error instanceof MusterError) || error.code !== 'memory.conflict') throw error
      const now = await memory.sessions.read(tenant, session)
      if (now.turns.some((other) => other.run === turn.run)) return now.version
      at = now.version
    }
  }
}

/** Another agent as a model sees it: what that takes; a plain value is put into an object, since arguments are one. */
function agentTool(name: string, description: string, { manifest }: Agent): NonNullable<ModelRequest['tools']>[number] {
  const parameters =
    manifest.input.type === 'object'
      ? manifest.input
      : { type: 'object', properties: { input: manifest.input }, required: ['input'], additionalProperties: false }
  return { name, description: description.trim(), parameters: withReferences(parameters) }
}

function agentInput({ manifest }: Agent, input: Json): Json {
  if (manifest.input.type === 'object') return input
  return (input as { input?: Json }).input ?? null // an object: see parseArguments
}

/** What a model sees of the agent's fact memory. */
function factTools(agent: Agent): NonNullable<ModelRequest['tools']> {
  const { facts } = agent.manifest.memory
  if (facts.length === 0) return []
  const kind = { type: 'string', enum: facts }
  const subject = { type: 'string', description: 'whom or what the fact is about' }
  const about = { type: 'object', additionalProperties: false }
  return [
    {
      name: 'memory_find',
      description: 'Finds what is remembered of a subject.',
      parameters: { ...about, properties: { kind, subject }, required: ['kind', 'subject'] },
    },
    {
      name: 'memory_save',
      description: 'Remembers a value for later runs.',
      parameters: withReferences({
        ...about,
        properties: { kind, subject, value: {} },
        required: ['kind', 'subject', 'value'],
      }),
    },
  ]
}

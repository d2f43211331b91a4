import {
  type Approval,
  type Decision,
  type Effect,
  type EntryOf,
  isGateway,
  type Json,
  nameOf,
  type RunEvent,
  type ToolManifest,
} from '@muster/protocol'
import type { Action, PolicyRequest } from './request.ts'

/** A decision of a run's journal, and what the policies were asked. */
export interface RecordedDecision {
  run: string
  seq: number
  step: string
  target: string
  decision: Decision
  /**
   * What was asked, as far as the journal has it: several where something was not recorded that can be one of several.
   * Empty where that cannot be told.
   */
  requests: PolicyRequest[]
  /** Why there are none. */
  why?: string
}

type Deciding = EntryOf<'step.intent' | 'step.waiting' | 'step.ended'>

/** What a person was shown of a step. */
interface Shown {
  input: Json
  labels: readonly string[]
}

/** What a step can have been where nothing says which of them. */
const EFFECTS: readonly Effect[] = ['pure', 'read', 'write', 'once']

/** Labels that may or may not have been on an input before more ways are too many. */
const UNSURE_MAX = 4

/**
 * The decisions in a run's events, in order: also those that let a step through. A step that a person was asked for and
 * refused was decided when it asked.
 *
 * @param toolsOf the tools of the app that a policy set was loaded for
 */
export function decisionsOf(
  events: readonly RunEvent[],
  toolsOf: (set: string) => readonly ToolManifest[],
): RecordedDecision[] {
  const found: RecordedDecision[] = []
  const past = new Past()
  for (const { entry, content } of events) {
    if (entry.type === 'run.created') past.created = entry
    const { created } = past
    if (
      created !== undefined &&
      (entry.type === 'step.intent' || entry.type === 'step.waiting' || entry.type === 'step.ended') &&
      isDecided(entry)
    ) {
      const { seq, step, target, decision } = entry
      const rebuilt = requestsOf(created, entry, content, past, toolsOf(decision.set))
      found.push({
        ...{ run: created.run, seq, step, target, decision },
        ...(typeof rebuilt === 'string' ? { requests: [], why: rebuilt } : { requests: rebuilt }),
      })
    }
    past.add(entry, content)
  }
  return found
}

function isDecided<E extends Deciding>(entry: E): entry is E & { decision: Decision } {
  if (entry.decision === undefined) return false
  if (entry.type === 'step.waiting') return entry.for === 'approval'
  return entry.type === 'step.intent' || (entry.copied === undefined && entry.decision.effect !== 'ask')
}

/** What the entries before one tell of it. */
class Past {
  created: EntryOf<'run.created'> | undefined
  readonly #costs: { at: number; usd: number }[] = []
  /** What was shown of a step last, and by the digest that answers name. */
  readonly #shown = new Map<string, Shown>()
  readonly #shownBy = new Map<string, Shown>()
  readonly #approvals = new Map<string, (Approval & { shown: string })[]>()
  readonly #intents = new Map<string, { input: Json | undefined; labels: readonly string[] }>()

  add(entry: RunEvent['entry'], content: Json | undefined): void {
    if (entry.type === 'step.intent') this.#intents.set(entry.step, { input: content, labels: entry.labels })
    if (entry.type === 'step.ended') this.#intents.delete(entry.step)
    if (entry.type === 'step.ended' && entry.costUsd) this.#costs.push({ at: entry.at, usd: entry.costUsd })
    if (entry.type === 'step.waiting' && entry.for === 'approval' && content !== undefined) {
      const shown = content as unknown as Shown // what an approver is shown
      this.#shown.set(entry.step, shown)
      if (entry.content !== undefined) this.#shownBy.set(entry.content, shown)
      for (const by of entry.given ?? []) this.#approve(entry.step, { role: entry.role ?? '', by }, shown)
    }
    if (entry.type === 'approval.given' && entry.verdict === 'approve') {
      const shown = this.#shownBy.get(entry.shown)
      if (shown === undefined) return
      // See `approval.given`.
      const { input } = (content ?? {}) as { input?: Json }
      const edited = entry.edited && input !== undefined ? { ...shown, input } : shown
      this.#shown.set(entry.step, edited)
      this.#approve(entry.step, { role: entry.role, by: entry.by.user, hands: entry.by.hands }, edited)
    }
  }

  #approve(step: string, approval: Approval, shown: Shown): void {
    const all = this.#approvals.get(step) ?? []
    this.#approvals.set(step, [...all, { ...approval, shown: textOf(shown) }])
  }

  /** What a step that has not ended began with, in an activation before: its end was looked up in this one. */
  intended(step: string): { input: Json | undefined; labels: readonly string[] } | undefined {
    return this.#intents.get(step)
  }

  /** What a step was shown with, where it was. */
  shown(step: string): Shown | undefined {
    return this.#shown.get(step)
  }

  /** Who has approved exactly this. */
  approvals(step: string, shown: Shown): Approval[] {
    const text = textOf(shown)
    return (this.#approvals.get(step) ?? []).flatMap(({ shown, ...approval }) => (shown === text ? [approval] : []))
  }

  spent(until: number): number {
    return this.#costs.reduce((total, { at, usd }) => (at <= until ? total + usd : total), 0)
  }
}

function textOf({ input, labels }: Shown): string {
  return JSON.stringify([input, labels.toSorted()])
}

/** What the policies were asked, or why that cannot be told. */
function requestsOf(
  { tenant, by, definition }: EntryOf<'run.created'>,
  entry: Deciding & { decision: Decision },
  content: Json | undefined,
  past: Past,
  tools: readonly ToolManifest[],
): PolicyRequest[] | string {
  const { kind, target, decision, step } = entry
  const ran = entry.type === 'step.ended' && entry.status !== 'denied'
  const ofClient = isGateway(definition)
  const tool = kind === 'tool' && !ofClient ? tools.find(({ name }) => name === target) : undefined
  if (kind === 'tool' && !ofClient && !tool && ran) return `no app is known that has the tool ${target}`
  const shown = entry.type === 'step.waiting' ? shownIn(content) : past.shown(step)
  // The content of what ran is its output, and that of what waits is what was shown.
  // And the output of a client's call is what it is called with.
  const isShown = (ran && !(ofClient && kind === 'tool')) || entry.type === 'step.waiting' || content === undefined
  const intended = ran ? past.intended(step) : undefined
  const input = isShown ? (shown?.input ?? intended?.input) : content
  const resources: Asked[] | string =
    ofClient && kind === 'tool'
      ? [{ action: 'gateway:tool', resource: { type: 'ClientTool', name: target } }]
      : resourcesOf(entry, definition.name, input, tool)
  if (typeof resources === 'string') return resources
  const labelled = intended ? [intended.labels] : ran ? labelsBefore(entry, tool?.labels ?? []) : [entry.labels]
  if (labelled.length === 0) return 'too many labels may or may not have been on its input'
  return labelled.flatMap((labels) =>
    resources.map(
      ({ action, resource }): PolicyRequest => ({
        tenant,
        principal: { type: definition.kind === 'agent' ? 'Agent' : 'Plan', name: definition.name },
        action,
        resource: resource.type === 'Tool' ? { ...resource, approved: !decision.unapproved } : resource,
        newDestination: decision.newDestination ?? false,
        labels,
        approvals: input === undefined ? [] : past.approvals(step, { input, labels }),
        ...{ user: by.user, key: by.key, team: by.team, hands: by.hands },
        history: { step, now: entry.at, recorded: decision.history, unrecorded: true },
        ...(action === 'model:invoke' ? { targets: decision.targets } : {}),
        spentUsd: past.spent(ran ? entry.at - entry.durationMs : entry.at),
        ...(input !== undefined
          ? { input }
          : action === 'tool:call' || action === 'gateway:tool'
            ? { unrecorded: true as const }
            : {}),
      }),
    ),
  )
}

function shownIn(content: Json | undefined): Shown | undefined {
  return content === undefined ? undefined : (content as unknown as Shown) // what an approver is shown
}

type Asked = { action: Action; resource: PolicyRequest['resource'] }

function resourcesOf(
  entry: Deciding,
  plan: string,
  input: Json | undefined,
  tool: ToolManifest | undefined,
): Asked[] | string {
  const { kind, target } = entry
  const intended = entry.type === 'step.intent' ? entry.effect : undefined
  switch (kind) {
    case 'tool': {
      // A step that undoes another was asked for as that one was, and has an effect of its own.
      const effect = entry.step.startsWith('undo(') ? tool?.effect : (intended ?? tool?.effect)
      return (effect ? [effect] : EFFECTS).map((effect) => ({
        action: 'tool:call',
        resource: { type: 'Tool', name: target, effect },
      }))
    }
    case 'code': {
      const ran = entry.type === 'step.ended' && entry.status !== 'denied'
      const effects: readonly Effect[] = intended ? [intended] : ran ? ['pure'] : EFFECTS
      return effects.map((effect) => ({
        action: 'code:run',
        resource: { type: 'Code', name: `${plan}/${target}`, effect },
      }))
    }
    case 'model':
      return [{ action: 'model:invoke', resource: { type: 'Model', name: target } }]
    case 'agent':
      return [{ action: 'agent:delegate', resource: { type: 'Agent', name: nameOf(target) } }]
    case 'memory': {
      const action = target === 'find' || target === 'session.read' ? 'memory:read' : 'memory:write'
      if (target.startsWith('session.')) return [{ action, resource: { type: 'Memory', name: 'session' } }]
      if (input === undefined) return 'its input was erased, which says what of memory it is about'
      const of = input !== null && typeof input === 'object' && !Array.isArray(input) ? input.kind : undefined
      return [{ action, resource: { type: 'Memory', name: typeof of === 'string' ? of : '' } }]
    }
    default:
      return `a step of kind ${kind} asks no policy`
  }
}

/**
 * What labels the input of a step without an intent can have had: the journal has those of its outcome, in which the
 * tool's own are, and what it took off.
 */
function labelsBefore({ labels, declassified = [] }: EntryOf<'step.ended'>, own: readonly string[]): string[][] {
  const unsure = own.filter((label) => labels.includes(label) || declassified.includes(label))
  if (unsure.length > UNSURE_MAX) return []
  const sure = [...new Set([...labels, ...declassified])].filter((label) => !own.includes(label))
  return Array.from({ length: 2 ** unsure.length }, (_, bits) =>
    [...sure, ...unsure.filter((_, i) => bits & (1 << i))].sort(),
  )
}

import {
  type EntryOf,
  eachReference,
  type Json,
  type Label,
  type PlanData,
  parseReference,
  planData,
  planGraph,
  type RunEvent,
  referenceOf,
  stepInput,
  type ToolManifest,
} from '@muster/protocol'

type Step = EntryOf<'step.intent' | 'step.ended'>

/** Labels that something must have; `unknown` says why it cannot be told which. */
type Expected = { labels: readonly Label[] } | { unknown: string }

/** Something that has fewer labels than what it was made of. */
export interface Lost {
  seq: number
  message: string
  /** It may have been made of other things: why that cannot be told. */
  unknown?: string
}

interface Outcome {
  labels: readonly Label[]
  ok: boolean
  /** Of a model. */
  output: Json | undefined
}

const OF_A_PLAN = "which steps it was made of is in the plan's code, or in a plan that is not in the export"

const MAKES = new Set(['tool', 'model', 'agent', 'memory', 'code'])

/**
 * Which labels each step of a run must have had, from what it was made of: in a plan as data the steps that its input
 * refers to; for an agent all that its model was shown, unless every argument is a reference. Of a plan as code, whose values
 * go ways that no journal has, it can be told only where a step has all labels that there were. A lower bound: what has more is right as well.
 */
export class LabelFlow {
  readonly #toolOf: (entry: Step) => ToolManifest | undefined
  readonly #planOf: (created: EntryOf<'run.created'>) => unknown
  readonly #outcomes = new Map<string, Outcome>()
  #created: EntryOf<'run.created'> | undefined
  #plan: PlanData | undefined
  /** Of all that the run was given so far, but for what its models said. */
  #given = new Set<Label>()
  /** What ends a run that fails: a checkpoint leaves out the steps before it. */
  #sinceCheckpoint = new Set<Label>()
  /** What a turn's model was shown. */
  readonly #shown = new Map<string, readonly Label[]>()

  /** `planOf` gives the plan that the app carries under that name, where it is one as data and recorded. */
  constructor(
    toolOf: (entry: Step) => ToolManifest | undefined,
    planOf: (created: EntryOf<'run.created'>) => unknown = () => undefined,
  ) {
    this.#toolOf = toolOf
    this.#planOf = planOf
  }

  take({ entry, content }: RunEvent): Lost[] {
    if (entry.type === 'run.created') this.#create(entry, content)
    if (entry.type === 'step.intent') return this.#checkStep(entry, entry.labels)
    if (entry.type === 'run.ended') return this.#checkEnd(entry)
    if (entry.type === 'run.checkpoint') {
      const lost = this.#compare(entry.seq, 'the checkpoint', entry.labels, { labels: [...this.#given] })
      this.#sinceCheckpoint = new Set(this.#created?.labels)
      return lost
    }
    if (entry.type !== 'step.ended') return []
    const { labels, declassified = [], status } = entry
    // What failed or was left out may not have got as far as its input.
    const isChecked = !this.#intended.has(entry.step) && entry.copied === undefined && status === 'ok'
    const lost = isChecked ? this.#checkStep(entry, [...labels, ...declassified]) : []
    this.#end(entry, content)
    return lost
  }

  readonly #intended = new Set<string>()

  #create(entry: EntryOf<'run.created'>, content: Json | undefined): void {
    this.#created = entry
    this.#given = new Set(entry.labels)
    this.#sinceCheckpoint = new Set(entry.labels)
    const { plan } = (content ?? {}) as { plan?: Json }
    this.#plan = planData.safeParse(plan ?? this.#planOf(entry)).data
  }

  #end({ step, kind, status, labels, retry }: EntryOf<'step.ended'>, content: Json | undefined): void {
    if (kind === 'model') this.#show(step)
    if (retry) return
    this.#outcomes.set(step, { labels, ok: status === 'ok', output: kind === 'model' ? content : undefined })
    // What was called off gave nothing.
    if (status === 'cancelled') return
    for (const label of labels) {
      this.#sinceCheckpoint.add(label)
      if (kind !== 'model' || this.#created?.definition.kind !== 'agent') this.#given.add(label)
    }
  }

  /** A turn begins when its model is asked. */
  #show(step: string): void {
    const turn = turnOf(step)
    if (turn !== undefined && !this.#shown.has(turn)) this.#shown.set(turn, [...this.#given])
  }

  #checkStep(entry: Step, has: readonly Label[]): Lost[] {
    const { seq, step, kind } = entry
    if (kind === 'model') this.#show(step)
    if (entry.type === 'step.intent') this.#intended.add(step)
    if (!MAKES.has(kind) || step.startsWith('undo(') || step === 'session.read') return []
    return this.#compare(seq, `step ${step}`, has, this.#expectedOf(entry, has))
  }

  #compare(seq: number, what: string, has: readonly Label[], expected: Expected): Lost[] {
    if ('unknown' in expected) return [{ seq, message: `${what} may have lost labels`, unknown: expected.unknown }]
    const lost = expected.labels.filter((label) => !has.includes(label))
    if (lost.length === 0) return []
    return [{ seq, message: `${what} has not the labels ${lost.sort().join(', ')} of what it was made of` }]
  }

  #expectedOf(entry: Step, has: readonly Label[]): Expected {
    const planned = this.#plan?.steps[entry.step]
    if (planned) return { labels: this.#referred([stepInput(planned), planned.when ?? null]) }
    const turn = turnOf(entry.step)
    const isAgent = this.#created?.definition.kind === 'agent'
    const all = (isAgent && turn !== undefined ? this.#shown.get(turn) : undefined) ?? [...this.#given]
    if (all.every((label) => has.includes(label))) return { labels: all }
    if (!isAgent) return { unknown: OF_A_PLAN }
    if (turn === undefined || entry.kind === 'model') return { labels: all }
    const calls = this.#callsOf(turn)
    if (!calls) return { unknown: `what the model asked for was erased` }
    const input = calls.get(wireOf(entry.step))
    return { labels: input && this.#isAllReferences(entry, input) ? this.#referred([input]) : all }
  }

  /** What a turn's model asked for, by the steps that came of it. */
  #callsOf(turn: string): Map<string, Record<string, Json>> | undefined {
    const output = this.#outcomes.get(`${turn}.model`)?.output as { toolCalls?: Json[] } | undefined
    if (!output) return undefined
    const used = new Map<string, number>()
    const calls = new Map<string, Record<string, Json>>()
    for (const call of (output.toolCalls ?? []) as { name: string; arguments: string }[]) {
      const input = this.#argumentsOf(call.arguments, turn)
      if (!input) continue
      const count = (used.get(call.name) ?? 0) + 1
      used.set(call.name, count)
      calls.set(wireOf(`${turn}.${call.name}${count === 1 ? '' : `.${count}`}`), input)
    }
    return calls
  }

  /** Undefined where no step came of them. */
  #argumentsOf(text: string, turn: string): Record<string, Json> | undefined {
    try {
      const input: Json = JSON.parse(text || '{}')
      if (input === null || typeof input !== 'object' || Array.isArray(input)) return undefined
      const refs = Object.values(input).flatMap((value) => referenceOf(value) ?? [])
      const isThere = ({ step }: { step: string | undefined }) =>
        step === undefined || (turnOf(step) !== turn && this.#outcomes.get(step)?.ok)
      return refs.every((ref) => isThere(parseReference(ref))) ? input : undefined
    } catch {
      return undefined
    }
  }

  /** As the runtime has it: nothing in the input was written by the model but references, under names that the schema knows. */
  #isAllReferences(entry: Step, input: Record<string, Json>): boolean {
    if (referenceOf(input) !== undefined) return true
    const keys = Object.keys(input)
    const effect = entry.type === 'step.intent' ? entry.effect : 'pure'
    if (keys.length === 0) return effect === 'pure' || effect === 'read'
    const fields = this.#toolOf(entry)?.input.properties
    return keys.every((key) => referenceOf(input[key] as Json) !== undefined && (!fields || Object.hasOwn(fields, key)))
  }

  /** The labels of what is referred to, and that has come to something. */
  #referred(templates: readonly Json[]): Label[] {
    const labels = new Set<Label>()
    for (const template of templates)
      eachReference(template, (ref) => {
        const { step } = parseReference(ref)
        const from = step === undefined ? this.#created : this.#outcomes.get(step)
        if (from && (!('ok' in from) || from.ok)) for (const label of from.labels) labels.add(label)
      })
    return [...labels]
  }

  #checkEnd({ seq, status, labels }: EntryOf<'run.ended'>): Lost[] {
    return this.#compare(seq, 'the run', labels, this.#expectedOfEnd(status, labels))
  }

  #expectedOfEnd(status: string, has: readonly Label[]): Expected {
    if (status !== 'succeeded') return { labels: [...this.#sinceCheckpoint] }
    if (this.#plan) return { labels: this.#referred([this.#plan.output ?? leavesOf(this.#plan)]) }
    const labels = [...this.#given]
    if (this.#created?.definition.kind === 'agent' || labels.every((label) => has.includes(label))) return { labels }
    return { unknown: OF_A_PLAN }
  }
}

function turnOf(step: string): string | undefined {
  return /^(\d+)\./.exec(step)?.[1]
}

/** Names of tools have dots, and models know them with underscores. */
function wireOf(step: string): string {
  return step.replaceAll('.', '_')
}

/** What a plan gives that does not say what: the outputs of the steps that nothing depends on. */
function leavesOf(plan: PlanData): Json {
  const graph = planGraph(plan)
  const inner = new Set(graph.flatMap(({ after }) => after))
  return graph.flatMap(({ id }) =>
    inner.has(id) ? [] : [{ $ref: `#/steps/${id.replaceAll('~', '~0').replaceAll('/', '~1')}/output` }],
  )
}

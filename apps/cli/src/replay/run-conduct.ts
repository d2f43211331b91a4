import { decisionsOf, type PolicySet, type RecordedDecision, replay } from '@muster/governance'
import {
  type Decision,
  type DefinitionManifest,
  type EntryOf,
  isGateway,
  type Label,
  type RunEvent,
  type ToolManifest,
} from '@muster/protocol'
import { ApprovalConduct, ruleText } from './approval-conduct.ts'
import { type Breach, type Conduct, tell } from './conduct.ts'
import { LabelFlow } from './label-flow.ts'
import type { PoliciesUsed } from './policies-used.ts'
import { StepConduct } from './step-conduct.ts'
import type { StopConduct } from './stop-conduct.ts'

/** What is known of one step so far. */
interface StepPast {
  intents: number
  /** The labels of its newest intent, and the policies that allowed it. */
  labels: readonly Label[]
  set: string
  /** Where its newest intent allowed a model call to go; anywhere where that was not asked. */
  targets: Decision['targets']
  /** Its newest attempt has ended: nobody is in doubt of it. */
  ended: 'ok' | 'failed' | undefined
  /** A person has answered since. */
  answered: boolean
}

/** Between asking whether there is time left and an intent's place in the journal, ms. */
const LATE_MS = 5000

/** Why a target was passed over without being asked. */
const NOT_ASKED: ReadonlySet<string> = new Set(['policy.denied', 'route.refused', 'route.open'])

const OTHER_APP = 'its worker carried another app than the export has beside its policy set'

const ASKED: ReadonlySet<string> = new Set(['tool', 'model', 'code', 'agent', 'memory'])

/** What a run is of, from the policy sets that were checked against apps that carry it. */
export function definitionsOf(
  { definition: { kind, name, version, hash } }: EntryOf<'run.created'>,
  sets: ReadonlyMap<string, PolicySet>,
): DefinitionManifest[] {
  return [...sets.values()].flatMap(({ app }) =>
    app.definitions.filter(
      (one) => one.kind === kind && one.name === name && one.version === version && one.hash === hash,
    ),
  )
}

/** What one run did, in the order of its journal. */
export class RunConduct {
  readonly #run: string
  readonly #sets: ReadonlyMap<string, PolicySet>
  readonly #used: PoliciesUsed
  readonly #stops: StopConduct
  #worker = ''
  #app = ''
  readonly #doubted = new Set<string>()
  readonly #conduct: Conduct
  readonly #steps = new Map<string, StepPast>()
  readonly #flow = new LabelFlow(
    (entry) => this.#tool(entry, entry.decision?.set),
    (created) => this.#planData(created),
  )
  readonly #approvals = new ApprovalConduct()
  readonly #order = new StepConduct({
    tool: (entry, app) =>
      this.#sets.get(entry.decision.set)?.app.hash === app ? this.#tool(entry, entry.decision.set) : undefined,
    definition: (created) => definitionsOf(created, this.#sets)[0],
  })
  readonly #clock = {
    startedAt: undefined as number | undefined,
    parkedAt: undefined as number | undefined,
    parkedMs: 0,
  }
  #created: EntryOf<'run.created'> | undefined
  #usd = 0
  #tokens = 0
  #ended = 0

  constructor(
    run: string,
    { sets, used, stops }: { sets: ReadonlyMap<string, PolicySet>; used: PoliciesUsed; stops: StopConduct },
    conduct: Conduct,
  ) {
    this.#run = run
    this.#sets = sets
    this.#used = used
    this.#stops = stops
    this.#conduct = conduct
  }

  notCheckable(seq: number, why: string): void {
    this.#conduct.notCheckable.push({ run: this.#run, seq, why })
  }

  /** What was recorded may have any shape, and then cannot be told what it was: that stops nothing else from being checked. */
  unlessMalformed(seq: number, what: () => void): void {
    try {
      what()
    } catch (error) {
      this.notCheckable(seq, `it cannot be replayed: ${error instanceof Error ? error.message : error}`)
    }
  }

  #breach(code: Breach['code'], seq: number, message: string): void {
    this.#conduct.breaches.push({ code, run: this.#run, seq, message })
  }

  #tool(entry: { kind: string; target: string }, set: string | undefined): ToolManifest | undefined {
    if (entry.kind !== 'tool') return undefined
    return this.#sets.get(set ?? '')?.app.tools.find(({ name }) => name === entry.target)
  }

  /** Whether its worker carried another app than the one that lies beside a set: another worker was the first with that. */
  #isOfOther(set: string): boolean {
    const carried = this.#sets.get(set)?.app.hash ?? ''
    return carried !== '' && carried !== this.#app
  }

  #planData(created: EntryOf<'run.created'>): unknown {
    return definitionsOf(created, this.#sets).flatMap((one) => (one.kind === 'plan' && one.data ? one.data : []))[0]
  }

  take(event: RunEvent): void {
    const { entry } = event
    for (const lost of this.#flow.take(event)) tell(this.#conduct, 'labels', { run: this.#run, ...lost })
    for (const { code, message } of this.#order.take(event)) this.#breach(code, entry.seq, message)
    for (const message of this.#approvals.take(event)) this.#breach('approval', entry.seq, message)
    if ('decision' in entry && entry.decision && !('copied' in entry && entry.copied !== undefined))
      this.#checkSet(entry.decision.set, entry)
    if (entry.type === 'run.activated') {
      this.#goOn(entry.at)
      this.#worker = entry.worker
      this.#app = entry.app
    }
    if (entry.type === 'run.parked') this.#clock.parkedAt = entry.at
    if (entry.type === 'run.created') this.#created = entry
    else if (entry.type === 'step.intent') this.#intend(entry)
    else if (entry.type === 'step.ended') this.#end(entry)
    else if (entry.type === 'approval.given') this.#step(entry.step).answered = true
    else if (entry.type === 'run.ended') this.#compareCost(entry)
  }

  /** Which policies decided is what its worker says of itself; each doubt is told once. */
  #checkSet(set: string, { seq, at }: { seq: number; at: number }): void {
    const why = this.#used.whyNot(this.#worker, set, at)
    if (why === undefined || this.#doubted.has(why)) return
    this.#doubted.add(why)
    this.notCheckable(seq, `which policies were in force: ${why}`)
  }

  #step(id: string): StepPast {
    const known = this.#steps.get(id) ?? {
      ...{ intents: 0, labels: [], set: '', targets: undefined },
      ...{ ended: undefined, answered: false },
    }
    this.#steps.set(id, known)
    return known
  }

  #intend(entry: EntryOf<'step.intent'>): void {
    const { seq, step: id, decision, effect } = entry
    const step = this.#step(id)
    this.#conduct.effects++
    if (decision.effect !== 'allow')
      this.#breach('effect-without-allow', seq, `step ${id} began, and its decision is ${decision.effect}`)
    if (effect === 'once' && step.intents > 0) this.#checkRepeated(seq, id, step)
    if (!id.startsWith('undo(')) {
      this.#checkLimits(entry)
      this.#checkStops(entry)
    }
    this.#steps.set(id, {
      intents: step.intents + 1,
      labels: entry.labels,
      set: decision.set,
      targets: decision.targets,
      ended: undefined,
      answered: false,
    })
  }

  /** Its time stands while it is parked. */
  #goOn(at: number): void {
    const { startedAt = at, parkedAt = at, parkedMs } = this.#clock
    Object.assign(this.#clock, { startedAt, parkedAt: undefined, parkedMs: parkedMs + at - parkedAt })
  }

  #checkRepeated(seq: number, id: string, { ended, answered }: StepPast): void {
    if (ended === 'ok') this.#breach('once-repeated', seq, `step ${id} may happen once, has succeeded, and began again`)
    else if (ended === undefined && !answered)
      this.notCheckable(
        seq,
        `step ${id} may happen once and began again: only its tool can have said that it did not happen`,
      )
  }

  /** What was used before it began: its own cost is set aside then, so that the sum stays within the limit as well. */
  #checkLimits({ seq, step: id, at }: EntryOf<'step.intent'>): void {
    const { steps, tokens, wallTimeMs } = this.#created?.limits ?? {}
    const { startedAt = at, parkedMs } = this.#clock
    const ranMs = at - startedAt - parkedMs
    if (wallTimeMs !== undefined && ranMs > wallTimeMs + LATE_MS)
      this.#breach('budget', seq, `step ${id} began when the run had run for ${ranMs} of ${wallTimeMs} ms`)
    if (steps !== undefined && this.#ended >= steps)
      this.#breach('budget', seq, `step ${id} began after the ${steps} steps that the run may take`)
    if (tokens !== undefined && this.#tokens >= tokens)
      this.#breach('budget', seq, `step ${id} began after ${this.#tokens} of ${tokens} tokens`)
  }

  #checkStops(entry: EntryOf<'step.intent'>): void {
    const stop = this.#created && this.#stops.stopFor(this.#created, entry)
    if (stop)
      this.#breach(
        'effect-without-allow',
        entry.seq,
        `step ${entry.step} began when ${stop.by} had stopped ${stop.name}`,
      )
  }

  #end(entry: EntryOf<'step.ended'>): void {
    const { seq, step: id, usage, costUsd = 0, status, retry } = entry
    const { usd } = this.#created?.limits ?? {}
    if (!retry && status !== 'skipped') this.#ended++
    this.#tokens += (usage?.inputTokens ?? 0) + (usage?.outputTokens ?? 0)
    const isWithin = usd === undefined || this.#usd <= usd
    this.#usd += costUsd
    if (usd !== undefined && isWithin && this.#usd > usd)
      this.#breach('budget', seq, `with step ${id} the run has cost $${this.#usd.toFixed(4)} of $${usd}`)
    if (entry.copied !== undefined) return
    const step = this.#step(id)
    if (status === 'ok' && ASKED.has(entry.kind)) this.#checkEffect(entry, step)
    this.#checkTargets(entry, step)
    this.#checkLabels(entry, step)
    step.ended = status === 'ok' ? 'ok' : 'failed'
  }

  /** What was not intended can only be pure, and must have been allowed too. */
  #checkEffect(entry: EntryOf<'step.ended'>, { intents }: StepPast): void {
    const { seq, step: id, decision, kind, target } = entry
    if (intents > 0) return
    if (decision?.effect !== 'allow') {
      this.#breach('effect-without-allow', seq, `step ${id} succeeded, and nothing before it allowed it`)
      return
    }
    // What a client is told to call is called by nobody here.
    if (kind !== 'tool' || (this.#created && isGateway(this.#created.definition))) return
    const tool = this.#tool(entry, decision.set)
    if (!tool) this.notCheckable(seq, `whether ${target} is pure: no policy set that is in the export declares it`)
    else if (tool.effect === 'pure') return
    else if (this.#isOfOther(decision.set)) this.notCheckable(seq, `whether ${target} is pure: ${OTHER_APP}`)
    else this.#breach('effect-without-intent', seq, `step ${id} succeeded without an intent, and ${target} is not pure`)
  }

  /** A model call goes nowhere but where its policies allow it, also where that target did not answer it. */
  #checkTargets({ seq, step: id, via, cached }: EntryOf<'step.ended'>, { targets }: StepPast): void {
    if (!via || !targets || cached) return
    const asked = (via.passed ?? []).flatMap(({ target, code }) => (NOT_ASKED.has(code) ? [] : [target]))
    for (const name of new Set([via.target, ...asked, ...(via.hedged ?? [])]))
      if (!targets.some((target) => target.name === name && target.effect === 'allow'))
        this.#breach('effect-without-allow', seq, `step ${id} went to ${name}, and nothing before it allowed that`)
  }

  /** Labels go on to what a step gives, but for those that its tool is declared to take off. */
  #checkLabels(entry: EntryOf<'step.ended'>, step: StepPast): void {
    const { seq, step: id, labels, declassified = [], target } = entry
    const lost = step.labels.filter((label) => !labels.includes(label) && !declassified.includes(label))
    if (lost.length > 0) this.#breach('labels', seq, `step ${id} lost the labels ${lost.join(', ')}`)
    if (declassified.length === 0) return
    const set = entry.decision?.set ?? step.set
    const tool = this.#tool(entry, set)
    const more = declassified.filter((label) => !tool?.declassifies.includes(label))
    if (!tool)
      this.notCheckable(seq, `whether ${target} may take labels off: no policy set that is in the export declares it`)
    else if (more.length === 0) return
    else if (this.#isOfOther(set)) this.notCheckable(seq, `whether ${target} may take labels off: ${OTHER_APP}`)
    else this.#breach('labels', seq, `${target} took off ${more.join(', ')}, and may not`)
  }

  #compareCost({ seq, costUsd }: EntryOf<'run.ended'>): void {
    if (Math.abs(costUsd - this.#usd) > 1e-6)
      this.#breach('budget', seq, `the run says that it cost $${costUsd}, and its steps cost $${this.#usd}`)
  }

  decideAgain(events: readonly RunEvent[]): void {
    for (const recorded of decisionsOf(events, (hash) => this.#sets.get(hash)?.app.tools ?? [])) {
      this.#conduct.decisions++
      const set = this.#sets.get(recorded.decision.set)
      if (!set) this.notCheckable(recorded.seq, `the policy set ${recorded.decision.set} is not in the export`)
      else this.#compare(recorded, set)
    }
  }

  #compare(recorded: RecordedDecision, set: PolicySet): void {
    const { seq, step, decision: before } = recorded
    const { outcome, decision: after, why = '' } = replay(recorded, set)
    if (outcome === 'same' && after && ruleText(before.rule) !== ruleText(after.rule))
      this.#breach('decision', seq, `step ${step}: what its approval takes is not what its policies ask`)
    else if (outcome === 'same') this.#conduct.same++
    else if (outcome === 'unknown') this.notCheckable(seq, `the decision on step ${step}: ${why}`)
    else if (after)
      for (const { what, was, is } of changesOf(before, after)) {
        const by = is.policies.join(', ') || is.errors?.join('; ') || 'no policy'
        const message = `step ${step}${what}: recorded is ${was.effect}, and by its policies it is ${is.effect} (${by})`
        this.#breach('decision', seq, message)
      }
  }
}

type Said = Pick<Decision, 'effect' | 'policies' | 'errors'>

/** What of a decision came out otherwise: where it is not the whole, some targets of a model call. */
function changesOf(before: Decision, after: Decision): { what: string; was: Said; is: Said }[] {
  const whole = { what: '', was: before, is: after }
  if (before.effect !== after.effect) return [whole]
  const targets = (before.targets ?? []).flatMap((was, at) => {
    const is = after.targets?.[at] ?? after
    return was.effect === is.effect ? [] : [{ what: ` at ${was.name}`, was, is }]
  })
  return targets.length > 0 ? targets : [whole]
}

import type { EntryOf, LimitsByName, Priority, StepKind, Usage } from '@muster/protocol'
import type { Kind, Limits, Resource, RunHandle, Scheduler } from '@muster/scheduler'
import type { Slices } from '../limits/slices.ts'
import type { Operation } from './step.ts'

/** What the scheduler is told of all steps that call one tool, model, agent or memory operation. */
export interface StepClass {
  readonly kind: Kind
  /** What limits it, and what a 429 closes: at most one. */
  readonly needs: readonly Resource[]
  /** What such a step is thought to use of its buckets before it is known: a moving average, tokens. */
  tokens: number
}

/** How long a step is thought to last before the first has ended, ms. */
const USUAL_MS: Partial<Record<StepKind, number>> = { model: 3000, tool: 50, agent: 30_000, memory: 10 }
/** Tokens of a model call before the first has ended. */
const USUAL_TOKENS = 2000
/** Classes that are told apart: routes can be named by clients, so there could be any number. */
const CLASSES_MAX = 10_000

const priorities: Record<Priority, 0 | 1 | 2> = { high: 0, normal: 1, low: 2 }

/** Which limits hold for which step: makes the scheduler's kinds and resources as steps come that need them. */
export class Kinds {
  readonly #scheduler: Scheduler
  readonly #limits: LimitsByName
  readonly #slices: Slices
  readonly #classes = new Map<StepKind, Map<string, StepClass>>()
  #count = 0
  /** By name, as in the limits. */
  readonly #resources = new Map<string, Resource>()

  constructor(scheduler: Scheduler, limits: LimitsByName, slices: Slices) {
    this.#scheduler = scheduler
    this.#limits = limits
    this.#slices = slices
  }

  /** Opens a run at the scheduler, under what limits its tenant and its definition: its `needs`. */
  open({ tenant, definition, priority }: EntryOf<'run.created'>): { slot: RunHandle; needs: readonly Resource[] } {
    const ofTenant = this.#resource(`tenant:${tenant}`)
    const ofDefinition = this.#resource(`${definition.kind}:${definition.name}`)
    const needs = [ofTenant, ofDefinition].filter((resource) => resource !== undefined)
    return { slot: this.#scheduler.openRun(tenant, priorities[priority ?? 'normal'], needs), needs }
  }

  /** A step is coming: what it needs should be there. */
  want(of: StepClass, needs: readonly Resource[]): void {
    if (of.needs.length > 0) this.#slices.want(of.needs)
    if (needs.length > 0) this.#slices.want(needs)
  }

  of({ kind, target }: Operation): StepClass {
    let classes = this.#classes.get(kind)
    if (!classes) {
      classes = new Map()
      this.#classes.set(kind, classes)
    }
    const known = classes.get(target)
    if (known) return known
    // Beyond the bound all of a kind are one, and share what limits `*`.
    const name = this.#count < CLASSES_MAX ? target : '*'
    const shared = classes.get(name)
    if (shared) return shared
    const made = this.#class(kind, name)
    this.#count++
    classes.set(name, made)
    return made
  }

  #class(kind: StepKind, target: string): StepClass {
    // The limits of an agent hold for its own run's steps, not for the one that waits for it.
    const limited = kind === 'tool' || kind === 'model' ? this.#resource(`${kind}:${target}`) : undefined
    // Any model may answer 429, limited by us or not.
    const resource = limited ?? (kind === 'model' ? this.#scheduler.resource({}) : undefined)
    const needs = resource === undefined ? [] : [resource]
    return {
      kind: this.#scheduler.kind({ ms: USUAL_MS[kind] ?? 1, needs }),
      needs,
      tokens: kind === 'model' ? USUAL_TOKENS : 0,
    }
  }

  #resource(name: string): Resource | undefined {
    const known = this.#resources.get(name)
    if (known !== undefined) return known
    const limits = limitsOf(this.#limits, name)
    if (!limits) return undefined
    const resource = this.#slices.add(name, limits)
    this.#resources.set(name, resource)
    return resource
  }

  /** Nothing of this class starts before `until`. */
  close({ needs }: StepClass, until: number): void {
    for (const resource of needs) this.#scheduler.closeResource(resource, until)
  }

  /** An attempt of a step has ended well: corrects what was reserved for it, and what is thought of the next. */
  ended(of: StepClass, needs: readonly Resource[], reserved: number, ms: number, usage: Usage | undefined): void {
    this.#scheduler.learn(of.kind, ms)
    if (reserved === 0 || !usage) return
    const used = usage.inputTokens + usage.outputTokens
    of.tokens = Math.max(Math.round(of.tokens + (used - of.tokens) / 8), 1)
    this.correct(of, needs, used - reserved)
  }

  /** So many tokens more (or less, below 0) than a step of a run with these needs had reserved. */
  correct(of: StepClass, needs: readonly Resource[], tokens: number): void {
    for (const resource of of.needs) this.#scheduler.correct(resource, tokens)
    for (const resource of needs) this.#scheduler.correct(resource, tokens)
  }
}

/** An own entry, or that for all others of its class. */
function limitsOf(limits: LimitsByName, name: string): Limits | undefined {
  if (Object.hasOwn(limits, name)) return limits[name]
  const others = `${name.slice(0, name.indexOf(':'))}:*`
  return Object.hasOwn(limits, others) ? limits[others] : undefined
}

import type { EntryOf, LimitsByName, Priority, StepKind, Usage } from '@muster/protocol'
import type { Kind, Limits, Resource, RunHandle, Scheduler } from '@muster/scheduler'
import type { Operation } from './step.ts'

/** What the scheduler is told of all steps that call one tool, model, agent or memory operation. */
export interface StepClass {
  readonly kind: Kind
  /** What a 429 closes; undefined where nothing can. */
  readonly resource: Resource | undefined
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
  readonly #classes = new Map<StepKind, Map<string, StepClass>>()
  #count = 0
  /** By name, as in the limits; undefined where there is none. */
  readonly #resources = new Map<string, Resource | undefined>()
  readonly #onLimited: (name: string, resource: Resource, limits: Limits) => void

  /** `onLimited` hears of each resource that has limits, once, before anything uses it. */
  constructor(
    scheduler: Scheduler,
    limits: LimitsByName,
    onLimited: (name: string, resource: Resource, limits: Limits) => void,
  ) {
    this.#scheduler = scheduler
    this.#limits = limits
    this.#onLimited = onLimited
  }

  /** Opens a run at the scheduler under what limits its tenant and its definition. */
  open({ tenant, definition, priority }: EntryOf<'run.created'>): RunHandle {
    const ofTenant = this.#resource(`tenant:${tenant}`)
    const ofDefinition = this.#resource(`${definition.kind}:${definition.name}`)
    const needs = [ofTenant, ofDefinition].filter((resource) => resource !== undefined)
    return this.#scheduler.openRun(tenant, priorities[priority ?? 'normal'], needs)
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
    return {
      kind: this.#scheduler.kind({ ms: USUAL_MS[kind] ?? 1, needs: resource === undefined ? [] : [resource] }),
      resource,
      tokens: kind === 'model' ? USUAL_TOKENS : 0,
    }
  }

  #resource(name: string): Resource | undefined {
    if (this.#resources.has(name)) return this.#resources.get(name)
    const limits = limitsOf(this.#limits, name)
    if (!limits) return undefined
    const resource = this.#scheduler.resource(limits)
    this.#resources.set(name, resource)
    this.#onLimited(name, resource, limits)
    return resource
  }

  /** Nothing of this class starts before `until`. */
  close({ resource }: StepClass, until: number): void {
    if (resource !== undefined) this.#scheduler.closeResource(resource, until)
  }

  /** An attempt of a step has ended well: corrects what was reserved for it, and what is thought of the next. */
  ended(of: StepClass, created: EntryOf<'run.created'>, reserved: number, ms: number, usage: Usage | undefined): void {
    this.#scheduler.learn(of.kind, ms)
    if (reserved === 0 || !usage) return
    const used = usage.inputTokens + usage.outputTokens
    of.tokens = Math.max(Math.round(of.tokens + (used - of.tokens) / 8), 1)
    this.correct(of, created, used - reserved)
  }

  /** So many tokens more (or less, below 0) than a step had reserved. */
  correct({ resource }: StepClass, { tenant, definition }: EntryOf<'run.created'>, tokens: number): void {
    const names = [`tenant:${tenant}`, `${definition.kind}:${definition.name}`]
    for (const of of [resource, ...names.map((name) => this.#resources.get(name))])
      if (of !== undefined) this.#scheduler.correct(of, tokens)
  }
}

/** An own entry, or that for all others of its class. */
function limitsOf(limits: LimitsByName, name: string): Limits | undefined {
  if (Object.hasOwn(limits, name)) return limits[name]
  const others = `${name.slice(0, name.indexOf(':'))}:*`
  return Object.hasOwn(limits, others) ? limits[others] : undefined
}

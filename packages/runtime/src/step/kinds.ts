import type { Actor, EntryOf, LimitsByName, Priority, StepKind, Usage } from '@muster/protocol'
import type { Kind, Limits, Resource, RunHandle, Scheduler } from '@muster/scheduler'
import type { Slices } from '../limits/slices.ts'
import type { Operation } from './step.ts'

/** What the scheduler is told of all steps that call one tool, model, agent or memory operation. */
export interface StepClass {
  readonly kind: Kind
  /** What limits all such steps, and a 429 closes. */
  readonly own: Resource | undefined
  /** Whether what limits calls of who began the run limits it too. */
  readonly isCall: boolean
  /** What such a step is thought to use of its buckets before it is known: a moving average, tokens. */
  tokens: number
}

/** How long a step is thought to last before the first has ended, ms. */
const USUAL_MS: Partial<Record<StepKind, number>> = { model: 3000, tool: 50, agent: 30_000, memory: 10 }
/** Tokens of a model call before the first has ended. */
const USUAL_TOKENS = 2000
/** Classes that are told apart: routes can be named by clients, so there could be any number. */
const CLASSES_MAX = 10_000

/** What limits the steps of a run. */
export interface Needs {
  /** All of them: its tenant's limits and its definition's. */
  readonly steps: readonly Resource[]
  /** Its model calls: those of who began it. */
  readonly calls: readonly Resource[]
}

const NOTHING: readonly Resource[] = []
const priorities: Record<Priority, 0 | 1 | 2> = { high: 0, normal: 1, low: 2 }

/** Which limits hold for which step: makes the scheduler's kinds and resources as steps come that need them. */
export class Kinds {
  readonly #scheduler: Scheduler
  readonly #limits: LimitsByName
  readonly #slices: Slices
  readonly #classes = new Map<StepKind, Map<string, StepClass>>()
  #count = 0
  /** By name, and the names. */
  readonly #resources = new Map<string, Resource>()
  readonly #names = new Map<Resource, string>()
  /** Whether any holds for who begins runs. */
  readonly #limitsCallers: boolean

  constructor(scheduler: Scheduler, limits: LimitsByName, slices: Slices) {
    this.#scheduler = scheduler
    this.#limits = limits
    this.#slices = slices
    this.#limitsCallers = Object.keys(limits).some((name) => /^(user|team|key):/.test(name))
  }

  /** Opens a run at the scheduler, under what limits its tenant, its definition and who began it. */
  open({ tenant, definition, priority, by }: EntryOf<'run.created'>): { slot: RunHandle; needs: Needs } {
    const ofTenant = this.#resource(`tenant:${tenant}`)
    const ofDefinition = this.#resource(`${definition.kind}:${definition.name}`)
    const steps = [ofTenant, ofDefinition].filter((resource) => resource !== undefined)
    const calls = this.#limitsCallers ? this.#callsOf(tenant, by) : NOTHING
    const slot = this.#scheduler.openRun(tenant, priorities[priority ?? 'normal'], steps, calls)
    return { slot, needs: { steps, calls } }
  }

  /** Names are a tenant's own: two tenants may each have a user of one name. */
  #callsOf(tenant: string, { user, team, key }: Actor): readonly Resource[] {
    const names = [`user:${user}`, `key:${key}`, ...(team === undefined ? [] : [`team:${team}`])]
    return names.flatMap((name) => this.#resource(name, tenant) ?? [])
  }

  /** A step is coming: what it needs should be there. */
  want(of: StepClass, needs: Needs): void {
    for (const resource of resourcesOf(of, needs)) this.#slices.want(resource)
  }

  /** Of the limits that a step needs, those by whose lack steps are held back now, by name. */
  awaited(of: StepClass, needs: Needs): string[] {
    const awaited = resourcesOf(of, needs).filter((resource) => this.#scheduler.isAwaited(resource))
    return awaited.flatMap((resource) => this.#names.get(resource) ?? [])
  }

  /** When a step of so many tokens may start, by what limits it here; Infinity where that cannot be told. */
  opensAt(of: StepClass, needs: Needs, tokens: number): number {
    return Math.max(0, ...resourcesOf(of, needs).map((resource) => this.#scheduler.opensAt(resource, tokens)))
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
    const own = limited ?? (kind === 'model' ? this.#unlimited(target) : undefined)
    const isCall = kind === 'model'
    return {
      kind: this.#scheduler.kind({ ms: USUAL_MS[kind] ?? 1, needs: own === undefined ? NOTHING : [own], isCall }),
      own,
      isCall,
      tokens: isCall ? USUAL_TOKENS : 0,
    }
  }

  /** Of a tenant's own names, where one is given. */
  #resource(name: string, tenant?: string): Resource | undefined {
    const place = tenant === undefined ? name : JSON.stringify([name, tenant])
    const known = this.#resources.get(place)
    if (known !== undefined) return known
    const limits = limitsOf(this.#limits, name)
    if (!limits) return undefined
    const resource = this.#slices.add(place, limits)
    this.#resources.set(place, resource)
    this.#names.set(resource, name)
    return resource
  }

  /** Of a route without limits: all who call it are held back together where it answers 429. */
  #unlimited(route: string): Resource {
    const place = `model:${route}`
    const resource = this.#resources.get(place) ?? this.#scheduler.resource({})
    this.#resources.set(place, resource)
    return resource
  }

  /** No step of what this one calls starts before `until`. */
  close({ own }: StepClass, until: number): void {
    if (own !== undefined) this.#scheduler.closeResource(own, until)
  }

  /** An attempt of a step has ended well: corrects what was reserved for it, and what is thought of the next. */
  ended(of: StepClass, needs: Needs, reserved: number, ms: number, usage: Usage | undefined): void {
    this.#scheduler.learn(of.kind, ms)
    if (reserved === 0 || !usage) return
    const used = usage.inputTokens + usage.outputTokens
    of.tokens = Math.max(Math.round(of.tokens + (used - of.tokens) / 8), 1)
    this.correct(of, needs, used - reserved)
  }

  /** So many tokens more (or less, below 0) than a step of a run with these needs had reserved. */
  correct(of: StepClass, needs: Needs, tokens: number): void {
    for (const resource of resourcesOf(of, needs)) this.#scheduler.correct(resource, tokens)
  }
}

/** What a step of such a run needs. */
function resourcesOf({ own, isCall }: StepClass, { steps, calls }: Needs): readonly Resource[] {
  if (own === undefined && (!isCall || calls.length === 0)) return steps
  return [...(own === undefined ? [] : [own]), ...steps, ...(isCall ? calls : NOTHING)]
}

/** An own entry, or that for all others of its class. */
function limitsOf(limits: LimitsByName, name: string): Limits | undefined {
  if (Object.hasOwn(limits, name)) return limits[name]
  const others = `${name.slice(0, name.indexOf(':'))}:*`
  return Object.hasOwn(limits, others) ? limits[others] : undefined
}

import type { Controls } from '@muster/journal'
import {
  type Actor,
  callerNames,
  type EntryOf,
  type LimitsByName,
  type Priority,
  type StepKind,
  type Usage,
} from '@muster/protocol'
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

/** A limit that holds here: of a tenant's own name, where one is given. */
interface Held {
  readonly name: string
  readonly tenant: string | undefined
  readonly resource: Resource
  limits: Limits
}

/** A run, as far as limits go. */
interface Limited {
  readonly created: EntryOf<'run.created'>
  readonly slot: RunHandle
  needs: Needs
}

const NOTHING: readonly Resource[] = []
const priorities: Record<Priority, 0 | 1 | 2> = { high: 0, normal: 1, low: 2 }

/** Which limits hold for which step: makes the scheduler's kinds and resources as steps come that need them. */
export class Kinds {
  readonly #scheduler: Scheduler
  /** What the deployment has, and what operators set while this worker runs. */
  readonly #configured: LimitsByName
  readonly #controls: Pick<Controls, 'limits' | 'limitsVersion'>
  readonly #slices: Slices
  readonly #classes = new Map<StepKind, Map<string, StepClass>>()
  #count = 0
  /** By place, and by resource. */
  readonly #held = new Map<string, Held>()
  readonly #byResource = new Map<Resource, Held>()
  /** Of routes without limits. */
  readonly #unlimited = new Map<string, Resource>()
  /** Whether the deployment limits who begins runs. */
  readonly #limitsCallers: boolean
  #version = 0

  constructor(
    scheduler: Scheduler,
    slices: Slices,
    limits: { configured: LimitsByName; controls: Pick<Controls, 'limits' | 'limitsVersion'> },
  ) {
    this.#scheduler = scheduler
    this.#slices = slices
    this.#configured = limits.configured
    this.#controls = limits.controls
    this.#limitsCallers = Object.keys(limits.configured).some((name) => /^(user|team|key):/.test(name))
  }

  /** Opens a run at the scheduler, under what limits its tenant, its definition and who began it, until `closeRun`. */
  open(created: EntryOf<'run.created'>): { slot: RunHandle; needs: Needs } {
    const { tenant, priority } = created
    const needs = this.#needsOf(created)
    const slot = this.#scheduler.openRun(tenant, priorities[priority ?? 'normal'], needs.steps, needs.calls)
    this.#use(needs)
    return { slot, needs }
  }

  closeRun({ slot, needs }: Limited): void {
    this.#scheduler.closeRun(slot)
    this.#leave(needs)
  }

  /** Goes by the limits that are set now, for what is under way too. */
  heed(runs: Iterable<Limited>): void {
    const { limitsVersion } = this.#controls
    if (limitsVersion === this.#version) return
    this.#version = limitsVersion
    const gone: Resource[] = []
    for (const held of this.#held.values()) {
      const limits = this.#limitsOf(held.name, held.tenant)
      if (limits === held.limits) continue
      if (limits) {
        held.limits = limits
        this.#slices.change(held.resource, limits)
      } else {
        this.#forget(held)
        gone.push(held.resource)
      }
    }
    for (const run of runs) this.#renew(run)
    for (const resource of gone) {
      this.#scheduler.reconsider(resource)
      this.#slices.remove(resource)
    }
  }

  #renew(run: Limited): void {
    const needs = this.#needsOf(run.created)
    if (same(needs.steps, run.needs.steps) && same(needs.calls, run.needs.calls)) return
    this.#scheduler.setNeeds(run.slot, needs.steps, needs.calls)
    this.#use(needs)
    this.#leave(run.needs)
    run.needs = needs
    for (const resource of [...needs.steps, ...needs.calls]) this.#slices.want(resource)
  }

  #use({ steps, calls }: Needs): void {
    for (const resource of steps) this.#slices.use(resource)
    for (const resource of calls) this.#slices.use(resource)
  }

  #leave({ steps, calls }: Needs): void {
    for (const resource of steps) this.#slices.leave(resource)
    for (const resource of calls) this.#slices.leave(resource)
  }

  #needsOf({ tenant, definition, by }: EntryOf<'run.created'>): Needs {
    const set = this.#controls.limits(tenant)
    const steps = [
      this.#resource(`tenant:${tenant}`),
      set && this.#resource('tenant', tenant),
      this.#resource(`${definition.kind}:${definition.name}`),
    ].filter((resource) => resource !== undefined)
    return { steps, calls: this.#limitsCallers || set ? this.#callsOf(tenant, by) : NOTHING }
  }

  /** Names are a tenant's own: two tenants may each have a user of one name. */
  #callsOf(tenant: string, by: Actor): readonly Resource[] {
    return callerNames(by).flatMap((name) => this.#resource(name, tenant) ?? [])
  }

  /** A step is coming: what it needs should be there. */
  want(of: StepClass, needs: Needs): void {
    for (const resource of resourcesOf(of, needs)) this.#slices.want(resource)
  }

  /** Of the limits that a step needs, those by whose lack steps are held back now, and how long it takes to earn one of them, ms. */
  awaited(of: StepClass, needs: Needs, tokens: number): { name: string; earnsMs: number }[] {
    const awaited = resourcesOf(of, needs).filter((resource) => this.#scheduler.isAwaited(resource))
    return awaited.flatMap((resource) => {
      const held = this.#byResource.get(resource)
      return held ? [{ name: held.name, earnsMs: this.#slices.earnsMs(resource, tokens) }] : []
    })
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
    const own = limited ?? (kind === 'model' ? this.#unlimitedOf(target) : undefined)
    if (limited !== undefined) this.#slices.use(limited)
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
    const place = placeOf(name, tenant)
    const known = this.#held.get(place)
    if (known) return known.resource
    const limits = this.#limitsOf(name, tenant)
    if (!limits) return undefined
    const resource = this.#slices.add(place, limits, () => this.#forget(held))
    const held = { name, tenant, resource, limits }
    this.#held.set(place, held)
    this.#byResource.set(resource, held)
    return resource
  }

  #forget({ name, tenant, resource }: Held): void {
    this.#held.delete(placeOf(name, tenant))
    this.#byResource.delete(resource)
  }

  /** What was set holds before what the deployment has of the same name, and both before those for all others. */
  #limitsOf(name: string, tenant: string | undefined): Limits | undefined {
    const configured = this.#configured
    const set = tenant === undefined ? undefined : this.#controls.limits(tenant)
    // Beside what the deployment has for the tenant, which is not its own to raise.
    if (name === 'tenant') return set?.get(name)?.limit
    const own = set?.get(name)?.limit ?? (Object.hasOwn(configured, name) ? configured[name] : undefined)
    if (own) return own
    const others = `${name.slice(0, name.indexOf(':'))}:*`
    return set?.get(others)?.limit ?? (Object.hasOwn(configured, others) ? configured[others] : undefined)
  }

  /** Of a route without limits: all who call it are held back together where it answers 429. */
  #unlimitedOf(route: string): Resource {
    const resource = this.#unlimited.get(route) ?? this.#scheduler.resource({})
    this.#unlimited.set(route, resource)
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

function placeOf(name: string, tenant: string | undefined): string {
  return tenant === undefined ? name : JSON.stringify([name, tenant])
}

function same(a: readonly Resource[], b: readonly Resource[]): boolean {
  return a.length === b.length && a.every((resource, i) => resource === b[i])
}

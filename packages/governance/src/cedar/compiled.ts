import type { PolicyJson } from '@cedar-policy/cedar-wasm/nodejs'
import { Constants, ExpressionCompiler } from './expression.ts'
import { readUid } from './json.ts'
import { type Entities, OPERATORS } from './operators.ts'
import type { PolicySources } from './policies.ts'
import { type CedarRecord, EvaluationFailure, type Uid } from './value.ts'

/** A question to policies, with its values read already. */
export interface Request {
  principal: Uid
  action: Uid
  resource: Uid
  context: CedarRecord
  entities: Entities
}

/** What policies answer: which decided, and which could not be evaluated and were left out. */
export interface Verdict {
  decision: 'allow' | 'deny'
  /** Ids of the policies that decided, in the order of the set. */
  reasons: readonly string[]
  errors: readonly { policyId: string; message: string }[]
}

type Holds = (P: Uid, A: Uid, R: Uid, C: CedarRecord, E: Entities) => boolean

/** Where a policy may apply, as far as that is known without entities: a key (`==`), a type (`is`), or anywhere. */
interface Place {
  key?: string
  type?: string
}

interface Policy {
  id: string
  isForbid: boolean
  principal: Place
  action: Place
  resource: Place
  holds: Holds
}

/** Ways to a list of candidates that are kept before all are made anew. */
const PLACES_MAX = 10_000

/**
 * A set of policies as JavaScript functions, found by action, resource and principal. Decides as
 * Cedar's authorizer does: allow when a permit is satisfied and no forbid is; a policy that fails to
 * evaluate is left out and named. Source: Cedar's reference, "Authorization".
 */
export class CompiledPolicies {
  readonly #policies: readonly Policy[]
  readonly #named: { principal: NamedPlaces; action: NamedPlaces; resource: NamedPlaces }
  #candidates = new Map<string, Map<string, Map<string, readonly Policy[]>>>()
  #places = 0

  /** @throws Irregular when a policy has what the compiler does not know */
  constructor(sources: PolicySources) {
    const constants = new Constants()
    const bodies: string[] = []
    const policies: Omit<Policy, 'holds'>[] = []
    for (const { id, json, longs, slots } of sources) {
      const compiler = new ExpressionCompiler(constants, longs, slots)
      bodies.push(conditionOf(json, compiler, constants, slots))
      policies.push({
        id,
        isForbid: json.effect === 'forbid',
        principal: placeOf(json.principal, slots),
        action: placeOf(json.action, slots),
        resource: placeOf(json.resource, slots),
      })
    }
    // The text is made of operators, places of constants and the five parameters alone; see `Constants`.
    const make = new Function('k', 'o', `"use strict";return[${bodies.map((body) => `(P,A,R,C,E)=>${body}`).join()}]`)
    const functions: Holds[] = make(constants.values, OPERATORS)
    this.#policies = policies.map((policy, i) => ({ ...policy, holds: functions[i] }))
    this.#named = {
      principal: new NamedPlaces(policies.map(({ principal }) => principal)),
      action: new NamedPlaces(policies.map(({ action }) => action)),
      resource: new NamedPlaces(policies.map(({ resource }) => resource)),
    }
  }

  decide({ principal, action, resource, context, entities }: Request): Verdict {
    let permits: string[] | undefined
    let forbids: string[] | undefined
    let errors: Verdict['errors'][number][] | undefined
    for (const { id, isForbid, holds } of this.#candidatesFor(principal, action, resource)) {
      try {
        if (!holds(principal, action, resource, context, entities)) continue
      } catch (failure) {
        if (!(failure instanceof EvaluationFailure)) throw failure
        errors ??= []
        errors.push({ policyId: id, message: failure.message })
        continue
      }
      if (isForbid) {
        forbids ??= []
        forbids.push(id)
      } else {
        permits ??= []
        permits.push(id)
      }
    }
    return {
      decision: forbids === undefined && permits !== undefined ? 'allow' : 'deny',
      reasons: forbids ?? permits ?? [],
      errors: errors ?? [],
    }
  }

  /** The policies whose scope may fit: found once for each place that policies tell apart. */
  #candidatesFor(principal: Uid, action: Uid, resource: Uid): readonly Policy[] {
    const a = this.#named.action.of(action)
    const r = this.#named.resource.of(resource)
    const p = this.#named.principal.of(principal)
    const known = this.#candidates.get(a)?.get(r)?.get(p)
    if (known !== undefined) return known
    if (++this.#places > PLACES_MAX) {
      this.#candidates = new Map()
      this.#places = 1
    }
    const found = this.#policies.filter(
      (policy) => fits(policy.principal, principal) && fits(policy.action, action) && fits(policy.resource, resource),
    )
    const byResource = this.#candidates.get(a) ?? new Map<string, Map<string, readonly Policy[]>>()
    const byPrincipal = byResource.get(r) ?? new Map<string, readonly Policy[]>()
    this.#candidates.set(a, byResource.set(r, byPrincipal.set(p, found)))
    return found
  }
}

/** Tells entities apart as far as the scopes of policies do: those that they name by key, the rest by type. */
class NamedPlaces {
  readonly #keys: ReadonlySet<string>

  constructor(places: readonly Place[]) {
    this.#keys = new Set(places.flatMap(({ key }) => key ?? []))
  }

  of({ key, type }: Uid): string {
    return this.#keys.has(key) ? key : type
  }
}

function fits({ key, type }: Place, uid: Uid): boolean {
  return (key === undefined || key === uid.key) && (type === undefined || type === uid.type)
}

type Scope = PolicyJson['principal'] | PolicyJson['action'] | PolicyJson['resource']

function placeOf(scope: Scope, slots: ReadonlyMap<string, Uid>): Place {
  if (scope.op === '==') return { key: uidOf(scope, slots).key }
  return scope.op === 'is' ? { type: scope.entity_type } : {}
}

function uidOf(of: { entity: unknown } | { slot: string } | object, slots: ReadonlyMap<string, Uid>): Uid {
  if ('entity' in of) return readUid(of.entity, 'scope')
  const uid = 'slot' in of ? slots.get(of.slot) : undefined
  // Cedar's parser lets no other scope through, and links give every slot.
  if (uid === undefined) throw new TypeError('a scope without an entity')
  return uid
}

/** Code of all that the place does not say already: `in` of the scope, then the conditions from the left. */
function conditionOf(
  { principal, action, resource, conditions }: PolicyJson,
  compiler: ExpressionCompiler,
  constants: Constants,
  slots: ReadonlyMap<string, Uid>,
): string {
  const parts: string[] = []
  const isIn = (variable: string, of: Uid | Uid[]) => parts.push(`o.in(E,${variable},${constants.add(of)})`)
  for (const [variable, scope] of [
    ['P', principal],
    ['A', action],
    ['R', resource],
  ] as const) {
    if (scope.op === 'in')
      isIn(
        variable,
        'entities' in scope ? scope.entities.map((entity) => readUid(entity, 'scope')) : uidOf(scope, slots),
      )
    else if (scope.op === 'is' && scope.in !== undefined) isIn(variable, uidOf(scope.in, slots))
  }
  for (const { kind, body } of conditions) {
    const { code } = compiler.condition(body)
    parts.push(kind === 'when' ? code : `!${code}`)
  }
  return parts.length === 0 ? 'true' : parts.join('&&')
}

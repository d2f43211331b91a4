import type { Json } from '@muster/protocol'
import type { Request } from './cedar/compiled.ts'
import type { Entity } from './cedar/operators.ts'
import { type CedarRecord, type Decimal, decimal, fail, Uid, type Value } from './cedar/value.ts'
import type { PolicyRequest } from './request.ts'
import { clientInput, type InputType } from './schema.ts'
import { type ModelTarget, TARGET_FIELDS } from './target.ts'

/** Tenants, and entities of one, that are kept before all are made anew. */
const TENANTS_MAX = 1_000
const ENTITIES_MAX = 10_000

const NONE: ReadonlySet<string> = new Set()
/** Which roles have approved is for the set to say. */
const NOBODY: readonly string[] = []

/** An input that is there and cannot be looked into in any way, whatever a policy asks of it. */
const UNRECORDED: { [field: string]: Value } = new Proxy(
  {},
  new Proxy({}, { get: () => () => fail('the input was not recorded') }),
)

/** The entities that the questions of one tenant are about: who acts, on what, for whom. */
class TenantEntities {
  readonly byKey = new Map<string, Entity>()
  readonly #tenant: string
  readonly #byName = new Map<string, Map<string, Entity>>()

  constructor(name: string) {
    const uid = new Uid('Tenant', name)
    this.#tenant = uid.key
    this.byKey.set(uid.key, { uid, attributes: {}, tags: {}, ancestors: NONE })
  }

  /** The entity of that type and name, made where it is not known or is another by now. */
  get(type: string, name: string, effect?: string, approved?: boolean): Uid {
    const known = this.#byName.get(type)?.get(name)
    if (known && known.attributes.effect === effect && known.attributes.approved === approved) return known.uid
    if (this.byKey.size >= ENTITIES_MAX) {
      this.byKey.clear()
      this.#byName.clear()
    }
    const uid = new Uid(type, name)
    const isMember = type === 'Agent' || type === 'Plan'
    const entity: Entity = {
      uid,
      attributes: attributesOf(name, effect, approved),
      tags: {},
      ancestors: isMember ? new Set([this.#tenant]) : NONE,
    }
    this.byKey.set(uid.key, entity)
    this.#byName.set(type, (this.#byName.get(type) ?? new Map<string, Entity>()).set(name, entity))
    return uid
  }
}

function attributesOf(name: string, effect?: string, approved?: boolean): CedarRecord {
  if (effect === undefined) return { name }
  return approved === undefined ? { name, effect } : { name, effect, approved }
}

/** The actions that there are; none is in another. */
const ACTIONS = new Map<string, Uid>()

function actionOf(name: string): Uid {
  const known = ACTIONS.get(name)
  if (known !== undefined) return known
  const uid = new Uid('Action', name)
  ACTIONS.set(name, uid)
  return uid
}

/** Turns what the runtime asks into Cedar's values, exactly or not at all. */
export class Questions {
  readonly #inputTypes: ReadonlyMap<string, InputType>
  readonly #ofTarget: boolean
  #tenants = new Map<string, TenantEntities>()

  constructor(inputTypes: ReadonlyMap<string, InputType>, ofTarget = false) {
    this.#inputTypes = inputTypes
    this.#ofTarget = ofTarget
  }

  /** The question, or why Cedar cannot be asked: something that it would have to round, or does not know. */
  read(request: PolicyRequest, history?: CedarRecord): Request | string {
    const { tenant, principal, action, resource, labels } = request
    const spent = decimal(request.spentUsd)
    if (spent === undefined) return 'spent cannot be represented in Cedar'
    if (resource.effect === undefined && (resource.type === 'Tool' || resource.type === 'Code'))
      return `the effect of ${resource.name} is not known`
    const input = this.#inputOf(request)
    if (typeof input === 'string') return input
    const entities = this.#entitiesOf(tenant)
    const context = contextOf(request, { labels, spent }, input, history)
    return {
      principal: entities.get(principal.type, principal.name),
      action: actionOf(action),
      resource: entities.get(
        resource.type,
        resource.name,
        resource.effect,
        resource.type === 'Tool' ? (resource.approved ?? true) : undefined,
      ),
      context: this.#ofTarget && action === 'model:invoke' ? withTarget(context, request.targets?.[0]) : context,
      entities: entities.byKey,
    }
  }

  #inputOf({ action, input, unrecorded }: PolicyRequest): { [field: string]: Value } | string | undefined {
    if (action !== 'tool:call' && action !== 'gateway:tool') return undefined
    if (unrecorded === true) return UNRECORDED
    return action === 'gateway:tool' ? clientInput(input ?? null) : this.#input(input)
  }

  #entitiesOf(tenant: string): TenantEntities {
    const known = this.#tenants.get(tenant)
    if (known !== undefined) return known
    if (this.#tenants.size >= TENANTS_MAX) this.#tenants = new Map()
    const entities = new TenantEntities(tenant)
    this.#tenants.set(tenant, entities)
    return entities
  }

  /** Of an input, the fields that the schema knows. */
  #input(input: Json | undefined): { [field: string]: Value } | string {
    const values: { [field: string]: Value } = {}
    if (input == null || typeof input !== 'object' || Array.isArray(input)) return values
    for (const field in input) {
      const type = this.#inputTypes.get(field)
      const value = input[field]
      if (type === undefined || value == null) continue
      const cedar = cedarValue(value, type)
      if (cedar === undefined) return `input.${field} cannot be represented in Cedar`
      values[field] = cedar
    }
    return values
  }
}

/** Written out: copying an object's fields into another would take longer than the decision. */
function contextOf(
  { action, user, key, team, newDestination = false }: PolicyRequest,
  { labels, spent }: { labels: readonly string[]; spent: Decimal },
  input: CedarRecord | undefined,
  history: CedarRecord | undefined,
): CedarRecord {
  const approvals = NOBODY
  const context: { [name: string]: Value } =
    input === undefined
      ? { labels, approvals, user, spent }
      : action === 'gateway:tool'
        ? { labels, approvals, user, spent, input }
        : { labels, approvals, user, spent, input, newDestination }
  if (key !== undefined) context.key = key
  if (team !== undefined) context.team = team
  if (history !== undefined) context.history = history
  return context
}

/** What is not known of a target fails whoever reads it. */
function withTarget(context: CedarRecord, target: ModelTarget | undefined): CedarRecord {
  const whole: { [name: string]: Value } = { ...context }
  for (const field of TARGET_FIELDS) {
    if (target) whole[field] = target[field]
    else
      Object.defineProperty(whole, field, { enumerable: true, get: () => fail('where the call goes was not recorded') })
  }
  return whole
}

function cedarValue(value: Json, type: InputType): Value | undefined {
  switch (type.type) {
    case 'String':
      return typeof value === 'string' ? value : undefined
    case 'Boolean':
      return typeof value === 'boolean' ? value : undefined
    case 'Long':
      return Number.isSafeInteger(value) ? Number(value) + 0 : undefined
    case 'Extension':
      return typeof value === 'number' ? decimal(value) : undefined
    case 'Set': {
      if (!Array.isArray(value)) return undefined
      const elements: Value[] = []
      for (const item of value) {
        const element = cedarValue(item, type.element)
        if (element === undefined) return undefined
        elements.push(element)
      }
      return elements
    }
  }
}

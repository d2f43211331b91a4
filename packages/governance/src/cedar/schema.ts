import {
  type ActionType,
  type EntityType as EntityTypeJson,
  type NamespaceDefinition,
  type SchemaJson,
  type Schema as SchemaSource,
  schemaToJsonWithResolvedTypes,
  schemaToText,
  type Type as TypeJson,
} from '@cedar-policy/cedar-wasm/nodejs'
import { CONSTRUCTORS } from './extension.ts'
import { Irregular } from './irregular.ts'
import type { Entity } from './operators.ts'
import { Datetime, Decimal, Duration, IpRange, isLong, isRecord, isSet, Uid, type Value } from './value.ts'

/** A type of Cedar's schema. `holds` says whether a value conforms to it. */
export type Type = { readonly name: string; holds(value: Value): boolean } & (
  | { readonly kind: 'primitive' }
  | { readonly kind: 'entity' }
  | { readonly kind: 'extension'; readonly of: string }
  | { readonly kind: 'set'; readonly element: Type }
  | { readonly kind: 'record'; readonly fields: ReadonlyMap<string, { type: Type; required: boolean }> }
)

export interface EntityType {
  readonly attributes: Type
  readonly tags: Type | undefined
  /** Types of which it can be a member, at any distance. */
  readonly ancestors: ReadonlySet<string>
  /** The only ids that there are. */
  readonly ids: ReadonlySet<string> | undefined
}

interface Action {
  readonly principals: ReadonlySet<string>
  readonly resources: ReadonlySet<string>
  readonly context: Type
}

export interface Schema {
  readonly types: ReadonlyMap<string, EntityType>
  /** By `Uid.key`. */
  readonly actions: ReadonlyMap<string, Action>
  /** The actions with their groups, by `Uid.key`: they are entities of every request. */
  readonly entities: ReadonlyMap<string, Entity>
}

/** Reads a schema in either form. @throws Irregular with Cedar's message when it is none */
export function readSchema(source: SchemaSource): Schema {
  return new SchemaReader(resolve(source)).schema
}

/** Cedar resolves what a name means only for a schema in Cedar's own syntax. */
function resolve(source: SchemaSource): SchemaJson<string> {
  let text = source
  if (typeof text !== 'string') {
    const written = schemaToText(text)
    if (written.type === 'failure') throw new Irregular(written.errors.map((error) => error.message).join('; '))
    text = written.text
  }
  const resolved = schemaToJsonWithResolvedTypes(text)
  if (resolved.type === 'failure') throw new Irregular(resolved.errors.map((error) => error.message).join('; '))
  return resolved.json
}

const OPEN_RECORD: TypeJson<string> = { type: 'Record', attributes: {} }

class SchemaReader {
  readonly schema: Schema
  readonly #common = new Map<string, TypeJson<string>>()
  readonly #enums = new Map<string, ReadonlySet<string>>()

  constructor(json: SchemaJson<string>) {
    const entityTypes = new Map<string, EntityTypeJson<string>>()
    const actions = new Map<string, { uid: Uid; json: ActionType<string> }>()
    for (const [namespace, { commonTypes = {}, ...definition }] of Object.entries(json)) {
      const inside = (name: string) => (namespace === '' ? name : `${namespace}::${name}`)
      for (const [name, type] of Object.entries(commonTypes)) this.#common.set(inside(name), type)
      this.#readNames(definition, inside, entityTypes, actions)
    }
    const types = new Map<string, EntityType>()
    for (const [name, type] of entityTypes) {
      const { shape, tags } = 'enum' in type ? { shape: undefined, tags: undefined } : type
      types.set(name, {
        attributes: this.#type(shape ?? OPEN_RECORD),
        tags: tags === undefined ? undefined : this.#type(tags),
        ancestors: reach(name, (name) => {
          const type = entityTypes.get(name)
          return type === undefined || 'enum' in type ? [] : (type.memberOfTypes ?? [])
        }),
        ids: this.#enums.get(name),
      })
    }
    const groups = (key: string): string[] =>
      (actions.get(key)?.json.memberOf ?? []).map(({ type = 'Action', id }) => new Uid(type, id).key)
    const entities = new Map<string, Entity>()
    const applicable = new Map<string, Action>()
    for (const [key, { uid, json }] of actions) {
      if (json.attributes !== undefined && Object.keys(json.attributes).length > 0)
        throw new Irregular(`action ${uid.id}: attributes of actions are not supported`)
      entities.set(key, { uid, attributes: {}, tags: {}, ancestors: reach(key, groups) })
      const { principalTypes = [], resourceTypes = [], context = OPEN_RECORD } = json.appliesTo ?? {}
      applicable.set(key, {
        principals: new Set(principalTypes),
        resources: new Set(resourceTypes),
        context: this.#type(context),
      })
    }
    this.schema = { types, actions: applicable, entities }
  }

  #readNames(
    { entityTypes, actions }: NamespaceDefinition<string>,
    inside: (name: string) => string,
    allTypes: Map<string, EntityTypeJson<string>>,
    allActions: Map<string, { uid: Uid; json: ActionType<string> }>,
  ): void {
    for (const [name, type] of Object.entries(entityTypes)) {
      allTypes.set(inside(name), type)
      if ('enum' in type) this.#enums.set(inside(name), new Set(type.enum))
    }
    for (const [id, json] of Object.entries(actions)) {
      const uid = new Uid(inside('Action'), id)
      allActions.set(uid.key, { uid, json })
    }
  }

  #type(json: TypeJson<string>): Type {
    switch (json.type) {
      case 'Set': {
        if (!('element' in json)) break
        const element = this.#type(json.element)
        const holds = (value: Value) => isSet(value) && value.every((item) => element.holds(item))
        return { kind: 'set', name: `a set of ${element.name}`, element, holds }
      }
      case 'Record':
        if ('attributes' in json) return this.#record(json.attributes)
        break
      case 'Entity':
        if ('name' in json) return this.#entity(json.name)
        break
      default:
    }
    const common = this.#common.get(json.type)
    if (common !== undefined) return this.#type(common)
    const name = json.type === 'Extension' && 'name' in json ? json.name : json.type.replace(/^__cedar::/, '')
    const holds = HOLDS[name]
    if (holds === undefined) throw new Irregular(`the type ${json.type} is not known`)
    return name in CONSTRUCTORS ? { kind: 'extension', name, of: name, holds } : { kind: 'primitive', name, holds }
  }

  #record(attributes: { [name: string]: TypeJson<string> & { required?: boolean } }): Type {
    const fields = new Map(
      Object.entries(attributes).map(([name, field]) => [
        name,
        { type: this.#type(field), required: field.required !== false },
      ]),
    )
    const holds = (value: Value): boolean => {
      if (!isRecord(value)) return false
      for (const [name, { type, required }] of fields)
        if (Object.hasOwn(value, name) ? !type.holds(value[name]) : required) return false
      return Object.keys(value).every((name) => fields.has(name))
    }
    return { kind: 'record', name: 'a record', fields, holds }
  }

  #entity(name: string): Type {
    const ids = this.#enums.get(name)
    const holds = (value: Value) =>
      value instanceof Uid && value.type === name && (ids === undefined || ids.has(value.id))
    return { kind: 'entity', name: `an entity of type ${name}`, holds }
  }
}

const HOLDS: { readonly [name: string]: (value: Value) => boolean } = {
  Long: isLong,
  String: (value) => typeof value === 'string',
  Bool: (value) => typeof value === 'boolean',
  Boolean: (value) => typeof value === 'boolean',
  decimal: (value) => value instanceof Decimal,
  ipaddr: (value) => value instanceof IpRange,
  datetime: (value) => value instanceof Datetime,
  duration: (value) => value instanceof Duration,
}

/** Everything that can be reached from a node, at any distance, in a graph that may have cycles. */
export function reach(from: string, next: (of: string) => Iterable<string>): ReadonlySet<string> {
  const reached = new Set<string>()
  const open = [from]
  for (let at = open.pop(); at !== undefined; at = open.pop()) {
    for (const one of next(at)) {
      if (reached.has(one)) continue
      reached.add(one)
      open.push(one)
    }
  }
  return reached
}

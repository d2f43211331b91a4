import { Irregular } from './irregular.ts'
import { readFields, readRecord, readUid } from './json.ts'
import type { Entities, Entity } from './operators.ts'
import { type EntityType, reach, type Schema } from './schema.ts'
import { type CedarRecord, equal, type Uid } from './value.ts'

/** An entity as it is written: with its parents only. */
interface Written {
  uid: Uid
  attributes: CedarRecord
  tags: CedarRecord
  parents: ReadonlySet<string>
}

const NONE: ReadonlySet<string> = new Set()

/**
 * Reads entities in Cedar's JSON form: `[{ uid, attrs, parents, tags? }]`. What an entity is in, at any
 * distance, is worked out here, once. With a schema, entities must conform to it, and its actions are
 * entities too.
 *
 * @throws Irregular naming the entity that is wrong, stands twice with different content, or is in itself
 */
export function readEntities(json: readonly unknown[], schema?: Schema): Entities {
  const all = new Map<string, Written>()
  for (const [i, one] of json.entries()) {
    const entity = readEntity(one, `entities[${i}]`, schema)
    const known = all.get(entity.uid.key)
    if (known && !isSame(known, entity)) throw new Irregular(`entities[${i}] stands twice, with different content`)
    all.set(entity.uid.key, entity)
  }
  const entities = new Map<string, Entity>(schema?.entities)
  for (const [key, { uid, attributes, tags, parents }] of all) {
    const ancestors = parents.size === 0 ? NONE : reach(key, (of) => all.get(of)?.parents ?? [])
    if (ancestors.has(key)) throw new Irregular(`${uid.type} ${JSON.stringify(uid.id)} is in itself`)
    const declared = schema?.entities.get(key)
    if (declared && !isSameSet(declared.ancestors, ancestors))
      throw new Irregular(`the action ${JSON.stringify(uid.id)} is not as the schema declares it`)
    entities.set(key, { uid, attributes, tags, ancestors })
  }
  if (schema) for (const [key, entity] of all) checkAncestors(entity, entities.get(key)?.ancestors ?? NONE, schema)
  return entities
}

function readEntity(json: unknown, path: string, schema: Schema | undefined): Written {
  if (typeof json !== 'object' || json === null) throw new Irregular(`${path}: an entity is { uid, attrs, parents }`)
  const { uid: name, attrs, parents, tags = {} } = json as { readonly [name: string]: unknown }
  const uid = readUid(name, `${path}.uid`)
  if (!Array.isArray(parents)) throw new Irregular(`${path}.parents: expected a list of entities`)
  const of = parents.map((parent, i) => readUid(parent, `${path}.parents[${i}]`))
  if (isAction(uid) && !of.every(isAction)) throw new Irregular(`${path}.parents: an action is in actions only`)
  const type = schema === undefined ? undefined : typeOf(uid, path, schema)
  const tagType = type?.tags
  const entity = {
    uid,
    attributes: readRecord(attrs, `${path}.attrs`, type?.attributes),
    tags: readFields(tags, `${path}.tags`, tagType),
    parents: new Set(of.map(({ key }) => key)),
  }
  if (schema !== undefined && tagType === undefined && Object.keys(entity.tags).length > 0)
    throw new Irregular(`${path}.tags: the schema has none for ${uid.type}`)
  return entity
}

function isAction({ type }: Uid): boolean {
  return /(?:^|::)Action$/.test(type)
}

const ACTION: EntityType = {
  attributes: { kind: 'record', name: 'a record', fields: new Map(), holds: () => true },
  tags: undefined,
  ancestors: NONE,
  ids: undefined,
}

function typeOf(uid: Uid, path: string, schema: Schema): EntityType {
  if (schema.entities.has(uid.key)) return ACTION
  const type = schema.types.get(uid.type)
  if (type === undefined) throw new Irregular(`${path}: the schema does not have ${uid.type} ${JSON.stringify(uid.id)}`)
  if (type.ids !== undefined && !type.ids.has(uid.id))
    throw new Irregular(`${path}: the schema has no ${uid.type} ${JSON.stringify(uid.id)}`)
  return type
}

/** An ancestor's key begins with its type: no type has a space in it. */
function checkAncestors({ uid }: Written, ancestors: ReadonlySet<string>, schema: Schema): void {
  const type = schema.types.get(uid.type)
  if (type === undefined) return
  for (const key of ancestors) {
    const space = key.indexOf(' ')
    const [name, id] = [key.slice(0, space), key.slice(space + 1)]
    if (!type.ancestors.has(name))
      throw new Irregular(`${uid.type} ${JSON.stringify(uid.id)} may not be in one of type ${name}`)
    if (schema.types.get(name)?.ids?.has(id) === false)
      throw new Irregular(`the schema has no ${name} ${JSON.stringify(id)}`)
  }
}

function isSame(a: Written, b: Written): boolean {
  return equal(a.attributes, b.attributes) && equal(a.tags, b.tags) && isSameSet(a.parents, b.parents)
}

function isSameSet(a: ReadonlySet<string>, b: ReadonlySet<string>): boolean {
  return a.size === b.size && a.isSubsetOf(b)
}

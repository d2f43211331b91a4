import type { CedarValueJson, EntityJson, TypeAndId } from '@cedar-policy/cedar-wasm/nodejs'
import type { Schema, Type } from '../schema.ts'
import type { RandomCedar } from './random-cedar.ts'

/** A schema with every kind of type, over the entity types and names that random policies use. */
export const SCHEMA = `
  type Place = { x?: Long, "a b"?: Set<String>, e?: N::T };
  entity U in [G, N::T] = {
    x: Long, y?: Bool, e?: U, s: Set<Long>, r?: Place, d?: decimal, t?: datetime, p?: ipaddr, toString?: String,
  } tags Long;
  entity G in [G] = { x?: Set<{ y?: duration }>, constructor?: __cedar::String } tags Set<String>;
  namespace N { entity T enum ["a", "b", ""]; entity V; }
  action a in [b] appliesTo { principal: [U, G], resource: [U, G, N::T], context: { x?: Long, s: Set<Set<Bool>>, r?: Place } };
  action b in [c] appliesTo { principal: U, resource: N::T, context: Place };
  action c;
  action d appliesTo { principal: [N::V], resource: [N::V] };
`

/** Requests and entities that conform to the schema, but for a mistake here and there. */
export class RandomConforming {
  readonly schema: Schema
  readonly #random: RandomCedar
  /** Of a hundred places, how many have something that was not asked for. */
  #mistakes = 0

  constructor(random: RandomCedar, schema: Schema) {
    this.#random = random
    this.schema = schema
  }

  question() {
    const random = this.#random
    this.#mistakes = random.chance(20) ? 4 : 0
    const action = { type: 'Action', id: random.chance(3) ? random.one(['d', 'e']) : random.one(['a', 'b']) }
    const applicable = this.schema.actions.get(`Action ${action.id}`)
    return {
      principal: this.#uid(random.one([...(applicable?.principals ?? ['U'])])),
      action,
      resource: this.#uid(random.one([...(applicable?.resources ?? ['U'])])),
      context: applicable ? (this.#value(applicable.context) as { [name: string]: CedarValueJson }) : {},
      entities: this.#entities(),
    }
  }

  #uid(type: string): TypeAndId {
    const uid = { type, id: this.#random.one(type === 'N::T' ? ['a', 'b', ''] : ['a', 'b', 'c', 'd']) }
    return this.#random.chance(this.#mistakes) ? this.#random.uid() : uid
  }

  #entities(): EntityJson[] {
    const random = this.#random
    const entities: EntityJson[] = []
    for (const [name, type] of this.schema.types) {
      for (const id of ['a', 'b', 'c', 'd']) {
        if (random.chance(40) || (name === 'N::T' && !random.chance(this.#mistakes) && id > 'b')) continue
        // Of its own type, only those behind it: nothing is in itself.
        const parent = this.#uid(random.one([...type.ancestors, name]))
        const isParent = type.ancestors.has(parent.type) && (parent.type !== name || parent.id > id)
        entities.push({
          uid: { type: name, id },
          attrs: this.#value(type.attributes) as EntityJson['attrs'],
          parents: isParent || random.chance(this.#mistakes) ? [parent] : [],
          ...(type.tags || random.chance(this.#mistakes)
            ? {
                tags: Object.fromEntries(
                  random.times(2, () => [random.one(['', 'a', 'ab']), type.tags ? this.#value(type.tags) : 1]),
                ),
              }
            : {}),
        })
      }
    }
    if (random.chance(20))
      entities.push({
        uid: { type: 'Action', id: 'a' },
        attrs: {},
        parents: [{ type: 'Action', id: 'b' }, ...(random.chance(50) ? [{ type: 'Action', id: 'c' }] : [])],
      })
    return entities
  }

  #value(type: Type): CedarValueJson {
    const random = this.#random
    if (random.chance(this.#mistakes)) return random.value(1, true)
    switch (type.kind) {
      case 'entity': {
        const uid = this.#uid(type.name.replace('an entity of type ', ''))
        return random.chance(50) ? { ...uid } : { __entity: uid }
      }
      case 'extension': {
        const [fn, ...texts] = EXTENSION_TEXTS[type.of]
        const arg = random.one(texts)
        return random.one<CedarValueJson>([arg, { fn, arg }, { __extn: { fn, arg } }])
      }
      case 'set':
        return random.times(3, () => this.#value(type.element))
      case 'record': {
        const fields = [...type.fields]
          .filter(([, { required }]) => (required ? !random.chance(this.#mistakes) : random.chance(60)))
          .map(([name, { type }]) => [name, this.#value(type)] as const)
        if (random.chance(this.#mistakes)) fields.push(['zz', 1])
        return Object.fromEntries(fields)
      }
      default:
        return type.name === 'Long'
          ? random.one([0, 1, 2, 2 ** 53])
          : type.name === 'String'
            ? random.one(['', 'a', 'ab'])
            : random.chance(50)
    }
  }
}

const EXTENSION_TEXTS: { readonly [type: string]: readonly [string, ...string[]] } = {
  decimal: ['decimal', '1.5', '-0.5', '0.0'],
  ipaddr: ['ip', '127.0.0.1', '::1', '10.0.0.0/8'],
  datetime: ['datetime', '2024-02-29', '1970-01-01'],
  duration: ['duration', '1d', '-5ms'],
}

import { type Json, MusterError } from '@muster/protocol'
import type { ContentKeys } from './content-keys.ts'
import { digestOf } from './digest.ts'
import { bytesOf, type Item, numberOf, textOf, textsOf } from './item.ts'
import { partition, sort } from './key.ts'
import { PIECE_BYTES_MAX } from './pieces.ts'
import { seal, unseal } from './sealed.ts'
import type { Table } from './table.ts'

/** A fact before it is stored: what is known of a subject, and which step of which run says so. */
export interface NewFact {
  kind: string
  subject: string
  value: Json
  run: string
  step: string
  labels: string[]
}

/** A long-term memory record. Times are milliseconds since the Unix epoch. */
export interface Fact extends NewFact {
  /** Derived from run and step. */
  id: string
  validFrom: number
  /** When another fact took its place; absent from the current one, like `supersededBy`. */
  validTo?: number
  /** The id of the fact that took its place. */
  supersededBy?: string
}

/** What is known across runs: of each kind and subject one current fact and all that it superseded. */
export interface Facts {
  /**
   * Makes this the current fact of its kind and subject. The same run and step again gives the fact that was stored the first
   * time, with what superseded it since. `whose` is the subject of the
   * run that says it.
   *
   * @throws MusterError `memory.too_large` where the value takes over 350 KB as JSON; `memory.conflict` where too many
   *   others write the same subject; `memory.unavailable`
   */
  put(tenant: string, fact: NewFact, whose?: string): Promise<Fact>
  /**
   * The current fact; undefined where there is none, or where it was erased.
   *
   * @throws MusterError `memory.unavailable`
   */
  find(tenant: string, kind: string, subject: string): Promise<Fact | undefined>
  /**
   * All facts, newest first, but for those that were erased.
   *
   * @throws MusterError `memory.unavailable`
   */
  history(tenant: string, kind: string, subject: string): Promise<Fact[]>
  /** Takes out the values of the facts that a run has saved. Gives how many they are. */
  erase(tenant: string, run: string): Promise<number>
}

/** Each lost round means that another writer has won it. */
const roundsMax = 200

/*
 * A subject's facts are a chain of items FACT#1, FACT#2, …, each written once on the condition that it is not there. The last
 * is the current one; when and by what a fact was superseded stands in the item after it. So a supersession is one write: no
 * crash can leave two current facts or none.
 *
 * A claim CLAIM#<id> holds the place in the chain that a (run, step) goes for, and is written before the fact. It moves on
 * only after that place was seen taken by another fact. So a (run, step) can come to stand in one place only, however often
 * and by however many writers at once it is put, and a repeat costs no search of the chain.
 *
 * Values are sealed by the key of the subject that the run is about. A note in the run's partition says of what it has saved
 * facts, so that they are found when they are to be erased.
 */
export function openFacts(table: Table, keys: ContentKeys, clock: () => number): Facts {
  const newest = async (pk: string): Promise<Item | undefined> => {
    for await (const item of table.query({ pk, sk: { prefix: 'FACT#' }, descending: true, page: 1 })) return item
    return undefined
  }
  const at = (pk: string, place: number) =>
    place === 0 ? Promise.resolve(undefined) : table.get(pk, sort('FACT', place))

  /** Undefined where it was erased. */
  async function factOf(
    tenant: string,
    kind: string,
    subject: string,
    item: Item,
    after?: Item,
  ): Promise<Fact | undefined> {
    const text = await textOfValue(tenant, item)
    if (text === undefined) return undefined
    const value: Json = JSON.parse(text)
    return { ...about(kind, subject, item, after), value }
  }

  async function textOfValue(tenant: string, item: Item): Promise<string | undefined> {
    if (item.value === undefined) return undefined
    if (item.key === undefined) return textOf(item, 'value')
    const key = await keys.find(tenant, textOf(item, 'key'))
    return key && Buffer.from(unseal(key, placeOf(tenant, item), bytesOf(item, 'value'))).toString()
  }

  return {
    async put(tenant, { kind, subject, value, run, step, labels }, whose) {
      const pk = partition(tenant, 'FACTS', kind, subject)
      const id = digestOf([run, step])
      const json = valueText(value)
      const { name, key } = await keys.current(tenant, whose)
      const saved = sort('SAVED', digestOf([kind, subject]))
      await table.put({ pk: partition(tenant, 'RUN', run), sk: saved, names: JSON.stringify([kind, subject]) })
      const claim = { pk, sk: sort('CLAIM', id) }
      const claimed = async () => numberOf((await table.get(claim.pk, claim.sk)) ?? claim, 'place')

      let previous = await newest(pk)
      let place = placeAfter(previous)
      if (!(await table.create({ ...claim, place }))) {
        place = await claimed()
        previous = await at(pk, place - 1)
      }
      for (let round = 0; round < roundsMax; round++) {
        // Clocks of workers differ; a fact must not end before it began.
        const validFrom = Math.max(clock(), previous === undefined ? 0 : numberOf(previous, 'validFrom'))
        const item = { pk, sk: sort('FACT', place), place, id, key: name, run, step, labels, validFrom }
        const sealed = seal(key, placeOf(tenant, item), Buffer.from(json))
        if (await table.create({ ...item, value: sealed })) return { ...about(kind, subject, item), value }
        const taken = await at(pk, place)
        if (taken && textOf(taken, 'id') === id) {
          const after = await at(pk, place + 1)
          return (await factOf(tenant, kind, subject, taken, after)) ?? { ...about(kind, subject, taken, after), value }
        }

        previous = await newest(pk)
        const next = placeAfter(previous)
        if (await table.replace({ ...claim, place: next }, 'place', place)) place = next
        else {
          place = await claimed()
          previous = await at(pk, place - 1)
        }
      }
      throw new MusterError('memory.conflict', `Too many others write facts of ${kind} ${subject}`)
    },

    async find(tenant, kind, subject) {
      const item = await newest(partition(tenant, 'FACTS', kind, subject))
      return item && factOf(tenant, kind, subject, item)
    },

    async history(tenant, kind, subject) {
      const facts: Fact[] = []
      let after: Item | undefined
      const pk = partition(tenant, 'FACTS', kind, subject)
      for await (const item of table.query({ pk, sk: { prefix: 'FACT#' }, descending: true })) {
        const fact = await factOf(tenant, kind, subject, item, after)
        if (fact) facts.push(fact)
        after = item
      }
      return facts
    },

    async erase(tenant, run) {
      let facts = 0
      for await (const saved of table.query({ pk: partition(tenant, 'RUN', run), sk: { prefix: 'SAVED#' } })) {
        const [kind, subject] = JSON.parse(textOf(saved, 'names')) as [string, string] // as `put` writes it
        const pk = partition(tenant, 'FACTS', kind, subject)
        for await (const item of table.query({ pk, sk: { prefix: 'FACT#' }, where: { run } })) {
          facts++
          const { value, key: _key, ...rest } = item
          if (value !== undefined) await table.put(rest)
        }
      }
      return facts
    },
  }
}

function placeAfter(item: Item | undefined): number {
  return item === undefined ? 1 : numberOf(item, 'place') + 1
}

/** As text and not as DynamoDB's own types, which do not hold every number of JavaScript. */
function valueText(value: Json): string {
  const text = JSON.stringify(value)
  const bytes = Buffer.byteLength(text)
  if (bytes <= PIECE_BYTES_MAX) return text
  throw new MusterError('memory.too_large', `The fact takes ${bytes} bytes; at most ${PIECE_BYTES_MAX} are possible`)
}

function placeOf(tenant: string, item: Item): string[] {
  return [tenant, textOf(item, 'pk'), String(numberOf(item, 'place'))]
}

/** Kind and subject come from the caller: the item holds them only escaped, in its key. */
function about(kind: string, subject: string, item: Item, after?: Item): Omit<Fact, 'value'> {
  return {
    id: textOf(item, 'id'),
    kind,
    subject,
    run: textOf(item, 'run'),
    step: textOf(item, 'step'),
    labels: textsOf(item, 'labels'),
    validFrom: numberOf(item, 'validFrom'),
    ...(after && { validTo: numberOf(after, 'validFrom'), supersededBy: textOf(after, 'id') }),
  }
}

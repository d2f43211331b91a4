import fc from 'fast-check'
import { expect, test } from 'vitest'
import { connect } from './connection.ts'
import { ContentKeys } from './content-keys.ts'
import { openFacts } from './facts.ts'
import type { Item } from './item.ts'
import type { Query } from './query.ts'
import { openRecords } from './records.ts'
import { Table } from './table.ts'

/**
 * A table in memory whose every request waits before it is carried out and again before it is answered, so that a scheduler
 * decides how the requests of several writers interleave. A writer whose answers are used up is dead.
 */
class SimulatedTable extends Table {
  readonly #items: Map<string, Item>
  readonly #wait: () => Promise<void>
  #answers: number

  constructor(items: Map<string, Item>, wait: () => Promise<void>, answers: number) {
    super(connect({ endpoint: 'http://127.0.0.1:1' }).client, 'none', 'none')
    this.#items = items
    this.#wait = wait
    this.#answers = answers
  }

  override get(_: string, sk: string): Promise<Item | undefined> {
    return this.#request(() => this.#items.get(sk))
  }

  override create(item: Item): Promise<boolean> {
    const sk = String(item.sk)
    return this.#request(() => !this.#items.has(sk) && Boolean(this.#items.set(sk, item)))
  }

  override put(item: Item): Promise<void> {
    return this.#request(() => void this.#items.set(String(item.sk), item))
  }

  override replace(item: Item, name: string, was: number | string): Promise<boolean> {
    const sk = String(item.sk)
    return this.#request(() => this.#items.get(sk)?.[name] === was && Boolean(this.#items.set(sk, item)))
  }

  override async *query({ sk }: Query): AsyncGenerator<Item> {
    const prefix = sk !== undefined && 'prefix' in sk ? sk.prefix : ''
    yield* await this.#request(() => newestFirst(this.#items, prefix))
  }

  async #request<T>(work: () => T): Promise<T> {
    await this.#wait()
    const result = work()
    await this.#wait()
    if (this.#answers-- <= 0) throw new Error('dead')
    return result
  }
}

function newestFirst(items: Map<string, Item>, prefix: string): Item[] {
  const keys = [...items.keys()].filter((key) => key.startsWith(prefix))
  return keys.sort((a, b) => (a < b ? 1 : -1)).map((key) => items.get(key) ?? {})
}

const keysTable = new SimulatedTable(new Map(), async () => undefined, Number.POSITIVE_INFINITY)
const keys = new ContentKeys(keysTable, openRecords(keysTable), { clock: () => 0 })

const writer = fc.record({ step: fc.constantFrom('a', 'b', 'c'), answers: fc.oneof(fc.nat(6), fc.constant(1_000)) })

test('however writers interleave and die, each step comes to stand once, in a chain without gaps', () =>
  fc.assert(
    fc.asyncProperty(fc.scheduler(), fc.array(writer, { minLength: 1, maxLength: 6 }), async (scheduler, writers) => {
      const items = new Map<string, Item>()
      const wait = () => scheduler.schedule(Promise.resolve())
      let now = 0
      const puts = writers.map(async ({ step, answers }) => {
        const facts = openFacts(new SimulatedTable(items, wait, answers), keys, () => now++)
        const fact = { kind: 'k', subject: 's', value: step, run: 'r', step, labels: [] }
        try {
          return (await facts.put('t', fact)).id
        } catch (error) {
          expect(error).toHaveProperty('message', 'dead')
          return undefined
        }
      })
      await scheduler.waitFor(Promise.all(puts))

      const facts = openFacts(new SimulatedTable(items, async () => undefined, 1_000), keys, () => now++)
      const history = await facts.history('t', 'k', 's')
      const ids = history.map(({ id }) => id)
      expect(new Set(ids).size).toBe(ids.length)
      for (const id of await Promise.all(puts)) if (id !== undefined) expect(ids).toContain(id)
      const places = newestFirst(items, 'FACT#').map(({ place }) => place)
      expect(places).toEqual(places.map((_, i) => places.length - i))
      expect(history.map(({ supersededBy }) => supersededBy)).toEqual(ids.map((_, i) => ids[i - 1]))
      for (const { validFrom, validTo = Number.POSITIVE_INFINITY } of history) {
        expect(validTo).toBeGreaterThanOrEqual(validFrom)
      }
    }),
    { numRuns: 1_500 },
  ))

import { setTimeout } from 'node:timers/promises'
import {
  type AttributeValue,
  BatchGetItemCommand,
  BatchWriteItemCommand,
  ConditionalCheckFailedException,
  DeleteItemCommand,
  type DynamoDBClient,
  GetItemCommand,
  PutItemCommand,
  paginateQuery,
  type WriteRequest,
} from '@aws-sdk/client-dynamodb'
import { marshall, unmarshall } from '@aws-sdk/util-dynamodb'
import { MusterError, ofOne, sideBySide } from '@muster/protocol'
import { failure } from './failure.ts'
import { bytesAtMost, type Item } from './item.ts'
import { expressionsOf, type Query } from './query.ts'
import { outcomes, type Settled } from './settled.ts'

/** Items that DynamoDB takes, and gives, with one request. */
const BATCH_MAX = 25
const READ_MAX = 100
/** It takes 16 MB: so much that several large ones together do not take longer than we wait for an answer. */
const BATCH_BYTES_MAX = 400_000
/** Requests of one call that are under way at once: enough to hide the network, few enough to leave sockets for others. */
const REQUESTS_MAX = 8
/** After so many in a row a server that does none of what is left is one that does not work. */
const ATTEMPTS_MAX = 10
const RETRY_MS = { first: 50, longest: 2000 }

export type Place = { pk: string; sk: string }

/** An item, and of which group. */
interface Write {
  item: Item
  of: number
}

/**
 * The table in the few ways that this package uses it: strongly consistent reads, and writes of one item, on a condition or
 * not, or of several, each for itself. Every method throws MusterError `memory.unavailable`, or `memory.too_large` where it writes.
 */
export class Table {
  readonly #client: DynamoDBClient
  readonly #name: string
  readonly #where: string

  /** `where` names the server in messages. */
  constructor(client: DynamoDBClient, name: string, where: string) {
    this.#client = client
    this.#name = name
    this.#where = where
  }

  async get(pk: string, sk: string): Promise<Item | undefined> {
    const get = new GetItemCommand({ TableName: this.#name, Key: stored({ pk, sk }), ConsistentRead: true })
    const { Item } = await this.#try(() => this.#client.send(get))
    return Item && unmarshall(Item)
  }

  /** Each with the item that stands there. */
  async getAll<T extends Place>(places: readonly T[]): Promise<[T, Item | undefined][]> {
    const found = new Map<string, Item>()
    // A key that is named twice is refused.
    const asked = new Map(places.map(({ pk, sk }) => [nameOf({ pk, sk }), { pk, sk }]))
    await sideBySide(REQUESTS_MAX, readsOf([...asked.values()]), (some) =>
      this.#try(() => this.#getBatch(some, (item) => found.set(nameOf(item), item))),
    )
    return places.map((place) => [place, found.get(nameOf(place))])
  }

  async #getBatch(places: readonly Item[], take: (item: Item) => void): Promise<void> {
    await untilNoneIsLeft(places.map(stored), async (Keys) => {
      const get = new BatchGetItemCommand({ RequestItems: { [this.#name]: { Keys, ConsistentRead: true } } })
      const { Responses, UnprocessedKeys } = await this.#client.send(get)
      for (const item of Responses?.[this.#name] ?? []) take(unmarshall(item))
      return UnprocessedKeys?.[this.#name]?.Keys ?? []
    })
  }

  /** Writes the item over whatever stands in its place. */
  async put(item: Item): Promise<void> {
    const put = new PutItemCommand({ TableName: this.#name, Item: stored(item) })
    await this.#try(() => this.#client.send(put))
  }

  /** Writes items over whatever stands in their places, each for itself: where it fails, some of them may be there. */
  async putAll(items: Iterable<Item>): Promise<void> {
    ofOne(await this.putGroups([items], (group) => group))
  }

  /**
   * The same for several groups of items, which share requests; never rejects. What is refused because of an item fails the
   * group that it is of, and no other.
   */
  async putGroups<T>(groups: readonly T[], itemsOf: (group: T) => Iterable<Item>): Promise<Settled<T>[]> {
    const failed = new Map<number, unknown>()
    const write = async (batch: readonly Write[]): Promise<void> => {
      const parts = Map.groupBy(batch, ({ of }) => of)
      if (parts.keys().every((of) => failed.has(of))) return
      try {
        await this.#try(() => this.#putBatch(batch.map(({ item }) => item)))
      } catch (error) {
        const isRefused = error instanceof MusterError && error.code !== 'memory.unavailable'
        if (isRefused && parts.size > 1) for (const part of parts.values()) await write(part)
        else for (const of of parts.keys()) failed.set(of, error)
      }
    }
    const writes = groups.flatMap((group, of) => Array.from(itemsOf(group), (item) => ({ item, of })))
    await sideBySide(REQUESTS_MAX, batchesOf(writes), write)
    return outcomes(groups, failed)
  }

  async #putBatch(items: readonly Item[]): Promise<void> {
    const puts: WriteRequest[] = items.map((item) => ({ PutRequest: { Item: stored(item) } }))
    await untilNoneIsLeft(puts, async (left) => {
      const put = new BatchWriteItemCommand({ RequestItems: { [this.#name]: left } })
      return (await this.#client.send(put)).UnprocessedItems?.[this.#name] ?? []
    })
  }

  /** Writes the item where none stands; false where one does. */
  async create(item: Item): Promise<boolean> {
    const condition = { ConditionExpression: 'attribute_not_exists(pk)' }
    return this.#putIf(new PutItemCommand({ TableName: this.#name, Item: stored(item), ...condition }))
  }

  /** Writes the item over one whose attribute `name` has the value `was`; false where it has not. */
  async replace(item: Item, name: string, was: number | string): Promise<boolean> {
    const condition = {
      ConditionExpression: '#name = :was',
      ExpressionAttributeNames: { '#name': name },
      ExpressionAttributeValues: stored({ ':was': was }),
    }
    return this.#putIf(new PutItemCommand({ TableName: this.#name, Item: stored(item), ...condition }))
  }

  /** Writes the item over one whose attribute `name` is below `value`, or where none stands; false where it is not. */
  async raise(item: Item, name: string, value: number): Promise<boolean> {
    const condition = {
      ConditionExpression: 'attribute_not_exists(pk) OR #name < :value',
      ExpressionAttributeNames: { '#name': name },
      ExpressionAttributeValues: stored({ ':value': value }),
    }
    return this.#putIf(new PutItemCommand({ TableName: this.#name, Item: stored(item), ...condition }))
  }

  /** Removes an item, where there is one. */
  async remove(pk: string, sk: string): Promise<void> {
    await this.#try(() => this.#client.send(new DeleteItemCommand({ TableName: this.#name, Key: stored({ pk, sk }) })))
  }

  /** Items in the order of their sort keys. Reads the next page only when it is asked for. */
  async *query(query: Query): AsyncGenerator<Item> {
    const pages = paginateQuery(
      { client: this.#client, ...(query.page === undefined ? {} : { pageSize: query.page }) },
      {
        TableName: this.#name,
        ConsistentRead: true,
        ScanIndexForward: query.descending !== true,
        ...expressionsOf(query),
      },
    )
    try {
      for await (const { Items = [] } of pages) for (const item of Items) yield unmarshall(item)
    } catch (error) {
      throw failure(error, this.#where)
    }
  }

  async #putIf(put: PutItemCommand): Promise<boolean> {
    return this.#try(async () => {
      try {
        await this.#client.send(put)
        return true
      } catch (error) {
        if (error instanceof ConditionalCheckFailedException) return false
        throw error
      }
    })
  }

  async #try<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work()
    } catch (error) {
      throw failure(error, this.#where)
    }
  }
}

/** A throttled server does a part and leaves the rest to us, as does one whose answer would be too large. */
async function untilNoneIsLeft<T>(all: T[], work: (left: T[]) => Promise<T[]>): Promise<void> {
  let left = all
  for (let attempt = 1; attempt <= ATTEMPTS_MAX; attempt++) {
    const before = left.length
    left = await work(left)
    if (left.length === 0) return
    if (left.length < before) attempt = 1
    await setTimeout(Math.min(RETRY_MS.first * 2 ** attempt, RETRY_MS.longest) * Math.random())
  }
  throw new Error(`it left items undone ${ATTEMPTS_MAX} times`)
}

function* readsOf(places: Item[]): Generator<Item[], void> {
  for (let i = 0; i < places.length; i += READ_MAX) yield places.slice(i, i + READ_MAX)
}

function* batchesOf(writes: Iterable<Write>): Generator<Write[], void> {
  let batch: Write[] = []
  let bytes = 0
  let names = new Set<string>()
  for (const write of writes) {
    const name = nameOf(write.item)
    const more = bytesAtMost(write.item)
    const isFull = batch.length === BATCH_MAX || bytes + more > BATCH_BYTES_MAX
    // A key that is named twice is refused.
    if (batch.length > 0 && (isFull || names.has(name))) {
      yield batch
      batch = []
      bytes = 0
      names = new Set()
    }
    batch.push(write)
    bytes += more
    names.add(name)
  }
  if (batch.length > 0) yield batch
}

/** In DynamoDB's own types. */
function stored(item: Item): Record<string, AttributeValue> {
  try {
    return marshall(item, { removeUndefinedValues: true })
  } catch (cause) {
    const what = `The item ${String(item.pk)} ${String(item.sk)} cannot be stored`
    throw new MusterError('internal', `${what}: ${cause instanceof Error ? cause.message : cause}`, { cause })
  }
}

function nameOf({ pk, sk }: Item): string {
  return JSON.stringify([pk, sk])
}

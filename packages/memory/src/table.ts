import { setTimeout } from 'node:timers/promises'
import { ConditionalCheckFailedException } from '@aws-sdk/client-dynamodb'
import {
  BatchWriteCommand,
  DeleteCommand,
  type DynamoDBDocumentClient,
  GetCommand,
  PutCommand,
  paginateQuery,
} from '@aws-sdk/lib-dynamodb'
import { sideBySide } from '@muster/protocol'
import { failure } from './failure.ts'
import type { Item } from './item.ts'
import { expressionsOf, type Query } from './query.ts'

/** Items that DynamoDB takes with one request. */
const BATCH_MAX = 25
/** Requests of one call that are under way at once. */
const REQUESTS_MAX = 16
/** After that a server which leaves items undone is one that does not work. */
const ATTEMPTS_MAX = 10
const RETRY_MS = { first: 50, longest: 2000 }

/**
 * The table in the few ways that this package uses it: strongly consistent reads, and writes of one item, on a condition or
 * not, or of several, each for itself. Every method throws MusterError `memory.unavailable`, or `memory.too_large` where it writes.
 */
export class Table {
  readonly #client: DynamoDBDocumentClient
  readonly #name: string
  readonly #where: string

  /** `where` names the server in messages. */
  constructor(client: DynamoDBDocumentClient, name: string, where: string) {
    this.#client = client
    this.#name = name
    this.#where = where
  }

  async get(pk: string, sk: string): Promise<Item | undefined> {
    const get = new GetCommand({ TableName: this.#name, Key: { pk, sk }, ConsistentRead: true })
    return (await this.#try(() => this.#client.send(get))).Item
  }

  /** Writes the item over whatever stands in its place. */
  async put(item: Item): Promise<void> {
    await this.#try(() => this.#client.send(new PutCommand({ TableName: this.#name, Item: item })))
  }

  /** Writes items over whatever stands in their places, each for itself: where it fails, some of them may be there. */
  async putAll(items: Iterable<Item>): Promise<void> {
    await sideBySide(REQUESTS_MAX, batchesOf(items), (batch) => this.#try(() => this.#putBatch(batch)))
  }

  async #putBatch(items: readonly Item[]): Promise<void> {
    let left = items.map((Item) => ({ PutRequest: { Item } }))
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      if (attempt > 0) await setTimeout(Math.min(RETRY_MS.first * 2 ** attempt, RETRY_MS.longest) * Math.random())
      const put = new BatchWriteCommand({ RequestItems: { [this.#name]: left } })
      const { UnprocessedItems } = await this.#client.send(put)
      // A throttled server does a part and leaves the rest to us.
      left = (UnprocessedItems?.[this.#name] ?? []).flatMap(({ PutRequest }) =>
        PutRequest?.Item === undefined ? [] : [{ PutRequest: { Item: PutRequest.Item } }],
      )
      if (left.length === 0) return
    }
    throw new Error(`it left items undone ${ATTEMPTS_MAX} times`)
  }

  /** Writes the item where none stands; false where one does. */
  create(item: Item): Promise<boolean> {
    const condition = { ConditionExpression: 'attribute_not_exists(pk)' }
    return this.#putIf(new PutCommand({ TableName: this.#name, Item: item, ...condition }))
  }

  /** Writes the item over one whose attribute `name` has the value `was`; false where it has not. */
  replace(item: Item, name: string, was: number | string): Promise<boolean> {
    const condition = {
      ConditionExpression: '#name = :was',
      ExpressionAttributeNames: { '#name': name },
      ExpressionAttributeValues: { ':was': was },
    }
    return this.#putIf(new PutCommand({ TableName: this.#name, Item: item, ...condition }))
  }

  /** Writes the item over one whose attribute `name` is below `value`, or where none stands; false where it is not. */
  raise(item: Item, name: string, value: number): Promise<boolean> {
    const condition = {
      ConditionExpression: 'attribute_not_exists(pk) OR #name < :value',
      ExpressionAttributeNames: { '#name': name },
      ExpressionAttributeValues: { ':value': value },
    }
    return this.#putIf(new PutCommand({ TableName: this.#name, Item: item, ...condition }))
  }

  /** Removes an item, where there is one. */
  async remove(pk: string, sk: string): Promise<void> {
    await this.#try(() => this.#client.send(new DeleteCommand({ TableName: this.#name, Key: { pk, sk } })))
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
      for await (const page of pages) yield* page.Items ?? []
    } catch (error) {
      throw failure(error, this.#where)
    }
  }

  async #putIf(put: PutCommand): Promise<boolean> {
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

function* batchesOf(items: Iterable<Item>): Generator<Item[], void> {
  let batch: Item[] = []
  for (const item of items) {
    if (batch.length === BATCH_MAX) {
      yield batch
      batch = []
    }
    batch.push(item)
  }
  if (batch.length > 0) yield batch
}

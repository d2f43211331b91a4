import type { QueryCommandInput } from '@aws-sdk/client-dynamodb'
import { marshall } from '@aws-sdk/util-dynamodb'

export interface Query {
  pk: string
  /** Which sort keys: those that begin so, those below, or those between (both included). All without it. */
  sk?: { prefix: string } | { below: string } | { from: string; to: string }
  descending?: boolean
  /** Items that one request reads. Without it as many as fit in 1 MB. */
  page?: number
  /** Attributes that must have these values. Items that differ are read and paid for all the same. */
  where?: Record<string, string>
}

/** The query in DynamoDB's terms. Names go by placeholders, as `status` and `name` are reserved words. */
export function expressionsOf({ pk, sk, where = {} }: Query): Partial<QueryCommandInput> {
  const filter = Object.keys(where)
  return {
    KeyConditionExpression: ['#pk = :pk', ...sortConditions(sk)].join(' AND '),
    ...(filter.length === 0 ? {} : { FilterExpression: filter.map((name) => `#${name} = :${name}`).join(' AND ') }),
    ExpressionAttributeNames: {
      '#pk': 'pk',
      ...(sk === undefined ? {} : { '#sk': 'sk' }),
      ...Object.fromEntries(filter.map((name) => [`#${name}`, name])),
    },
    ExpressionAttributeValues: marshall({
      ':pk': pk,
      ...Object.fromEntries(Object.entries(sk ?? {}).map(([name, value]) => [`:${name}`, value])),
      ...Object.fromEntries(Object.entries(where).map(([name, value]) => [`:${name}`, value])),
    }),
  }
}

function sortConditions(sk: Query['sk']): string[] {
  if (sk === undefined) return []
  if ('prefix' in sk) return ['begins_with(#sk, :prefix)']
  if ('below' in sk) return ['#sk < :below']
  return ['#sk BETWEEN :from AND :to']
}

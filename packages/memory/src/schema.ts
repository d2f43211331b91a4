import {
  CreateTableCommand,
  DescribeTableCommand,
  type DynamoDBClient,
  ResourceInUseException,
  ResourceNotFoundException,
  type TableDescription,
  waitUntilTableExists,
} from '@aws-sdk/client-dynamodb'
import { MusterError } from '@muster/protocol'

const activeWithinS = 120
const tableName = /^[\w.-]{3,255}$/

/**
 * Makes sure that the table is there and can be used; creates it where it is absent. Others may do the same at once.
 *
 * @param first runs the first request, so that the caller can give it a time limit
 * @throws MusterError `config.invalid` where it cannot be a table's name, or a table of that name has other keys; else errors of the SDK
 */
export async function ensureTable(
  client: DynamoDBClient,
  name: string,
  first: <T>(work: Promise<T>) => Promise<T>,
): Promise<void> {
  if (!tableName.test(name)) {
    throw new MusterError('config.invalid', `"${name}" cannot name a table: 3 to 255 letters, digits, "_", "." and "-"`)
  }
  const found = await first(describe(client, name))
  if (found) requireKeys(name, found)
  else await create(client, name)
  if (found?.TableStatus === 'ACTIVE' || found?.TableStatus === 'UPDATING') return
  await waitUntilTableExists({ client, maxWaitTime: activeWithinS, minDelay: 0.1, maxDelay: 5 }, { TableName: name })
}

async function describe(client: DynamoDBClient, name: string): Promise<TableDescription | undefined> {
  try {
    return (await client.send(new DescribeTableCommand({ TableName: name }))).Table
  } catch (error) {
    if (error instanceof ResourceNotFoundException) return undefined
    throw error
  }
}

async function create(client: DynamoDBClient, name: string): Promise<void> {
  try {
    await client.send(
      new CreateTableCommand({
        TableName: name,
        AttributeDefinitions: [
          { AttributeName: 'pk', AttributeType: 'S' },
          { AttributeName: 'sk', AttributeType: 'S' },
        ],
        KeySchema: [
          { AttributeName: 'pk', KeyType: 'HASH' },
          { AttributeName: 'sk', KeyType: 'RANGE' },
        ],
        BillingMode: 'PAY_PER_REQUEST',
      }),
    )
  } catch (error) {
    if (!(error instanceof ResourceInUseException)) throw error
  }
}

function requireKeys(name: string, table: TableDescription): void {
  const keys = (table.KeySchema ?? []).map((key) => key.AttributeName).join(', ')
  if (keys === 'pk, sk') return
  throw new MusterError(
    'config.invalid',
    `MUSTER_TABLE: the table ${name} has the keys ${keys}: it is not one of Muster`,
  )
}

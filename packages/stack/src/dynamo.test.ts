import { type StdioOptions, spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import { join } from 'node:path'
import {
  CreateTableCommand,
  DynamoDBClient,
  GetItemCommand,
  PutItemCommand,
  waitUntilTableExists,
} from '@aws-sdk/client-dynamodb'
import { MusterError } from '@muster/protocol'
import { describe, expect, onTestFinished } from 'vitest'
import { startDynamo } from './dynamo.ts'
import { test } from './fixture.ts'
import { freePort } from './port.ts'

function clientOf(endpoint: string | undefined): DynamoDBClient {
  return new DynamoDBClient({
    ...(endpoint === undefined ? {} : { endpoint }),
    region: 'local',
    credentials: { accessKeyId: 'local', secretAccessKey: 'local' },
    maxAttempts: 1,
  })
}

const table = new CreateTableCommand({
  TableName: 'muster',
  AttributeDefinitions: [{ AttributeName: 'id', AttributeType: 'S' }],
  KeySchema: [{ AttributeName: 'id', KeyType: 'HASH' }],
  BillingMode: 'PAY_PER_REQUEST',
})
const item = { id: { S: 'a' }, value: { N: '1' } }
const put = new PutItemCommand({ TableName: 'muster', Item: item })
const get = new GetItemCommand({ TableName: 'muster', Key: { id: { S: 'a' } } })

/** As with AWS, a table is not there yet when its creation is acknowledged, though here it takes only a moment. */
async function createTable(client: DynamoDBClient): Promise<void> {
  await client.send(table)
  await waitUntilTableExists({ client, maxWaitTime: 10, minDelay: 1, maxDelay: 1 }, { TableName: 'muster' })
}

async function codeOf(promise: Promise<unknown>): Promise<[code: string, message: string]> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  if (error instanceof MusterError) return [error.code, error.message]
  throw new Error('No MusterError', { cause: error })
}

describe('the embedded DynamoDB', () => {
  test('in memory serves the AWS SDK and forgets', async () => {
    const first = await startDynamo()
    expect(first.source).toBe('embedded')
    const client = clientOf(first.endpoint)
    await createTable(client)
    await client.send(put)
    expect((await client.send(get)).Item).toEqual(item)
    await first.stop()
    const second = await startDynamo({ port: Number(new URL(first.endpoint ?? '').port) })
    await expect(clientOf(second.endpoint).send(get)).rejects.toThrow(/resource not found/i)
    await second.stop()
  })

  test('on a folder has its data at the next start, also while clients keep connections', async ({ dir }) => {
    const first = await startDynamo({ dir })
    const one = clientOf(first.endpoint)
    await createTable(one)
    await one.send(put)
    await Promise.all([first.stop(), first.stop()])
    const second = await startDynamo({ dir })
    expect((await clientOf(second.endpoint).send(get)).Item).toEqual(item)
    await second.stop()
  })

  test('on a folder has all that it acknowledged after kill -9', async ({ dir }) => {
    const door = JSON.stringify(join(import.meta.dirname, 'index.ts'))
    const code = `import { startDynamo } from ${door}
      console.log((await startDynamo({ dir: ${JSON.stringify(dir)} })).endpoint)`
    const stdio: StdioOptions = ['ignore', 'pipe', 'inherit']
    const child = spawn(process.execPath, ['--input-type=module', '-e', code], { stdio })
    onTestFinished(() => void child.kill('SIGKILL'))
    if (child.stdout === null) throw new Error('stdout is no pipe')
    const [endpoint] = await once(child.stdout, 'data')
    const client = clientOf(String(endpoint).trim())
    await createTable(client)
    await client.send(put)
    child.kill('SIGKILL')
    await once(child, 'exit')
    const { endpoint: next, stop } = await startDynamo({ dir })
    expect((await clientOf(next).send(get)).Item).toEqual(item)
    await stop()
  })

  test('refuses a folder in use', async ({ dir }) => {
    const first = await startDynamo({ dir })
    const [code, message] = await codeOf(startDynamo({ dir }))
    expect(code).toBe('memory.unavailable')
    expect(message).toContain('another process uses it; end that, or give this one a folder of its own')
    await first.stop()
  })

  test('refuses a port that is taken', async () => {
    const server = createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    const address = server.address()
    const port = typeof address === 'object' && address ? address.port : 0
    const [code, message] = await codeOf(startDynamo({ port }))
    expect(code).toBe('port.taken')
    expect(message).toContain(String(port))
    server.close()
  })

  test('survives clients that go away, and stops in spite of one that hangs', async () => {
    const { endpoint, stop } = await startDynamo()
    const { port } = new URL(endpoint ?? '')
    for (const body of ['{"half', '']) {
      const socket = connect(Number(port), '127.0.0.1')
      await once(socket, 'connect')
      socket.write(`POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\n${body}`)
      await new Promise((resolve) => setTimeout(resolve, 50))
      socket.resetAndDestroy()
    }
    await new Promise((resolve) => setTimeout(resolve, 50))
    await createTable(clientOf(endpoint))
    const hanging = connect(Number(port), '127.0.0.1')
    hanging.on('error', () => undefined)
    await once(hanging, 'connect')
    hanging.write('POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\n')
    const start = performance.now()
    await stop()
    expect(performance.now() - start).toBeLessThan(30_000)
  })
})

describe("the user's own DynamoDB", () => {
  test('by endpoint is used and not stopped', async () => {
    const own = await startDynamo()
    const external = await startDynamo({ endpoint: own.endpoint ?? '' })
    expect(external).toMatchObject({ endpoint: own.endpoint, source: 'external' })
    await external.stop()
    await createTable(clientOf(own.endpoint))
    await own.stop()
  })

  test('that does not answer is named', async () => {
    const port = await freePort()
    const [code, message] = await codeOf(startDynamo({ endpoint: `http://127.0.0.1:${port}` }))
    expect(code).toBe('memory.unavailable')
    expect(message).toContain(String(port))
    expect(message).toContain('ECONNREFUSED')
  })

  test('that has credentials in its address does not make us show them', async () => {
    const [code, message] = await codeOf(startDynamo({ endpoint: 'http://key:s3cret@127.0.0.1:1' }))
    expect(code).toBe('memory.unavailable')
    expect(message).not.toContain('s3cret')
  })

  test('of AWS starts nothing', async () => {
    expect(await startDynamo({ aws: true })).toMatchObject({ source: 'aws', endpoint: undefined })
  })
})

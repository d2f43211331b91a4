import { createServer } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { CreateTableCommand } from '@aws-sdk/client-dynamodb'
import { newId } from '@muster/protocol'
import { afterAll, describe, expect, test } from 'vitest'
import { connect } from './connection.ts'
import { openMemory } from './memory.ts'
import { Table } from './table.ts'
import { testRun } from './test-run.ts'
import { freePort, listen, startDynalite } from './test-server.ts'

async function failureOf(promise: Promise<unknown>): Promise<{ error: unknown; ms: number }> {
  const start = performance.now()
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  return { error, ms: performance.now() - start }
}

describe('a server that', () => {
  test('is not there', async () => {
    const endpoint = `http://127.0.0.1:${await freePort()}`
    const { error, ms } = await failureOf(openMemory({ endpoint, table: 'muster' }))
    expect(error).toMatchObject({ code: 'memory.unavailable', message: expect.stringContaining('ECONNREFUSED') })
    expect(ms).toBeLessThan(30_000)
  })

  test('never answers', async () => {
    const server = createServer()
    const endpoint = `http://user:s3cret@127.0.0.1:${await listen(server)}`
    const { error, ms } = await failureOf(openMemory({ endpoint, table: 'muster' }))
    expect(error).toMatchObject({ code: 'memory.unavailable', message: expect.not.stringContaining('s3cret') })
    expect(ms).toBeLessThan(30_000)
    server.closeAllConnections()
    server.close()
  }, 90_000)

  test.each([500, 503])('answers %d', async (status) => {
    const server = createServer((_, response) => response.writeHead(status).end('{}'))
    const endpoint = `http://127.0.0.1:${await listen(server)}`
    const { error } = await failureOf(openMemory({ endpoint, table: 'muster' }))
    expect(error).toMatchObject({ code: 'memory.unavailable' })
    server.closeAllConnections()
    server.close()
  })

  test('writes a part of what it is sent is sent the rest', async () => {
    const written: string[] = []
    const sizes: number[] = []
    const server = createServer(async (request, response) => {
      const { RequestItems } = JSON.parse(Buffer.concat(await Array.fromAsync<Buffer>(request)).toString())
      const puts: { PutRequest: { Item: { pk: { S: string } } } }[] = RequestItems.muster
      sizes.push(puts.length)
      const done = puts.slice(0, 2)
      written.push(...done.map(({ PutRequest }) => PutRequest.Item.pk.S))
      const left = puts.slice(2)
      response.writeHead(200, { 'content-type': 'application/x-amz-json-1.0' })
      response.end(JSON.stringify({ UnprocessedItems: left.length > 0 ? { muster: left } : {} }))
    })
    const { client, where } = connect({ endpoint: `http://127.0.0.1:${await listen(server)}` })
    const items = ['a', 'b', 'c', 'd', 'e'].map((pk) => ({ pk, sk: 's', content: Buffer.of(1) }))
    await new Table(client, 'muster', where).putAll(items)
    expect([sizes, written]).toEqual([
      [5, 3, 1],
      ['a', 'b', 'c', 'd', 'e'],
    ])
    client.destroy()
    server.close()
  })

  test('answers none of several that share a request is not asked for each of them', async () => {
    let requests = 0
    const server = createServer((_, response) => {
      requests++
      response.writeHead(503).end('{}')
    })
    const { client, where } = connect({ endpoint: `http://127.0.0.1:${await listen(server)}` })
    const groups = ['a', 'b', 'c'].map((pk) => [{ pk, sk: 's' }])
    const done = await new Table(client, 'muster', where).putGroups(groups, (group) => group)
    expect(done).toMatchObject(groups.map(() => ({ status: 'rejected', reason: { code: 'memory.unavailable' } })))
    // As often as the SDK tries one.
    expect(requests).toBe(4)
    client.destroy()
    server.closeAllConnections()
    server.close()
  })

  test('throttles for a moment is retried', async () => {
    const dynamo = await startDynalite()
    let refusals = 2
    const server = createServer(async (request, response) => {
      const body = Buffer.concat(await Array.fromAsync<Buffer>(request))
      if (refusals-- > 0) {
        response.writeHead(400, { 'content-type': 'application/x-amz-json-1.0' })
        response.end('{"__type":"com.amazonaws.dynamodb.v20120810#ThrottlingException","message":"slow down"}')
        return
      }
      const headers = Object.entries(request.headers).flatMap(([name, value]) =>
        typeof value === 'string' && !['connection', 'content-length', 'host'].includes(name) ? [[name, value]] : [],
      )
      const answer = await fetch(dynamo.endpoint, { method: 'POST', headers: Object.fromEntries(headers), body })
      response.writeHead(answer.status, { 'content-type': 'application/x-amz-json-1.0' })
      response.end(Buffer.from(await answer.arrayBuffer()))
    })
    const memory = await openMemory({ endpoint: `http://127.0.0.1:${await listen(server)}`, table: 'muster' })
    refusals = 2
    await memory.blobs.put({ tenant: 't', run: 'r' }, 'd', 'text')
    expect(await memory.blobs.get({ tenant: 't', run: 'r' }, 'd')).toBe('text')
    refusals = 100
    expect((await failureOf(memory.blobs.get({ tenant: 't', run: 'r' }, 'd'))).error).toMatchObject({
      code: 'memory.unavailable',
    })
    memory.close()
    server.closeAllConnections()
    server.close()
    await dynamo.stop()
  }, 90_000)

  test('is slower than we ask is not taken for one that does not answer', async () => {
    const server = createServer(async (request, response) => {
      await Array.fromAsync(request)
      await sleep(300)
      response.writeHead(200, { 'content-type': 'application/x-amz-json-1.0' })
      response.end('{"Table":{"TableStatus":"ACTIVE","KeySchema":[{"AttributeName":"pk"},{"AttributeName":"sk"}]}}')
    })
    const memory = await openMemory({ endpoint: `http://127.0.0.1:${await listen(server)}`, table: 'muster' })
    // 20 rounds of 300 ms: longer than any timeout of one request.
    await Promise.all(Array.from({ length: 20 * 64 }, () => memory.blobs.get({ tenant: 't', run: 'r' }, 'd')))
    memory.close()
    server.closeAllConnections()
    server.close()
  }, 90_000)

  test('goes away', async () => {
    const dynamo = await startDynalite()
    const memory = await openMemory({ endpoint: dynamo.endpoint, table: 'muster' })
    await dynamo.stop()
    const calls = [
      memory.health(),
      memory.sessions.read('t', 's'),
      memory.sessions.append('t', 's', 0, { run: 'r', at: 1, messages: [], labels: [] }),
      memory.facts.find('t', 'k', 's'),
      memory.archive.get('t', 'r'),
      memory.archive.list('t', { limit: 1 }),
      memory.archive.entries('t', 'r')[Symbol.asyncIterator]().next(),
      memory.blobs.put({ tenant: 't', run: 'r' }, 'd', 'b'),
    ]
    for (const { error } of await Promise.all(calls.map(failureOf))) {
      expect(error).toMatchObject({ code: 'memory.unavailable' })
    }
    const runs = [testRun('t'), testRun('t'), testRun('t', { status: 'running' })]
    const hit = {
      ...{ run: newId(), seq: 1, at: 1, version: '1', by: 'u', name: 'n', step: 's', kind: 'tool', target: 't' },
      ...{ status: 'ok', decisions: [], policies: [], labels: [], approvers: [] },
    } as const
    const codes = (done: PromiseSettledResult<void>[]) =>
      done.map((one) => one.status === 'rejected' && one.reason.code)
    expect(codes(await memory.archive.putMany(runs.map((run) => ({ tenant: 't', run, entries: [] }))))).toEqual([
      ...['memory.unavailable', 'memory.unavailable', 'internal'],
    ])
    expect(codes(await memory.auditIndex.putMany([{ tenant: 't', hits: [{ ...hit }] }]))).toEqual([
      'memory.unavailable',
    ])
    memory.close()
  }, 90_000)
})

describe('an address or table that', () => {
  test('is no URL', async () => {
    const { error } = await failureOf(openMemory({ endpoint: 'nonsense', table: 'muster' }))
    expect(error).toMatchObject({ code: 'config.invalid' })
  })

  test.each(['', 'x', 'a b c', 'ä'.repeat(5)])('cannot be: %j', async (table) => {
    const { error } = await failureOf(openMemory({ endpoint: 'http://127.0.0.1:1', table }))
    expect(error).toMatchObject({ code: 'config.invalid' })
  })

  test('has other keys', async () => {
    const dynamo = await startDynalite()
    afterAll(dynamo.stop)
    await connect({ endpoint: dynamo.endpoint }).client.send(
      new CreateTableCommand({
        TableName: 'other',
        AttributeDefinitions: [{ AttributeName: 'id', AttributeType: 'S' }],
        KeySchema: [{ AttributeName: 'id', KeyType: 'HASH' }],
        BillingMode: 'PAY_PER_REQUEST',
      }),
    )
    const { error } = await failureOf(openMemory({ endpoint: dynamo.endpoint, table: 'other' }))
    expect(error).toMatchObject({ code: 'config.invalid', message: expect.stringContaining('keys id') })
  })
})

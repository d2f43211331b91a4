import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { MusterError, type Run, type RunEvent } from '@muster/protocol'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { createMuster } from './client.ts'
import { clerk } from './fixture.ts'

interface Call {
  method: string
  url: string
  headers: IncomingMessage['headers']
  body: unknown
}

let server: Server
let url: string
let calls: Call[]
let answer: (response: ServerResponse, call: Call, number: number) => void

beforeEach(async () => {
  calls = []
  server = createServer(async (request, response) => {
    let text = ''
    for await (const chunk of request) text += chunk
    const call = {
      method: request.method ?? '',
      url: request.url ?? '',
      headers: request.headers,
      body: text === '' ? undefined : JSON.parse(text),
    }
    answer(response, call, calls.push(call))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
})

afterEach(async () => {
  server.closeAllConnections()
  await new Promise((resolve) => server.close(resolve))
})

const client = () => createMuster({ url, key: 'k1' })

function send(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': status < 400 ? 'application/json' : 'application/problem+json' })
  response.end(typeof body === 'string' ? body : JSON.stringify(body))
}

const problem = (response: ServerResponse, code: ConstructorParameters<typeof MusterError>[0], detail: string) => {
  const error = new MusterError(code, detail, { issues: [{ path: '/input', message: 'wrong' }] })
  send(response, error.status, error.toProblem())
}

async function failure(promise: Promise<unknown>): Promise<MusterError> {
  const error = await promise.then(
    () => undefined,
    (error: unknown) => error,
  )
  if (error instanceof MusterError) return error
  throw error ?? new Error('did not fail')
}

const event = (seq: number, type: 'run.parked' | 'run.ended' = 'run.parked'): RunEvent => ({
  seq,
  hash: String(seq).padStart(64, '0'),
  entry:
    type === 'run.ended'
      ? {
          v: 1,
          seq,
          at: 1,
          type,
          status: 'succeeded',
          labels: [],
          steps: 0,
          usage: { inputTokens: 0, outputTokens: 0, cachedTokens: 0 },
          costUsd: 0,
        }
      : { v: 1, seq, at: 1, type, waiting: ['größer €'] },
})
const wire = (of: RunEvent) => `id: ${of.seq}\nevent: ${of.entry.type}\ndata: ${JSON.stringify(of)}\n\n`
const run = (change: Partial<Run>): Partial<Run> => ({ id: 'r1', status: 'running', entries: 1, ...change })

async function collect(events: AsyncIterable<RunEvent>): Promise<number[]> {
  const seqs: number[] = []
  for await (const { seq } of events) seqs.push(seq)
  return seqs
}

describe('requests', () => {
  it('carry the key, and the definition by name and version', async () => {
    answer = (response) => send(response, 201, run({}))
    const handle = await client().runs.start(
      clerk,
      { invoice: 'i1' },
      { idempotencyKey: 'idem', session: 's', labels: ['pii'] },
    )
    expect(handle.id).toBe('r1')
    expect(calls[0]).toMatchObject({
      method: 'POST',
      url: '/v1/runs',
      headers: { authorization: 'Bearer k1', 'idempotency-key': 'idem', 'content-type': 'application/json' },
      body: { agent: 'payables.clerk', version: '1.2.0', input: { invoice: 'i1' }, session: 's', labels: ['pii'] },
    })
  })

  it('ask the server whether a bare name is an agent or a plan, and say which there are when it is neither', async () => {
    answer = (response, call) =>
      send(response, 200, call.url === '/v1/definitions' ? { definitions: [{ kind: 'plan', name: 'p' }] } : run({}))
    await client().runs.start('p', {})
    expect(calls[1].body).toMatchObject({ plan: 'p' })
    expect(await failure(client().runs.start('q', {}))).toMatchObject({
      code: 'definition.not_found',
      message: expect.stringContaining('Known: p'),
    })
  })

  it('send a plan as data as it is', async () => {
    answer = (response) => send(response, 201, run({}))
    const steps = { a: { tool: 't', input: {} } }
    await client().runs.start({ steps }, {})
    expect(calls[0].body).toMatchObject({ plan: { steps } })
  })

  it('escape ids, and leave out filters that are not set', async () => {
    answer = (response) => send(response, 200, { runs: [] })
    await client().runs.get('../admin?x')
    await client().runs.list({ status: 'waiting', limit: 5, cursor: undefined })
    expect(calls.map((call) => call.url)).toEqual(['/v1/runs/..%2Fadmin%3Fx', '/v1/runs?status=waiting&limit=5'])
  })

  it('answer an approval with the digest of what was shown', async () => {
    answer = (response) => response.writeHead(204).end()
    await client().runs.approve('r1', { step: 's', verdict: 'approve', digest: 'd' })
    expect(calls[0]).toMatchObject({
      method: 'POST',
      url: '/v1/runs/r1/approvals',
      body: { step: 's', verdict: 'approve', digest: 'd' },
    })
  })
})

describe('errors', () => {
  it('are the server’s, with code, detail and what is wrong where', async () => {
    answer = (response) => problem(response, 'input.invalid', 'the amount is missing')
    expect(await failure(client().runs.get('r1'))).toMatchObject({
      code: 'input.invalid',
      status: 422,
      message: 'the amount is missing',
      issues: [{ path: '/input', message: 'wrong' }],
    })
  })

  it.each(['<html>Bad Gateway</html>', 'null', '{"code":"no.such_code"}', '{"code":"constructor"}', '{"detail":1}'])(
    'that are no problem of ours are shown as they came: %s',
    async (body) => {
      answer = (response) => send(response, 502, body)
      expect(await failure(client().runs.get('r1'))).toMatchObject({ code: 'internal', message: `HTTP 502: ${body}` })
    },
  )

  it('say how to start a server when none answers, and never the key', async () => {
    const { port } = server.address() as AddressInfo
    await new Promise((resolve) => server.close(resolve))
    const error = await failure(createMuster({ url: `http://127.0.0.1:${port}/`, key: 's3cret' }).runs.get('r1'))
    expect(error.message).toBe(
      `No Muster server answers at http://127.0.0.1:${port}: start one with \`npx pnpm@12 dev\`, or set MUSTER_URL`,
    )
    expect(error).toMatchObject({ code: 'server.unavailable', status: 503 })
    expect(JSON.stringify(error.toProblem())).not.toContain('s3cret')
    server.listen(0)
  })

  it('do not come of a server that is started again: what may be repeated is sent again', async () => {
    const { port } = server.address() as AddressInfo
    answer = (response, { method }) =>
      send(response, 200, method === 'GET' ? { definitions: [{ kind: 'plan', name: 'p' }] } : { id: 'r1' })
    await new Promise((resolve) => server.close(resolve))
    const started = client().runs.start('p', {})
    await new Promise((resolve) => setTimeout(resolve, 50))
    server.listen(port, '127.0.0.1')
    expect((await started).id).toBe('r1')
    expect(calls).toHaveLength(2)
  })

  it('do not come of a server that cannot for a moment, where something is read', async () => {
    answer = (response, _, number) =>
      number % 2 === 1 ? problem(response, 'redis.unavailable', 'not yet') : send(response, 200, run({}))
    const muster = client()
    expect((await muster.runs.of('r1').get()).id).toBe('r1')
    expect(await muster.request('GET', '/v1/runs')).toMatchObject({ id: 'r1' })
    expect(await (await muster.open('GET', '/v1/runs/r1/journal')).json()).toMatchObject({ id: 'r1' })
    expect(calls).toHaveLength(6)
    // What cannot be told apart from a second time is sent once.
    expect(await failure(muster.runs.of('r1').cancel())).toMatchObject({ code: 'redis.unavailable' })
    expect(calls).toHaveLength(7)
  })
})

describe('start', () => {
  it('is sent again while the server answers 503, under the same key, so that it starts one run', async () => {
    answer = (response, _, number) =>
      number < 3 ? problem(response, 'redis.unavailable', 'not yet') : send(response, 201, run({}))
    expect((await client().runs.start(clerk, { invoice: 'i1' })).id).toBe('r1')
    expect(calls).toHaveLength(3)
    const keys = new Set(calls.map((call) => call.headers['idempotency-key']))
    expect(keys.size).toBe(1)
    expect([...keys][0]).toMatch(/^[0-9a-f-]{36}$/)
    expect(calls[2].body).toEqual(calls[0].body)
  })

  it('has a key of its own each time', async () => {
    answer = (response) => send(response, 201, run({}))
    await client().runs.start(clerk, { invoice: 'i1' })
    await client().runs.start(clerk, { invoice: 'i1' })
    expect(calls[0].headers['idempotency-key']).not.toBe(calls[1].headers['idempotency-key'])
  })

  it('is not sent again after any other answer', async () => {
    answer = (response) => problem(response, 'input.invalid', 'no')
    await failure(client().runs.start(clerk, { invoice: 'i1' }))
    expect(calls).toHaveLength(1)
  })
})

describe('startMany', () => {
  const inputs = (count: number) => Array.from({ length: count }, (_, i) => ({ input: { invoice: `i${i}` } }))
  const runsOf = (call: Call) => (call.body as { runs: { idempotencyKey: string; input: { invoice: string } }[] }).runs
  const busy = { error: new MusterError('redis.unavailable', 'not yet').toProblem() }

  it('sends up to 1,000 runs at once and gives each its own answer', async () => {
    answer = (response, call) =>
      send(response, 200, {
        results: runsOf(call).map(({ input: { invoice } }) =>
          invoice === 'i1003'
            ? { error: new MusterError('input.invalid', 'no').toProblem() }
            : { id: invoice, created: true },
        ),
      })
    const started = await client().runs.startMany(clerk, inputs(1005))
    expect(calls.map((call) => runsOf(call).length)).toEqual([1000, 5])
    expect(runsOf(calls[0])[7]).toMatchObject({ agent: 'payables.clerk', version: '1.2.0', input: { invoice: 'i7' } })
    expect(started.map(({ run, error }) => run?.id ?? error?.code)).toEqual(
      inputs(1005).map(({ input: { invoice } }) => (invoice === 'i1003' ? 'input.invalid' : invoice)),
    )
  })

  it('sends again, under their keys, only those that the server could not take for now', async () => {
    answer = (response, call, number) =>
      send(response, 200, {
        results: runsOf(call).map(({ input: { invoice } }, i) =>
          i > 0 && number < 3 ? busy : { id: invoice, created: true },
        ),
      })
    const started = await client().runs.startMany(clerk, inputs(4))
    expect(started.map(({ run }) => run?.id)).toEqual(['i0', 'i1', 'i2', 'i3'])
    expect(calls.map((call) => runsOf(call).length)).toEqual([4, 3, 2])
    expect(runsOf(calls[2])).toEqual(runsOf(calls[0]).slice(2))
  })

  it('keeps what was started when a later request fails as a whole', async () => {
    answer = (response, call, number) => {
      if (number === 2) return problem(response, 'auth.invalid_key', 'revoked')
      send(response, 200, { results: runsOf(call).map(() => ({ id: 'r', created: true })) })
    }
    const started = await client().runs.startMany(clerk, inputs(1002))
    expect(started.filter(({ run }) => run)).toHaveLength(1000)
    expect(started.slice(1000).map(({ error }) => error?.code)).toEqual(['auth.invalid_key', 'auth.invalid_key'])
  })
})

describe('events', () => {
  it('lose and repeat nothing when the connection is cut in the middle of one', async () => {
    answer = (response, _, number) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' })
      if (number > 2) return response.end(wire(event(3)) + wire(event(4, 'run.ended')))
      // A comment, an event in pieces that split a character, half an event, and the cable is cut.
      const bytes = Buffer.from(`: hello\n\n${wire(event(number))}${wire(event(number + 1)).slice(0, 40 * number)}`)
      const middle = bytes.indexOf('ß') + 1
      response.write(bytes.subarray(0, middle))
      setTimeout(() => response.write(bytes.subarray(middle), () => setTimeout(() => response.destroy(), 20)), 20)
    }
    expect(await collect(client().runs.stream('r1'))).toEqual([1, 2, 3, 4])
    expect(calls.map((call) => call.headers['last-event-id'])).toEqual(['0', '1', '2'])
    expect(calls[0].headers.accept).toBe('text/event-stream')
  })

  it('go on when the server ends the stream without saying that the run has ended', async () => {
    answer = (response, _, number) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' })
      response.end(number === 1 ? wire(event(5)) : `${wire(event(6))}event: end\ndata: {}\n\n`)
    }
    expect(await collect(client().runs.stream('r1', { after: 4 }))).toEqual([5, 6])
    expect(calls.map((call) => call.headers['last-event-id'])).toEqual(['4', '5'])
  })

  it('go on after the server was away', async () => {
    answer = (response, _, number) => {
      if (number === 2) return problem(response, 'redis.unavailable', 'away')
      if (number === 3) return response.destroy()
      response.writeHead(200, { 'content-type': 'text/event-stream' })
      response.end(number === 1 ? wire(event(1)) : wire(event(2, 'run.ended')))
    }
    expect(await collect(client().runs.stream('r1'))).toEqual([1, 2])
  })

  it('end with the error when the run is not there', async () => {
    answer = (response) => problem(response, 'run.not_found', 'no r1')
    expect(await failure(collect(client().runs.stream('r1')))).toMatchObject({ code: 'run.not_found' })
    expect(calls).toHaveLength(1)
  })

  it('end when they are aborted, and close the connection when nobody reads on', async () => {
    let closed = 0
    answer = (response) => {
      response.on('close', () => closed++)
      response.writeHead(200, { 'content-type': 'text/event-stream' })
      response.write(wire(event(1)))
    }
    const abort = new AbortController()
    const seqs: number[] = []
    for await (const { seq } of client().runs.stream('r1', { signal: abort.signal })) {
      seqs.push(seq)
      abort.abort()
    }
    for await (const { seq } of client().runs.stream('r1')) {
      seqs.push(seq)
      break
    }
    expect(seqs).toEqual([1, 1])
    await expect.poll(() => closed).toBe(2)
  })
})

describe('result', () => {
  it('waits for the end and gives the output', async () => {
    let ended = false
    answer = (response, call) => {
      if (call.url === '/v1/runs/r1')
        return send(response, 200, run(ended ? { status: 'succeeded', output: { paid: true } } : { entries: 3 }))
      response.writeHead(200, { 'content-type': 'text/event-stream' })
      response.write(wire(event(4)))
      ended = true
      response.end(wire(event(5, 'run.ended')))
    }
    expect(await client().runs.of('r1').result()).toEqual({ paid: true })
    expect(calls[1].headers['last-event-id']).toBe('3')
  })

  it.each([
    [{ status: 'failed', error: { code: 'policy.denied', message: 'no' } }, 'policy.denied', 'no'],
    [{ status: 'failed', error: { code: 'bank.closed', message: 'no' } }, 'tool.failed', 'no'],
    [{ status: 'cancelled' }, 'internal', 'run r1 cancelled'],
  ] as const)('throws the run’s error: %j', async (change, code, message) => {
    answer = (response) => send(response, 200, run(change))
    expect(await failure(client().runs.of('r1').result())).toMatchObject({ code, message })
  })

  it('stops waiting when it is aborted', async () => {
    const abort = new AbortController()
    answer = (response, call) => {
      if (call.url === '/v1/runs/r1') return send(response, 200, run({}))
      response.writeHead(200, { 'content-type': 'text/event-stream' })
      response.flushHeaders()
      setTimeout(() => abort.abort(), 20)
    }
    await expect(client().runs.of('r1').result({ signal: abort.signal })).rejects.toThrow('aborted')
  })
})

import { appendFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { partitionOf } from '@muster/protocol'
import { Redis } from 'ioredis'
import { type Effect, request as requestSchema } from './effect.ts'
import { Random } from './random.ts'

/**
 * The outside of a campaign: a process of its own that writes down each effect before it answers. It has nothing to do
 * with Muster and dies with the campaign. Like any service it is sometimes slow, fails, or does what it was asked for
 * and then fails to say so. It reads the journal past Muster and past the proxies: was the intent there already when
 * the effect came?
 */
const { EFFECTS = '', REDIS_URL = '', NAMESPACE = '', PARTITIONS = '1', SEED = '1', UNRELIABLE = '1' } = process.env
const random = new Random(Number(SEED))
const unreliable = Number(UNRELIABLE)
const redis = new Redis(REDIS_URL, {
  enableOfflineQueue: false,
  autoResendUnfulfilledCommands: false,
  maxRetriesPerRequest: 0,
  commandTimeout: 1000,
  retryStrategy: () => 20,
})
redis.on('error', () => {})
const done = new Set<string>()
/** What was asked for and is not written down yet: until then nobody can be told whether it happened. */
const underWay = new Map<string, Promise<unknown>>()
/**
 * The highest fencing token by run. What must not happen twice is refused to a lower one: a worker that was stopped with
 * its request on its lips, and goes on after another was told that nothing has happened.
 */
const fences = new Map<string, number>()

function isFenced(key: string, token: number): boolean {
  const run = key.slice(0, key.indexOf('/'))
  const fence = fences.get(run) ?? 0
  fences.set(run, Math.max(fence, token))
  return token < fence
}

/** Redis runs one command after the other: what this read does not show was not written when it began. */
async function intentOf(key: string): Promise<Effect['intent']> {
  const run = key.slice(0, key.indexOf('/'))
  const log = `{${NAMESPACE}${partitionOf(run, Number(PARTITIONS))}}:log:${run}`
  try {
    const records = await redis.xrange(log, '-', '+')
    const lines = records.flatMap(([, fields]) => (fields[fields.indexOf('e') + 1] ?? '').split('\n'))
    return lines.some((line) => isIntent(line.slice(line.indexOf(' ') + 1), key)) ? 'yes' : 'no'
  } catch {
    return 'unknown'
  }
}

function isIntent(bytes: string, key: string): boolean {
  const entry = JSON.parse(bytes)
  return entry.type === 'step.intent' && entry.idempotencyKey === key && entry.decision.effect === 'allow'
}

async function act(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
  let body = ''
  for await (const chunk of incoming) body += chunk
  const { kind, key, token, pid } = requestSchema.parse(JSON.parse(body))
  const fate = random.next() * 100
  const at = Date.now()
  if (fate < 4 * unreliable) return answer(response, 503, 'refused')
  if (isFenced(key, token) && kind === 'once') return answer(response, 409, 'another worker has the run')
  const asking = intentOf(key)
  underWay.set(key, asking)
  const intent = await asking
  appendFileSync(EFFECTS, `${JSON.stringify({ kind, key, at, pid, intent } satisfies Effect)}\n`)
  done.add(key)
  if (underWay.get(key) === asking) underWay.delete(key)
  if (fate < 8 * unreliable) return answer(response, 500, 'done, but nobody is told')
  if (fate < 12 * unreliable) {
    response.destroy()
    return
  }
  if (fate < 30 * unreliable) await sleep(random.between(20, 400))
  answer(response, 200, 'done')
}

async function tell(key: string, token: number, response: ServerResponse): Promise<void> {
  // From now on, so that the answer stays true until the run is taken once more.
  isFenced(key, token)
  await underWay.get(key)
  // Whoever waits for it as well writes it down first.
  await sleep(0)
  answer(response, 200, done.has(key) ? 'yes' : 'no')
}

function answer(response: ServerResponse, status: number, text: string): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify({ text }))
}

const server = createServer((incoming, response) => {
  const { pathname, searchParams } = new URL(incoming.url ?? '/', 'http://recorder')
  const handled =
    incoming.method === 'GET' && pathname === '/done'
      ? tell(searchParams.get('key') ?? '', Number(searchParams.get('token')), response)
      : act(incoming, response)
  handled.catch((error) => answer(response, 500, String(error)))
})
// A worker that was stopped for long finds its connection as it left it.
server.keepAliveTimeout = 60_000
process.on('disconnect', () => process.exit(0))
redis.once('ready', () => {
  server.listen(0, '127.0.0.1', () => {
    const address = server.address()
    process.send?.({ port: typeof address === 'object' ? address?.port : undefined })
  })
})

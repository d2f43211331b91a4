import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { newId } from '@muster/protocol'
import { freePort, type RedisOptions, type RedisService, startRedis } from '@muster/stack'
import { Redis } from 'ioredis'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Journal } from './journal.ts'
import { type LostReason, RunWriter, Writer } from './writer.ts'

let dir: string
let stops: (() => Promise<unknown>)[]

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'muster-durability-'))
  stops = []
})
afterEach(async () => {
  for (const stop of stops.reverse()) await stop()
  rmSync(dir, { recursive: true })
})

async function server(name: string, options: Partial<RedisOptions> = {}): Promise<RedisService> {
  const service = await startRedis({ dir: join(dir, name), ...options })
  stops.push(() => service.stop())
  return service
}

async function open(url: string, replicas = 0): Promise<Journal> {
  const journal = await Journal.open({ url, namespace: 'd', replication: { replicas, timeoutMs: 300 } })
  // As after a server that is gone: what it had been sent is not waited for.
  stops.push(async () => {
    journal.redis.disconnect()
    await journal.close()
  })
  return journal
}

async function ask<T>(url: string, work: (redis: Redis) => Promise<T>): Promise<T> {
  const redis = new Redis(url)
  try {
    return await work(redis)
  } finally {
    redis.disconnect()
  }
}

const create = (journal: Journal, idempotencyKey?: string) =>
  journal.create(
    {
      run: newId(),
      tenant: 'acme',
      definition: { kind: 'plan', name: 'p', version: '1', hash: '' },
      by: { key: 'k', user: 'u' },
      labels: [],
      limits: {},
    },
    { input: 1 },
    { idempotencyKey, offload: async () => {} },
  )

async function hold(journal: Journal, run: string) {
  const held = await journal.activate(run)
  if (!held) throw new Error(`nothing to do for ${run}`)
  const lost: LostReason[] = []
  const pen = new RunWriter({ run, tenant: 'acme', ...held }, { mail: () => {}, lost: (reason) => lost.push(reason) })
  return { pen, lost }
}

function writerOf({ partitions }: Journal): Writer {
  const nothing = () => {}
  return new Writer({
    ...{ partitions, clock: Date.now, offload: async () => {} },
    ...{ onWake: nothing, onParentMail: nothing, onError: nothing, onDrain: nothing },
  })
}

const note = (writer: Writer, pen: RunWriter) =>
  writer.append(pen, '"type":"message.ignored","at":1,"about":"child","step":"s"')

interface Acknowledged {
  created: string[]
  /** How far each run's journal was said to be durable. */
  durable: Map<string, number>
  refused: string[]
}

/** Creates runs and writes in the journals of some, as fast as they are acknowledged, until told to stop. */
function load(journal: Journal): { seen: Acknowledged; stop(): void } {
  const seen: Acknowledged = { created: [], durable: new Map(), refused: [] }
  const writer = writerOf(journal)
  let on = true
  const client = async () => {
    while (on) {
      try {
        const { id } = await create(journal)
        seen.created.push(id)
        if (seen.created.length % 3 !== 0) continue
        const { pen } = await hold(journal, id)
        const go = (seq: number) => {
          seen.durable.set(id, seq)
          if (on && seq < 40) pen.whenDurable(note(writer, pen), () => go(seq + 1))
        }
        go(1)
      } catch (error) {
        seen.refused.push((error as { code?: string }).code ?? '')
      }
    }
  }
  for (let i = 0; i < 8; i++) void client()
  return {
    seen,
    stop: () => {
      on = false
    },
  }
}

async function expectAll(journal: Journal, { created, durable }: Acknowledged): Promise<void> {
  expect(created.length).toBeGreaterThan(50)
  for (const run of created) expect(await journal.get(run), run).toBeDefined()
  for (const [run, seq] of durable) expect((await journal.get(run))?.seq, run).toBeGreaterThanOrEqual(seq)
}

/** Ends a server in the middle of its work. */
function kill({ pid }: RedisService): void {
  if (pid === undefined) throw new Error('the server is no process of this machine')
  process.kill(pid, 'SIGKILL')
}

const count = async (condition: () => boolean) => {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 5))
}

/** A primary and a replica that has caught up. */
async function pair(): Promise<{ primary: RedisService; replica: RedisService }> {
  const [primary, replica] = [await server('primary'), await server('replica')]
  await follow(replica, primary)
  return { primary, replica }
}

async function follow(replica: RedisService, primary: RedisService): Promise<void> {
  await ask(replica.url, (redis) => redis.replicaof('127.0.0.1', Number(new URL(primary.url).port)))
  await ask(primary.url, async (redis) => {
    while ((await redis.wait(1, 1000)) < 1) await redis.set('d', '')
  })
}

/** Cuts a replica off: it goes on living, and hears nothing more. */
async function cut(replica: RedisService): Promise<void> {
  const port = await freePort()
  await ask(replica.url, (redis) => redis.replicaof('127.0.0.1', port))
}

describe('appendfsync always', () => {
  it('keeps all that was acknowledged when Redis is killed, whenever', async () => {
    const redis = await server('redis', { fsync: 'always' })
    const { seen, stop } = load(await open(redis.url))
    await count(() => seen.created.length > 300)
    kill(redis)
    const acknowledged = { ...seen, created: [...seen.created], durable: new Map(seen.durable) }
    stop()
    await expectAll(await open((await server('redis')).url), acknowledged)
  })
})

describe('with replicas', () => {
  it('keeps all that was acknowledged when the primary is killed and a replica takes its place', async () => {
    const { primary, replica } = await pair()
    const { seen, stop } = load(await open(primary.url, 1))
    await count(() => seen.created.length > 200)
    // Cut off first, so that the primary has what the replica has not: the test would find that acknowledged.
    await cut(replica)
    await count(() => seen.refused.includes('journal.not_replicated'))
    kill(primary)
    stop()
    await ask(replica.url, (redis) => redis.replicaof('NO', 'ONE'))
    await expectAll(await open(replica.url), seen)
  })

  it('acknowledges nothing while a replica is missing, and what a key started when it is back', async () => {
    const { primary, replica } = await pair()
    const journal = await open(primary.url, 1)
    const { id } = await create(journal)
    const { pen, lost } = await hold(journal, id)
    const writer = writerOf(journal)
    await cut(replica)
    let passed = false
    pen.whenDurable(note(writer, pen), () => {
      passed = true
    })
    await count(() => lost.length > 0)
    expect(lost).toEqual(['unreplicated'])
    expect(passed).toBe(false)
    const refused = { code: 'journal.not_replicated', status: 503 }
    await expect(create(journal, 'key')).rejects.toMatchObject(refused)
    await expect(create(journal, 'key')).rejects.toMatchObject(refused)
    // A holder would go on from entries that may vanish, and a reader would have seen them.
    await expect(journal.activate(id)).rejects.toMatchObject(refused)
    await expect(journal.get(id)).rejects.toMatchObject(refused)
    await expect(journal.post(id, { type: 'cancel', by: { key: 'k', user: 'u' } })).rejects.toMatchObject(refused)

    await follow(replica, primary)
    expect(await create(journal, 'key')).toMatchObject({ created: false })
    const again = await hold(journal, id)
    expect(again.pen).toMatchObject({ seq: 2 })
    const seq = note(writer, again.pen)
    await new Promise<void>((resolve) => again.pen.whenDurable(seq, resolve))
    expect(await ask(replica.url, (redis) => redis.hget(journal.of(id).keys.run(id), 'seq'))).toBe('3')
  })

  it('does not trust a server that came in the place of the one that answered', async () => {
    const { primary } = await pair()
    const journal = await open(primary.url, 1)
    const answer = journal.redis.set('d', '1')
    const answered = journal.partitions[0].replication.after(answer)
    await answer
    // The mark is not yet sent: it goes over the next connection, to whoever is there by then.
    journal.redis.disconnect(true)
    await expect(answered).rejects.toMatchObject({ code: 'journal.not_replicated' })
  })

  it('shows a follower nothing that is on the primary alone', async () => {
    const { primary, replica } = await pair()
    const journal = await open(primary.url, 1)
    const { id } = await create(journal)
    const { pen } = await hold(journal, id)
    const writer = writerOf(journal)
    const abort = new AbortController()
    const seen: number[] = []
    const reading = (async () => {
      for await (const { seq } of journal.follow(id, 1, abort.signal)) seen.push(seq)
    })()
    note(writer, pen)
    await count(() => seen.length === 1)
    await cut(replica)
    const again = (await ask(primary.url, (redis) => redis.hget(journal.of(id).keys.run(id), 'seq'))) ?? ''
    note(writer, pen)
    await count(() => pen.lost !== undefined)
    expect([again, seen]).toEqual(['2', [2]])
    await follow(replica, primary)
    await count(() => seen.length === 2)
    abort.abort()
    await reading
  })
})

describe('what a journal says of its durability', () => {
  it.each([
    ['always', 'yes', 0, true, /^appendfsync always: what is acknowledged is on disk$/],
    ['everysec', 'yes', 0, true, /^appendfsync everysec: up to a second/],
    ['no', 'yes', 0, false, /^appendfsync no: .*lost when the machine loses power/],
    ['always', 'no', 0, false, /^appendfsync off: .*appendonly yes/],
    ['always', 'no', 2, true, /^what is acknowledged is on 2 replicas .*appendfsync off/],
  ])('appendfsync %s, appendonly %s, %i replicas', async (fsync, log, replicas, safe, text) => {
    const { url } = await server('redis')
    const journal = await open(url, replicas)
    await ask(url, async (redis) => {
      await redis.config('SET', 'appendfsync', fsync)
      await redis.config('SET', 'appendonly', log)
    })
    expect(await journal.durability()).toMatchObject({ safe, text: expect.stringMatching(text) })
  })

  it('says so where Redis may not be asked', async () => {
    const { url } = await server('redis')
    await ask(url, (redis) => redis.acl('SETUSER', 'plain', 'on', '>secret', '~*', '&*', '+@all', '-config'))
    const journal = await open(url.replace('//', '//plain:secret@'))
    expect(await journal.durability()).toMatchObject({
      sync: 'unknown',
      text: expect.stringContaining('does not tell'),
    })
  })
})

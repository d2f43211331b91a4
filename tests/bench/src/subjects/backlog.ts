import type { Journal } from '@muster/journal'
import { Queue, Worker } from 'bullmq'
import { Redis } from 'ioredis'
import { type Meter, type Place, resultOf, type Subject } from '../subject.ts'
import { benchApp } from './app.ts'
import { connect } from './bullmq.ts'
import { checkRuns, enqueue, followEnds, openMuster } from './muster.ts'

export interface BacklogOptions extends Place {
  /** Runs that wait in the queue while it is worked off and refilled. */
  backlog: number
}

/** A queue of one-step runs. */
interface RunQueue {
  /** Prefix of its keys in Redis. */
  prefix: string
  /** Puts `n` runs into the queue; durable when it resolves. */
  enqueue(n: number): Promise<void>
  /** Starts to take runs; gives how to stop, after which none is under way. */
  work(onEnded: (count: number) => void): Promise<() => Promise<void>>
  /** Checks what has ended since it was last asked. */
  check(): Promise<void>
  close(): Promise<void>
}

/** Runs that are enqueued at once while a queue is filled. */
const CHUNK = 500
const CONCURRENCY = 100

/**
 * Fills a queue, then measures it at that length: each end puts a new run at the back. The worker is started for each
 * sample and stopped after it, so that the queue stands still between samples.
 */
async function atBacklog({ redisUrl, backlog }: BacklogOptions, queue: RunQueue): Promise<Subject> {
  const redis = new Redis(redisUrl)
  const before = await usedMemory(redis)
  const began = performance.now()
  for (let left = backlog; left > 0; left -= CHUNK) await queue.enqueue(Math.min(left, CHUNK))
  const fillPerS = backlog / ((performance.now() - began) / 1000)
  const figures = {
    fillPerS,
    bytesPerRun: ((await usedMemory(redis)) - before) / backlog,
    keyBytesPerRun: (await keyMemory(redis, queue.prefix)) / backlog,
  }
  redis.disconnect()
  return {
    async run({ ms }, meter) {
      const { units, elapsedMs, stop } = await refilled(queue, ms, meter)
      await stop()
      return { units, elapsedMs, figures }
    },
    check: () => queue.check(),
    close: () => queue.close(),
  }
}

/** Counts ends for `ms`, once the worker is under way. Each is answered by a new run, also those before and after. */
async function refilled(queue: RunQueue, ms: number, meter: Meter) {
  let skipped = 0
  let began: number | undefined
  let units = 0
  let due = 0
  let over = (_elapsedMs: number) => {}
  let failed = (_error: Error) => {}
  const elapsed = new Promise<number>((resolve, reject) => {
    over = resolve
    failed = reject
  })
  const refills = new Set<Promise<void>>()
  const refill = () => {
    const filled = queue.enqueue(due).catch(failed)
    due = 0
    refills.add(filled)
    filled.then(() => refills.delete(filled))
  }
  let elapsedMs = 0
  const count = (ended: number) => {
    if (skipped < CONCURRENCY) {
      skipped += ended
      return
    }
    const now = performance.now()
    if (began === undefined) {
      began = now
      meter.begin()
      return
    }
    if (elapsedMs >= ms) return
    units += ended
    elapsedMs = now - began
    if (elapsedMs < ms) return
    meter.end()
    over(elapsedMs)
  }
  const stop = await queue.work((ended) => {
    if (due === 0) setImmediate(refill)
    due += ended
    count(ended)
  })
  await elapsed
  return {
    elapsedMs,
    units,
    async stop() {
      await stop()
      await Promise.all(refills)
    },
  }
}

/** Enqueues in bulk, for the whole sample, and takes nothing out. */
function enqueuing(queue: RunQueue): Subject {
  return {
    async run({ ms }) {
      const began = performance.now()
      let units = 0
      let elapsedMs = 0
      const lane = async () => {
        while (elapsedMs < ms) {
          await queue.enqueue(CHUNK)
          units += CHUNK
          elapsedMs = performance.now() - began
        }
      }
      await Promise.all([lane(), lane()])
      return { units, elapsedMs }
    },
    close: () => queue.close(),
  }
}

async function usedMemory(redis: Redis): Promise<number> {
  return Number(/^used_memory:(\d+)/m.exec(await redis.info('memory'))?.[1])
}

/** `MEMORY USAGE` of every key that begins with the prefix, together. */
async function keyMemory(redis: Redis, prefix: string): Promise<number> {
  let bytes = 0
  for await (const keys of redis.scanStream({ match: `${prefix}*`, count: 1000 })) {
    const pipeline = redis.pipeline()
    for (const key of keys as string[]) pipeline.memory('USAGE', key)
    for (const [, size] of (await pipeline.exec()) ?? []) bytes += Number(size)
  }
  return bytes
}

async function musterQueue(place: Place, name: string): Promise<RunQueue> {
  const app = benchApp()
  const namespace = `bench-${name}`
  const { journal, memory, start, close } = await openMuster(place, namespace, app)
  let ended: string[] = []
  let onEnded = (_count: number) => {}
  const ends = followEnds(journal, (runs) => {
    ended.push(...runs)
    onEnded(runs.length)
  })
  return {
    prefix: journal.partitions[0].keys.tag,
    async enqueue(n) {
      await enqueue(journal, memory, app, 'one', n)
    },
    async work(listener) {
      onEnded = listener
      const worker = await start(CONCURRENCY, 'ahead')
      return async () => {
        await worker.close()
        await allSeen(journal, () => ended)
      }
    },
    async check() {
      await checkRuns(journal, ended, 1)
      const { redis } = journal
      // As the archiver would: what has ended leaves Redis, so that only the backlog is there.
      for (const run of ended) await journal.expire(run, 'bench', 0)
      await redis.xtrim(journal.partitions[0].keys.ended, 'MAXLEN', 0)
      ended = []
    },
    async close() {
      ends.close()
      await close()
    },
  }
}

/** Waits until every end that the journal tells of has been heard. */
async function allSeen(journal: Journal, ended: () => readonly string[]): Promise<void> {
  while ((await journal.redis.xlen(journal.partitions[0].keys.ended)) > ended().length)
    await new Promise((resolve) => setTimeout(resolve, 10))
}

async function bullmqQueue({ redisUrl }: Place, name: string): Promise<RunQueue> {
  const prefix = `bullmq-${name}`
  const { redis, options } = connect(redisUrl, prefix)
  const queue = new Queue('bench', options)
  const job = { name: 'run', data: { input: { n: 0 } }, opts: { removeOnComplete: true } }
  return {
    prefix,
    async enqueue(n) {
      await queue.addBulk(Array.from({ length: n }, () => job))
    },
    async work(onEnded) {
      const worker = new Worker('bench', async ({ data }) => resultOf(data.input.n), {
        ...options,
        concurrency: CONCURRENCY,
      })
      worker.on('completed', () => onEnded(1))
      return () => worker.close()
    },
    // Completed jobs are removed, and a failed one would not be counted.
    async check() {},
    async close() {
      await queue.close()
      redis.disconnect()
    },
  }
}

export const musterBacklog = async (options: BacklogOptions): Promise<Subject> =>
  atBacklog(options, await musterQueue(options, `backlog-${options.backlog}`))
export const bullmqBacklog = async (options: BacklogOptions): Promise<Subject> =>
  atBacklog(options, await bullmqQueue(options, `backlog-${options.backlog}`))
export const musterEnqueue = async (place: Place): Promise<Subject> => enqueuing(await musterQueue(place, 'enqueue'))
export const bullmqEnqueue = async (place: Place): Promise<Subject> => enqueuing(await bullmqQueue(place, 'enqueue'))

import { FlowProducer, Queue, type QueueOptions, Worker } from 'bullmq'
import { Redis } from 'ioredis'
import { Gaps } from '../gaps.ts'
import { load, type System } from '../load.ts'
import { type Place, resultOf, type Subject, type Task } from '../subject.ts'
import { CHAIN, FAN } from './app.ts'

const NAME = 'bench'
const removed = { removeOnComplete: true, removeOnFail: true }

interface BullmqOptions extends Place {
  inFlight: number
}

/** A connection and what BullMQ is told to use it. */
export function connect(url: string, prefix: string): { redis: Redis; options: QueueOptions & { autorun?: boolean } } {
  const redis = new Redis(url, { maxRetriesPerRequest: null })
  return { redis, options: { connection: redis, prefix, skipVersionCheck: true } }
}

interface StepData {
  run: number
  step: number
  result?: object
}

/** BullMQ as a chain of jobs: each step is a job, and adds the next with its result before it completes. */
export async function bullmqChain({ redisUrl, inFlight }: BullmqOptions): Promise<Subject> {
  const { redis, options } = connect(redisUrl, 'bullmq-chain')
  const queue = new Queue<StepData>(NAME, options)
  const gaps = new Gaps<number>()
  let begun = 0
  const worker = new Worker<StepData>(
    NAME,
    async ({ data: { run, step } }) => {
      gaps.step(run)
      const result = resultOf(step)
      if (step < CHAIN) await queue.add('step', { run, step: step + 1, result }, removed)
      return result
    },
    { ...options, concurrency: 100 },
  )
  worker.on('completed', ({ data }) => {
    if (data.step === CHAIN) system.onEnded(1)
  })
  const system: System = {
    onEnded: () => {},
    async start(n) {
      await queue.addBulk(
        Array.from({ length: n }, () => ({ name: 'step', data: { run: begun++, step: 1 }, opts: removed })),
      )
    },
  }
  await worker.waitUntilReady()
  return {
    async run(task: Task) {
      gaps.reset(task)
      const { units, elapsedMs } = await load(system, inFlight, task)
      return { units: units * CHAIN, elapsedMs, ...gaps.figures() }
    },
    close: () => closeAll(worker, queue, redis),
  }
}

/** BullMQ as a loop in one job that keeps its last step by `updateProgress`. */
export async function bullmqProgress({ redisUrl, inFlight }: BullmqOptions): Promise<Subject> {
  const { redis, options } = connect(redisUrl, 'bullmq-progress')
  const queue = new Queue(NAME, options)
  const worker = new Worker(
    NAME,
    async (job) => {
      for (let step = 1; step <= CHAIN; step++) await job.updateProgress({ step, result: resultOf(step) })
    },
    { ...options, concurrency: 100 },
  )
  const system: System = {
    onEnded: () => {},
    async start(n) {
      await queue.addBulk(Array.from({ length: n }, () => ({ name: 'run', data: {}, opts: removed })))
    },
  }
  worker.on('completed', () => system.onEnded(1))
  await worker.waitUntilReady()
  return {
    async run(task) {
      const { units, elapsedMs } = await load(system, inFlight, task)
      return { units: units * CHAIN, elapsedMs }
    },
    close: () => closeAll(worker, queue, redis),
  }
}

/** BullMQ's FlowProducer: one parent job that waits for its children. */
export async function bullmqFlow({ redisUrl, inFlight }: BullmqOptions): Promise<Subject> {
  const { redis, options } = connect(redisUrl, 'bullmq-flow')
  const queue = new Queue(NAME, options)
  const flows = new FlowProducer(options)
  const worker = new Worker(NAME, async (job) => resultOf(job.data.n), { ...options, concurrency: 100 })
  const system: System = {
    onEnded: () => {},
    async start(n) {
      const child = (n: number) => ({ name: 'child', queueName: NAME, data: { n }, opts: removed })
      const children = Array.from({ length: FAN }, (_, i) => child(i))
      for (let i = 0; i < n; i++) await flows.add({ ...child(FAN), name: 'join', children })
    },
  }
  worker.on('completed', (job) => {
    if (job.name === 'join') system.onEnded(1)
  })
  await worker.waitUntilReady()
  return {
    async run(task) {
      const { units, elapsedMs } = await load(system, inFlight, task)
      return { units: units * (FAN + 1), elapsedMs }
    },
    async close() {
      await flows.close()
      await closeAll(worker, queue, redis)
    },
  }
}

async function closeAll(worker: Worker, queue: Queue, redis: Redis): Promise<void> {
  await worker.close()
  await queue.close()
  redis.disconnect()
}

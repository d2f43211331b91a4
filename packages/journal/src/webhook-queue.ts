import type { WebhookPayload } from '@muster/protocol'
import { DelayedError, Queue, Worker } from 'bullmq'
import { connect, type JournalRedis } from './commands.ts'
import type { Journal } from './journal.ts'
import { WEBHOOK_QUEUE } from './keys.ts'

/** Deliveries under way at once in one worker. */
const CONCURRENCY = 50
const LOCK_MS = 30_000

/** One event on its way to one webhook. */
export interface WebhookJob {
  tenant: string
  webhook: string
  /** The event's id. */
  event: string
  payload: WebhookPayload
}

/** What became of an attempt: done, to be tried again after so long (ms), or only to be looked at again later (ms). */
export type Attempted = 'done' | { againMs: number } | { laterMs: number }

/** Events on their way to webhooks, in a BullMQ queue of the first partition: each until it is done. */
export class WebhookQueue {
  readonly #journal: Journal
  readonly #queue: Queue<WebhookJob>
  #worker: Worker<WebhookJob> | undefined
  #connection: JournalRedis | undefined

  constructor(journal: Journal) {
    this.#journal = journal
    this.#queue = new Queue(WEBHOOK_QUEUE, {
      prefix: journal.partitions[0].keys.tag,
      connection: journal.redis,
      skipVersionCheck: true,
      skipMetasUpdate: true,
    })
    this.#queue.on('error', () => {})
  }

  /** Adds it once, however often it is called, until it is done; `again` makes it another. */
  async add(job: WebhookJob, again = ''): Promise<void> {
    await this.#queue.add('deliver', job, {
      jobId: `${job.event}.${job.webhook}${again}`,
      removeOnComplete: true,
      removeOnFail: true,
      attempts: Number.MAX_SAFE_INTEGER,
      backoff: { type: 'custom' },
    })
  }

  /** Delivers until it is closed. `attempt` counts from 1. */
  work(deliver: (job: WebhookJob, attempt: number) => Promise<Attempted>, onError: (error: Error) => void): void {
    this.#connection = connect(this.#journal.url)
    const delays = new WeakMap<Error, number>()
    this.#worker = new Worker<WebhookJob>(
      WEBHOOK_QUEUE,
      async (job, token) => {
        const attempted = await deliver(job.data, job.attemptsMade + 1)
        if (attempted === 'done') return
        if ('laterMs' in attempted) {
          await job.moveToDelayed(Date.now() + attempted.laterMs, token)
          throw new DelayedError()
        }
        const error = new Error('not delivered')
        delays.set(error, attempted.againMs)
        throw error
      },
      {
        prefix: this.#journal.partitions[0].keys.tag,
        connection: this.#connection,
        concurrency: CONCURRENCY,
        lockDuration: LOCK_MS,
        drainDelay: 2,
        maxStalledCount: Number.MAX_SAFE_INTEGER,
        skipVersionCheck: true,
        settings: { backoffStrategy: (_attempts, _type, error) => (error && delays.get(error)) ?? 5000 },
      },
    )
    this.#worker.on('error', onError)
  }

  async close(): Promise<void> {
    await this.#worker?.close()
    this.#connection?.disconnect()
    await this.#queue.close()
  }
}

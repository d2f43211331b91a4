import { type Job, Worker } from 'bullmq'
import { connect, type JournalRedis } from './commands.ts'
import { type Activation, QUEUE } from './feeder.ts'
import type { Journal } from './journal.ts'

export interface ActivationOptions {
  concurrency: number
  /** A holder that has not renewed its lock for this long has lost the run, ms. */
  lockMs: number
  /** Drives one run until it ends or parks. When it rejects, the activation is tried again in a second. */
  process: (run: string, definition: string) => Promise<void>
  /** There is a message for a run that this worker may hold. */
  onMail: (run: string) => void
  onError: (error: Error) => void
}

/** So soon after a run was taken the next is fed, unless many were taken and it is fed sooner; ms. */
const FEED_LATE_MS = 10
/** How often the backlog is looked at though nothing was taken; ms. */
const FEED_IDLE_MS = 1000
const SWEEP_MS = 5000

/** Takes activations from the queue, keeps the queue fed from the backlog, and repairs what others left half done. */
export class Activations {
  readonly #worker: Worker
  readonly #connection: JournalRedis
  readonly #mail: JournalRedis
  readonly #timers: NodeJS.Timeout[]
  readonly #feed: () => void
  readonly #batch: number
  #taken = 0
  #late: NodeJS.Timeout | undefined

  constructor(journal: Journal, options: ActivationOptions) {
    // As many wait in BullMQ as this worker holds: a tenant's run is behind no more of another's.
    this.#feed = () => {
      clearTimeout(this.#late)
      this.#late = undefined
      this.#taken = 0
      journal.feeder.feed(options.concurrency).catch(options.onError)
    }
    this.#batch = Math.ceil(options.concurrency / 2)
    this.#connection = connect(journal.url)
    this.#worker = new Worker<Activation>(
      QUEUE,
      (job: Job<Activation>) => {
        this.#took()
        return options.process(job.data.run, job.data.definition)
      },
      {
        prefix: journal.keys.tag,
        connection: this.#connection,
        concurrency: options.concurrency,
        lockDuration: options.lockMs,
        stalledInterval: Math.max(250, Math.floor(options.lockMs / 2)),
        // A run whose holder died is taken again, however often; BullMQ would give it up after one time.
        maxStalledCount: Number.MAX_SAFE_INTEGER,
        // How soon BullMQ tries its own failed commands again; its default of 15 s would hold back a stop for as long.
        runRetryDelay: 500,
        skipVersionCheck: true,
      },
    )
    this.#worker.on('error', options.onError)
    this.#worker.on('drained', this.#feed)
    this.#mail = connect(journal.url)
    this.#mail.on('message', (_channel: string, run: string) => options.onMail(run))
    this.#mail.subscribe(journal.keys.mail).catch(options.onError)
    this.#timers = [
      setInterval(this.#feed, FEED_IDLE_MS),
      setInterval(() => journal.sweep(SWEEP_MS).catch(options.onError), SWEEP_MS),
    ]
    this.#feed()
  }

  /** Feeds once for many that are taken at about the same time. */
  #took(): void {
    if (++this.#taken >= this.#batch) this.#feed()
    else this.#late ??= setTimeout(this.#feed, FEED_LATE_MS)
  }

  async ready(): Promise<void> {
    await this.#worker.waitUntilReady()
  }

  /** Takes no new runs; waits for those at hand unless `force`. */
  async close(force = false): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer)
    await this.#worker.close(force)
    clearTimeout(this.#late)
    this.#mail.disconnect()
    // BullMQ leaves open what it was given.
    this.#connection.disconnect()
  }
}

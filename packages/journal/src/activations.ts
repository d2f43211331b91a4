import { type Job, Worker } from 'bullmq'
import { connect, type JournalRedis } from './commands.ts'
import { type Journal, QUEUE } from './journal.ts'

interface Activation {
  run: string
  /** `name@version` of what it executes. */
  definition: string
}

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

/** Takes activations from the queue, and repairs those whose enqueuer died. */
export class Activations {
  readonly #worker: Worker
  readonly #connection: JournalRedis
  readonly #mail: JournalRedis
  readonly #sweeper: NodeJS.Timeout

  constructor(journal: Journal, options: ActivationOptions) {
    this.#connection = connect(journal.url)
    this.#worker = new Worker<Activation>(
      QUEUE,
      (job: Job<Activation>) => options.process(job.data.run, job.data.definition),
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
    this.#mail = connect(journal.url)
    this.#mail.on('message', (_channel: string, run: string) => options.onMail(run))
    this.#mail.subscribe(journal.keys.mail).catch(options.onError)
    this.#sweeper = setInterval(() => {
      journal.sweep(5000).catch(options.onError)
    }, 5000)
  }

  async ready(): Promise<void> {
    await this.#worker.waitUntilReady()
  }

  /** Takes no new runs; waits for those at hand unless `force`. */
  async close(force = false): Promise<void> {
    clearInterval(this.#sweeper)
    await this.#worker.close(force)
    this.#mail.disconnect()
    // BullMQ leaves open what it was given.
    this.#connection.disconnect()
  }
}

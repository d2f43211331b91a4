import { Job, type JobJson, Worker } from 'bullmq'
import type { JournalRedis } from './commands.ts'
import { type Activation, QUEUE } from './feeder.ts'
import type { Partition } from './partition.ts'
import type { Share } from './places.ts'

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
/** So soon a command that failed with the connection is tried again; ms. */
const RETRY_MS = 500

/**
 * Takes activations from a partition's queue, keeps the queue fed from the backlog, and repairs what others left half done.
 *
 * BullMQ's worker is driven by hand: its own loop takes one job after the other, a round trip each, which leaves a
 * worker with a hundred free places idle for most of the time. Here one call waits for the next job, and whatever
 * else waits by then is taken at once.
 */
export class Activations {
  readonly #options: ActivationOptions
  readonly #worker: Worker<Activation>
  readonly #connection: JournalRedis
  readonly #timers: NodeJS.Timeout[]
  readonly #feeder: Partition['feeder']
  readonly #share: Share
  readonly #window: number
  readonly #waiting: string
  readonly #batch: number
  /** Tokens of the jobs held, by id. */
  readonly #held = new Map<string, string>()
  #tokens = 0
  #taken = 0
  #late: NodeJS.Timeout | undefined
  #closing = false
  readonly #loop: Promise<void>
  #feeding = false

  /** `window`: how many runs may wait in BullMQ. */
  constructor(
    partition: Partition,
    { share, connection, window }: { share: Share; connection: JournalRedis; window: number },
    options: ActivationOptions,
  ) {
    this.#options = options
    this.#feeder = partition.feeder
    this.#waiting = partition.keys.waiting(QUEUE)
    this.#share = share
    this.#window = window
    this.#batch = Math.ceil(window / 2)
    this.#connection = connection
    this.#worker = new Worker<Activation>(QUEUE, null, {
      prefix: partition.keys.tag,
      connection: this.#connection,
      lockDuration: options.lockMs,
      stalledInterval: Math.max(250, Math.floor(options.lockMs / 2)),
      // A run whose holder died is taken again, however often; BullMQ would give it up after one time.
      maxStalledCount: Number.MAX_SAFE_INTEGER,
      skipVersionCheck: true,
    })
    this.#worker.on('error', options.onError)
    this.#worker.startStalledCheckTimer().catch(options.onError)
    this.#timers = [
      setInterval(this.#feed, FEED_IDLE_MS),
      setInterval(() => partition.sweep(SWEEP_MS).catch(options.onError), SWEEP_MS),
      setInterval(this.#renew, options.lockMs / 3),
    ]
    this.#loop = this.#take()
    this.#feed()
  }

  async ready(): Promise<void> {
    await this.#worker.waitUntilReady()
  }

  /** Waits for the next job whenever a place is free, then takes all others that wait, as far as there are places. */
  async #take(): Promise<void> {
    let idle = false
    while (!this.#closing) {
      // Where nothing waits, a place would be kept from another partition: it is asked for when a job has come.
      if (this.#share.free === 0 && !idle) {
        idle = (await this.#share.next()) && !(await this.#takeOne(false, true))
        continue
      }
      idle = false
      if ((await this.#takeOne(true)) && this.#share.free > 0) {
        const waiting = await this.#connection.llen(this.#waiting).catch(() => 0)
        await this.#takeMany(waiting)
      }
    }
  }

  async #takeMany(waiting: number): Promise<void> {
    const count = this.#closing ? 0 : Math.min(waiting, this.#share.free)
    await Promise.all(Array.from({ length: count }, () => this.#takeOne(false)))
  }

  /** Takes a job if there is one, and says whether. `placed`: it has a place already. */
  async #takeOne(block: boolean, placed = false): Promise<boolean> {
    const token = `${this.#worker.id}:${this.#tokens++}`
    // A call that waits holds no place: others are taken meanwhile.
    if (!block && !placed) this.#share.take()
    let job: Job<Activation> | undefined
    try {
      job = await this.#worker.getNextJob(token, { block })
    } catch (error) {
      if (!this.#closing) this.#options.onError(error as Error)
      await pause(RETRY_MS)
    }
    if (!job) {
      if (!block) this.#share.leave()
      return false
    }
    // It came when the last place was gone, or when nothing was to be taken any more.
    if (this.#closing || (block && this.#share.free === 0)) {
      await job.moveToWait(token).catch(this.#options.onError)
      if (!block) this.#share.leave()
      return false
    }
    if (block) this.#share.take()
    void this.#work(job, token)
    return true
  }

  /** Processes a job and those that come with the ends of the ones before, in one place. */
  async #work(first: Job<Activation>, token: string): Promise<void> {
    for (let job: Job<Activation> | undefined = first; job; ) job = await this.#process(job, token)
    this.#share.leave()
    // Nothing waits in the queue, but perhaps in the backlog.
    if (!this.#closing) this.#feedSoon()
  }

  /** Gives the job that is to be processed next. */
  async #process(job: Job<Activation>, token: string): Promise<Job<Activation> | undefined> {
    const { onError, process } = this.#options
    const id = job.id ?? ''
    this.#held.set(id, token)
    this.#took()
    let failure: Error | undefined
    try {
      await process(job.data.run, job.data.definition)
    } catch (error) {
      failure = error instanceof Error ? error : new Error(String(error))
    }
    this.#held.delete(id)
    try {
      if (failure) {
        await job.moveToFailed(failure, token)
        return undefined
      }
      const next = await job.moveToCompleted(undefined, token, !this.#closing && !this.#share.owed)
      // BullMQ types it as any[]: the next job's fields and its id, or 0 where there is none.
      const [fields, nextId] = (next ?? []) as [(JobJson | 0)?, string?]
      if (!fields) return undefined
      const following = Job.fromJSON<Activation>(this.#worker, fields, nextId)
      following.token = token
      return following
    } catch (error) {
      // It was lost, and is another's by now.
      onError(error as Error)
      return undefined
    }
  }

  /** Feeds once for many that are taken at about the same time. */
  #took(): void {
    if (++this.#taken >= this.#batch) this.#feed()
    else this.#late ??= setTimeout(this.#feed, FEED_LATE_MS)
  }

  #feedSoon(): void {
    if (this.#taken < this.#batch) this.#taken = this.#batch
    clearTimeout(this.#late)
    this.#late = setTimeout(this.#feed, 0)
  }

  readonly #feed = (): void => {
    clearTimeout(this.#late)
    this.#late = undefined
    this.#taken = 0
    const fed = this.#feeder.feed(this.#window)
    // A call under way does the work of this one too, and takes what that has brought.
    if (this.#feeding) return
    this.#feeding = true
    fed
      .finally(() => {
        this.#feeding = false
      })
      .then((count) => this.#takeMany(count))
      .catch(this.#options.onError)
  }

  readonly #renew = (): void => {
    const { lockMs, onError } = this.#options
    if (this.#held.size === 0) return
    this.#worker.extendJobLocks([...this.#held.keys()], [...this.#held.values()], lockMs).then((lost) => {
      for (const id of lost) onError(new Error(`could not renew the lock of job ${id}`))
    }, onError)
  }

  /** Takes no new runs; waits for those at hand. */
  async close(): Promise<void> {
    this.#closing = true
    const [feed, sweep, renew] = this.#timers
    clearInterval(feed)
    clearInterval(sweep)
    clearTimeout(this.#late)
    this.#share.stopWaiting()
    await this.#share.idle()
    clearInterval(renew)
    // Ends the call that waits for a job.
    await this.#worker.close(true)
    await this.#loop
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

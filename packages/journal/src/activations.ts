import { ErrorCode, Job, type JobJson, Worker } from 'bullmq'
import type { JournalRedis } from './commands.ts'
import { type Activation, QUEUE, runsPerJob } from './feeder.ts'
import type { Partition } from './partition.ts'
import type { Share } from './places.ts'

export interface ActivationOptions {
  /** Runs held at once; a job may bring an eighth more. */
  concurrency: number
  /** A holder that has not renewed its lock for this long has lost the run, ms. */
  lockMs: number
  /** Drives one run, for the job named, until it ends or parks. When it rejects, it is tried again after `pauseMs`. */
  process: (run: string, definition: string, job: string) => Promise<void>
  /** How long a run is left alone that could just not be driven, ms; a second unless given. */
  pauseMs?: (run: string) => number
  /** There is a message for a run that this worker may hold. */
  onMail: (run: string) => void
  /** Such messages may have been missed. */
  onMailLost: () => void
  /** The lock on these runs is another's by now, or nobody's: they are to be let go. */
  onLost: (runs: readonly string[]) => void
  onError: (error: Error) => void
}

/** So long a run that could not be driven is left alone, unless it is said otherwise, ms. */
const AGAIN_MS = 1000

/** A run could not be driven, and is left alone for so long, ms. */
interface Failure {
  error: Error
  pauseMs: number
}

/** So soon after a run was taken the next is fed, unless many were taken and it is fed sooner; ms. */
const FEED_LATE_MS = 10
/** How often the backlog is looked at though nothing was taken; ms. */
const FEED_IDLE_MS = 1000
const SWEEP_MS = 5000
/** How long a call waits for a job, s: no longer, since a connection that has died unnoticed swallows the job. */
const BLOCK_S = 2
/** Parked runs are looked for whose time has come at least so often; another worker may have parked one; ms. */
const WAKE_MS = 1000
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
  #alarm: NodeJS.Timeout | undefined
  readonly #connection: JournalRedis
  readonly #timers: NodeJS.Timeout[]
  readonly #feeder: Partition['feeder']
  readonly #places: Share
  readonly #window: number
  readonly #waiting: string
  readonly #batch: number
  /** Runs that a job may have: so many places are kept for one that is on its way. */
  readonly #share: number
  /** The jobs held, by id. */
  readonly #held = new Map<string, { token: string; runs: readonly string[] }>()
  readonly #works = new Set<Promise<void>>()
  #tokens = 0
  #taken = 0
  #late: NodeJS.Timeout | undefined
  #closing = false
  readonly #closed = Promise.withResolvers<void>()
  readonly #loop: Promise<void>
  #feeding = false

  /** `window`: how many runs may wait in BullMQ. */
  constructor(
    partition: Partition,
    { places, connection, window }: { places: Share; connection: JournalRedis; window: number },
    options: ActivationOptions,
  ) {
    this.#options = options
    this.#feeder = partition.feeder
    this.#waiting = partition.keys.ofQueue(QUEUE, 'wait')
    this.#places = places
    this.#window = window
    this.#batch = Math.ceil(window / 2)
    this.#share = runsPerJob(window)
    this.#connection = connection
    this.#worker = new Worker<Activation>(QUEUE, null, {
      prefix: partition.keys.tag,
      connection: this.#connection,
      drainDelay: BLOCK_S,
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
    void this.#wake(partition)
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
      if (this.#places.free <= 0 && !idle) {
        idle = (await this.#places.next(this.#share)) && !(await this.#takeOne(false, true))
        continue
      }
      idle = false
      if ((await this.#takeOne(true)) && this.#places.free > 0) {
        const waiting = await this.#connection.llen(this.#waiting).catch(() => 0)
        await this.#takeMany(waiting)
      }
    }
  }

  /** Takes up to so many jobs, as long as a place is free. */
  async #takeMany(waiting: number): Promise<void> {
    const taking: Promise<boolean>[] = []
    while (taking.length < waiting && this.#places.free > 0 && !this.#closing) taking.push(this.#takeOne(false))
    await Promise.all(taking)
  }

  /** Takes a job if there is one, and says whether. `placed`: places are taken for it already. */
  async #takeOne(block: boolean, placed = false): Promise<boolean> {
    const token = `${this.#worker.id}:${this.#tokens++}`
    // A call that waits holds no place: others are taken meanwhile.
    const reserved = block ? 0 : this.#share
    if (!placed) this.#places.take(reserved)
    let job: Job<Activation> | undefined
    try {
      job = await this.#worker.getNextJob(token, { block })
    } catch (error) {
      if (!this.#closing) this.#options.onError(error as Error)
      await pause(RETRY_MS)
    }
    // It came when the last place was gone, or when nothing was to be taken any more.
    const refused = job && (this.#closing || (block && this.#places.free <= 0))
    if (refused) await job?.moveToWait(token).catch(this.#options.onError)
    else if (job) this.#start(job, token)
    // Last, so that no other partition gets the places in between.
    this.#places.leave(reserved)
    return job !== undefined && !refused
  }

  /** A job takes as many places as it has runs, which are not parted: the last place may take a few runs too many. */
  #start(job: Job<Activation>, token: string): void {
    const { runs } = job.data
    this.#places.take(runs.length)
    this.#taken += runs.length
    if (this.#taken >= this.#batch) this.#feed()
    // Once for many that are taken at about the same time.
    else this.#late ??= setTimeout(this.#feed, FEED_LATE_MS)
    const work = this.#work(job, token).finally(() => this.#works.delete(work))
    this.#works.add(work)
  }

  /** Processes the runs of a job, completes it, and starts the next if that came with the end of this one. */
  async #work(job: Job<Activation>, token: string): Promise<void> {
    const id = job.id ?? ''
    this.#held.set(id, { token, runs: job.data.runs })
    const failure = await this.#process(job.data, id)
    // After its lock was lost this worker may hold it anew.
    if (this.#held.get(id)?.token === token) this.#held.delete(id)
    let reserved = 0
    try {
      if (failure) {
        // Who ends leaves what is not done to others at once.
        if (this.#closing) await job.moveToWait(token)
        else {
          job.opts.backoff = { type: 'fixed', delay: failure.pauseMs }
          // Unless told otherwise BullMQ keeps the traces of all failures, however many.
          job.opts.stackTraceLimit = 0
          await job.moveToFailed(failure.error, token)
        }
        return
      }
      reserved = this.#closing || this.#places.free <= 0 ? 0 : this.#share
      this.#places.take(reserved)
      const next = await job.moveToCompleted(undefined, token, reserved > 0)
      // BullMQ types it as any[]: the next job's fields and its id, or 0 where there is none.
      const [fields, nextId] = (next ?? []) as [(JobJson | 0)?, string?]
      if (fields) {
        const following = Job.fromJSON<Activation>(this.#worker, fields, nextId)
        following.token = token
        if (this.#closing) await following.moveToWait(token)
        else this.#start(following, token)
      } else if (!this.#closing) this.#feedSoon()
    } catch (error) {
      // It was lost, and is another's by now: its runs were let go when that showed.
      if (!isLost(error)) this.#options.onError(error as Error)
    } finally {
      // Last, so that no other partition gets the places in between.
      this.#places.leave(reserved)
    }
  }

  /**
   * Drives all runs of a job to their ends; each leaves its place by itself. One that fails is tried again as long as
   * others hold the job, which may be long. Gives the failure with which the rest of the job is left to a later activation.
   */
  async #process({ runs, definition }: Activation, job: string): Promise<Failure | undefined> {
    let busy = runs.length
    let over = () => {}
    const idle = new Promise<void>((resolve) => {
      over = resolve
    })
    const drive = async (run: string): Promise<Failure | undefined> => {
      for (;;) {
        let failure: Failure | undefined
        try {
          await this.#options.process(run, definition, job)
        } catch (error) {
          const pauseMs = this.#options.pauseMs?.(run) ?? AGAIN_MS
          failure = { error: error instanceof Error ? error : new Error(String(error)), pauseMs }
        }
        if (--busy === 0) over()
        if (failure) await Promise.race([idle, this.#closed.promise, pause(failure.pauseMs)])
        if (!failure || busy === 0 || this.#closing) {
          this.#places.leave(1)
          return failure
        }
        busy++
      }
    }
    return (await Promise.all(runs.map(drive))).find((failure) => failure !== undefined)
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

  /** Takes up parked runs at their times. */
  async #wake(partition: Partition): Promise<void> {
    let next = Number.POSITIVE_INFINITY
    try {
      next = await partition.wake()
    } catch (error) {
      if (!this.#closing) this.#options.onError(error as Error)
    }
    if (this.#closing) return
    const wait = Math.min(Math.max(next - partition.clock(), 1), WAKE_MS)
    this.#alarm = setTimeout(() => void this.#wake(partition), wait)
  }

  readonly #renew = (): void => {
    const { lockMs, onError, onLost } = this.#options
    if (this.#held.size === 0) return
    const tokens = new Map([...this.#held].map(([id, { token }]) => [id, token]))
    this.#worker.extendJobLocks([...tokens.keys()], [...tokens.values()], lockMs).then((lost) => {
      for (const id of lost) {
        const job = this.#held.get(id)
        // It may have ended meanwhile, or been taken anew.
        if (!job || job.token !== tokens.get(id)) continue
        // Told once: there is nothing to renew any more.
        this.#held.delete(id)
        onLost(job.runs)
      }
    }, onError)
  }

  /** Takes no new runs; waits for those at hand. */
  async close(): Promise<void> {
    this.#closing = true
    this.#closed.resolve()
    const [feed, sweep, renew] = this.#timers
    clearInterval(feed)
    clearInterval(sweep)
    clearTimeout(this.#late)
    clearTimeout(this.#alarm)
    this.#places.stopWaiting()
    await this.#places.idle()
    await Promise.all(this.#works)
    clearInterval(renew)
    // Ends the call that waits for a job.
    await this.#worker.close(true)
    await this.#loop
  }
}

/** Whether a job could not be ended because its lock is another's, or gone with the job. */
function isLost(error: unknown): boolean {
  const { code } = error as { code?: number } // set by BullMQ on errors of its scripts
  return code === ErrorCode.JobNotExist || code === ErrorCode.JobLockNotExist || code === ErrorCode.JobLockMismatch
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

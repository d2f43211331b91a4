import { pinOf } from '@muster/protocol'
import type { Queue } from 'bullmq'
import type { JournalRedis } from './commands.ts'
import { shapeDefinition } from './first-entry.ts'
import type { Keys } from './keys.ts'
import { parseCreated, peek } from './run-record.ts'

/** BullMQ queue of activations: one job is one activation of each of its runs. */
export const QUEUE = 'activations'

/** Data of a job. Runs that are fed at once share one: a job of its own would cost more than a short run does itself. */
export interface Activation {
  runs: string[]
  /** What they are pinned to; see `pinOf`. */
  definition: string
}

interface Due {
  run: string
  activation: number
  definition: string
}

/** How many runs may share a job, where workers hold `concurrency` of them. */
export function runsPerJob(concurrency: number): number {
  return Math.min(16, Math.max(1, Math.floor(concurrency / 8)))
}

/** Brings runs from the backlog to BullMQ, a window at a time, and repairs what a feeder that died left. */
export class Feeder {
  readonly #redis: JournalRedis
  readonly #keys: Keys
  readonly #queue: Queue<Activation>
  readonly #clock: () => number
  #feeding: Promise<number> | undefined
  #again = false
  /** The window that this process told last; 0 in one that holds no runs. */
  #wanted = 0
  /** The window that was used last. */
  #window = 1

  constructor(redis: JournalRedis, keys: Keys, queue: Queue<Activation>, clock: () => number) {
    this.#redis = redis
    this.#keys = keys
    this.#queue = queue
    this.#clock = clock
  }

  /**
   * Fills BullMQ's waiting list up to `window` jobs, in fair order; 0 stands for the window that a worker
   * told last. One call is under way at a time: one that comes meanwhile makes it run once more. Gives how
   * many jobs were added.
   */
  feed(window: number): Promise<number> {
    this.#again = true
    this.#wanted = window || this.#wanted
    this.#feeding ??= this.#feed().finally(() => {
      this.#feeding = undefined
    })
    return this.#feeding
  }

  async #feed(): Promise<number> {
    let fed = 0
    while (this.#again) {
      this.#again = false
      const due = await this.take(this.#wanted)
      fed += await this.enqueue(due, runsPerJob(this.#window))
    }
    return fed
  }

  /** The first half of feeding: moves runs out of the backlog into `pending`. */
  async take(window: number): Promise<Due[]> {
    const keys = this.#keys
    const [shapes, taken, last] = await this.#redis.musterFeed(
      ...[keys.pending, keys.ofQueue(QUEUE, 'wait'), keys.feed, keys.weights],
      ...[keys.turns(0), keys.turns(1), keys.turns(2)],
      ...[keys.tag, this.#clock(), window],
    )
    this.#window = last
    const definitions = shapes.map(shapeDefinition)
    const due: Due[] = []
    for (let i = 0; i < taken.length; i += 2) {
      due.push({ run: String(taken[i]), activation: 1, definition: definitions[Number(taken[i + 1]) - 1] ?? '' })
    }
    return due
  }

  /**
   * The second half: adds the jobs, of up to `share` runs of one definition each, and gives how many. The id of a run's
   * own job is made of run and activation, so a repeat adds nothing. A shared job's tells how many more runs it has; when
   * a repeat adds one of them by itself, the job that comes second finds it held for the first.
   */
  async enqueue(due: readonly Due[], share = 1): Promise<number> {
    if (due.length === 0) return 0
    const jobs: { first: Due; runs: string[] }[] = []
    const open = new Map<string, string[]>()
    for (const one of due) {
      let runs = open.get(one.definition)
      if (!runs || runs.length >= share) {
        runs = []
        open.set(one.definition, runs)
        jobs.push({ first: one, runs })
      }
      runs.push(one.run)
    }
    await this.#queue.addBulk(
      jobs.map(({ first: { run, activation, definition }, runs }) => ({
        name: 'run',
        data: { runs, definition },
        opts: {
          jobId: `${run}-${activation}${runs.length > 1 ? `+${runs.length - 1}` : ''}`,
          removeOnComplete: true,
          // An activation is tried again until the run has ended or parked; the run's own limits end a run.
          attempts: Number.MAX_SAFE_INTEGER,
          backoff: { type: 'fixed', delay: 1000 },
        },
      })),
    )
    await this.#redis.zrem(this.#keys.pending, ...due.map(({ run }) => run))
    return jobs.length
  }

  /** Enqueues the activations that are recorded for runs. */
  async wake(runs: readonly string[]): Promise<void> {
    if (runs.length === 0) return
    const keys = this.#keys
    // In this order: a run that is taken up in between is found by the second.
    const queued = peek(this.#redis, keys, runs)
    const held = Promise.all(runs.map((run) => this.#redis.hmget(keys.run(run), 'activation', 'meta')))
    const [firsts, hashes] = await Promise.all([queued, held])
    const due: Due[] = []
    const gone: string[] = []
    for (const [i, run] of runs.entries()) {
      const [activation, meta] = hashes[i] ?? []
      const bytes = meta ?? firsts[i]?.[1]
      if (bytes)
        due.push({ run, activation: Number(activation ?? 1), definition: pinOf(parseCreated(bytes).definition) })
      else gone.push(run)
    }
    await this.enqueue(due)
    if (gone.length > 0) await this.#redis.zrem(keys.pending, ...gone)
  }

  /** Enqueues activations that were recorded before `olderThanMs` and whose enqueuer died. Gives how many. */
  async sweep(olderThanMs: number): Promise<number> {
    const until = this.#clock() - olderThanMs
    const runs = await this.#redis.zrangebyscore(this.#keys.pending, '-inf', until, 'LIMIT', 0, 1000)
    await this.wake(runs)
    return runs.length
  }
}

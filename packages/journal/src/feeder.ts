import type { Queue } from 'bullmq'
import type { JournalRedis } from './commands.ts'
import { definitionOf, shapeDefinition } from './first-entry.ts'
import type { Keys } from './keys.ts'
import { parseCreated, peek } from './run-record.ts'

/** BullMQ queue of activations: one job is one activation of one run. */
export const QUEUE = 'activations'

/** Data of a job: kept small, since every run has one. */
export interface Activation {
  run: string
  /** `name@version` of what it executes. */
  definition: string
}

type Due = Activation & { activation: number }

/** Brings runs from the backlog to BullMQ, a window at a time, and repairs what a feeder that died left. */
export class Feeder {
  readonly #redis: JournalRedis
  readonly #keys: Keys
  readonly #queue: Queue<Activation>
  readonly #clock: () => number
  #feeding: Promise<number> | undefined
  #again = false

  constructor(redis: JournalRedis, keys: Keys, queue: Queue<Activation>, clock: () => number) {
    this.#redis = redis
    this.#keys = keys
    this.#queue = queue
    this.#clock = clock
  }

  /**
   * Fills BullMQ's waiting list up to `window` jobs, in fair order; 0 stands for the window that a worker
   * told last. One call is under way at a time: one that comes meanwhile makes it run once more. Gives how
   * many runs were fed.
   */
  feed(window: number): Promise<number> {
    this.#again = true
    this.#feeding ??= this.#feed(window).finally(() => {
      this.#feeding = undefined
    })
    return this.#feeding
  }

  async #feed(window: number): Promise<number> {
    let fed = 0
    while (this.#again) {
      this.#again = false
      const runs = await this.take(window)
      await this.enqueue(runs)
      fed += runs.length
    }
    return fed
  }

  /** The first half of feeding: moves runs out of the backlog into `pending`. */
  async take(window: number): Promise<Due[]> {
    const keys = this.#keys
    const [shapes, taken] = await this.#redis.musterFeed(
      ...[keys.pending, keys.waiting(QUEUE), keys.feed, keys.weights, keys.turns(0), keys.turns(1), keys.turns(2)],
      ...[keys.tag, this.#clock(), window],
    )
    const definitions = shapes.map(shapeDefinition)
    const due: Due[] = []
    for (let i = 0; i < taken.length; i += 2) {
      due.push({ run: String(taken[i]), activation: 1, definition: definitions[Number(taken[i + 1]) - 1] ?? '' })
    }
    return due
  }

  /** The second half: adds the jobs. Their ids are made of run and activation, so a repeat adds nothing. */
  async enqueue(due: readonly Due[]): Promise<void> {
    if (due.length === 0) return
    await this.#queue.addBulk(
      due.map(({ run, activation, definition }) => ({
        name: 'run',
        data: { run, definition },
        opts: {
          jobId: `${run}-${activation}`,
          removeOnComplete: true,
          // An activation is tried again until the run has ended or parked; the run's own limits end a run.
          attempts: Number.MAX_SAFE_INTEGER,
          backoff: { type: 'fixed', delay: 1000 },
        },
      })),
    )
    await this.#redis.zrem(this.#keys.pending, ...due.map(({ run }) => run))
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
        due.push({ run, activation: Number(activation ?? 1), definition: definitionOf(parseCreated(bytes).definition) })
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

import type { ModelDelta } from '@muster/protocol'
import type { Journal } from './journal.ts'

/** Batches of deltas that are kept of one run, and for how long after the last, ms. */
const BATCHES_MAX = 1000
const KEPT_MS = 600_000
/** Who listens says so again within this time, ms. */
const LISTENS_MS = 20_000
const SAY_AGAIN_MS = 5000
/** How often a listener looks for more, ms. */
const POLL_MS = 100

/** A batch with its place in the run's live stream. */
export interface LiveDelta extends ModelDelta {
  id: string
}

/**
 * What models are writing, for who wants to watch: a capped stream beside the journal, which promises nothing. Nothing is
 * written to it unless somebody listens.
 */
export class Live {
  readonly #journal: Journal

  constructor(journal: Journal) {
    this.#journal = journal
  }

  /** Whether somebody listens to the run. */
  async isHeard(run: string): Promise<boolean> {
    const { keys, redis } = this.#journal.of(run)
    return (await redis.exists(keys.listens(run))) === 1
  }

  async publish(run: string, { step, attempt, text }: ModelDelta): Promise<void> {
    const { keys, redis } = this.#journal.of(run)
    const key = keys.live(run)
    await redis
      .multi()
      .xadd(key, 'MAXLEN', '~', BATCHES_MAX, '*', 'step', step, 'attempt', attempt, 'text', text)
      .pexpire(key, KEPT_MS)
      .exec()
  }

  /** Batches after the one with this id, as they come, until the signal aborts. */
  async *listen(run: string, after: string, signal: AbortSignal): AsyncGenerator<LiveDelta> {
    const { keys, redis } = this.#journal.of(run)
    let said = Number.NEGATIVE_INFINITY
    for (let last = after; !signal.aborted; ) {
      if (performance.now() - said > SAY_AGAIN_MS) {
        said = performance.now()
        await redis.set(keys.listens(run), '', 'PX', LISTENS_MS)
      }
      const records = await redis.xrange(keys.live(run), `(${last}`, '+', 'COUNT', 100)
      for (const [id, [, step = '', , attempt = '', , text = '']] of records) {
        yield { id, step, attempt: Number(attempt), text }
        last = id
      }
      if (records.length === 0) await pause(POLL_MS, signal)
    }
  }
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer)
      signal.removeEventListener('abort', done)
      resolve()
    }
    const timer = setTimeout(done, ms)
    signal.addEventListener('abort', done)
  })
}

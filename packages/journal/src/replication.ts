import { MusterError } from '@muster/protocol'
import type { JournalRedis } from './commands.ts'
import type { Keys } from './keys.ts'
import { SharedCalls } from './shared-calls.ts'

/** How many replicas must have a write before it counts as durable, and how long they have for it. */
export interface ReplicationOptions {
  /** 0: Redis's own disk decides. */
  replicas: number
  timeoutMs: number
}

/**
 * Holds back what was written until enough replicas have it.
 *
 * A mark is written behind it on the same connection, and WAIT follows the mark. Only a write of its own makes WAIT
 * look at all that came before: since Redis 7.2 it heeds the connection's own writes alone, and who repeats a request
 * under its idempotency key writes nothing. It comes after the answer and not along with the write, because a script
 * that the server had forgotten is sent again, and would then stand behind WAIT. Requests of one moment share a mark.
 */
export class Replication {
  readonly replicas: number
  readonly #marks: SharedCalls<number, boolean>
  /** Grows when the connection is lost: what comes after it may be another server, which has not what the first had. */
  #connection = 0

  constructor(redis: JournalRedis, keys: Keys, { replicas, timeoutMs }: ReplicationOptions) {
    this.replicas = replicas
    this.#marks = new SharedCalls(
      async (connections) => {
        const reached = await mark(redis, keys.mark, { replicas, timeoutMs })
        return connections.map((connection) => reached >= replicas && connection === this.#connection)
      },
      { sizeMax: Number.POSITIVE_INFINITY, inFlightMax: 1 },
    )
    // A node of a Cluster, or the server.
    for (const event of ['close', '-node']) redis.on(event, () => this.#connection++)
  }

  /**
   * Gives the answer when all that was written until it came is on enough replicas.
   *
   * @throws MusterError `journal.not_replicated`: it is written, and may yet be lost
   */
  async after<T>(answer: Promise<T>): Promise<T> {
    const value = await answer
    if (this.replicas === 0 || (await this.#marks.add(this.#connection))) return value
    throw new MusterError('journal.not_replicated', `Fewer than ${this.replicas} replicas have what was written`)
  }
}

/** Writes a mark and gives how many replicas have it in time. */
async function mark(redis: JournalRedis, key: string, { replicas, timeoutMs }: ReplicationOptions): Promise<number> {
  const [set, wait] = (await redis.pipeline().set(key, '').wait(replicas, timeoutMs).exec()) ?? []
  const error = set?.[0] ?? wait?.[0]
  if (error) throw error
  return Number(wait?.[1] ?? 0)
}

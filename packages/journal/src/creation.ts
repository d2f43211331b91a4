import { contentDigest, saltContent } from '@muster/audit'
import { isId, type Json, MusterError, timeOf } from '@muster/protocol'
import type { JournalRedis } from './commands.ts'
import { firstEntry, type NewRun, queuedRecord, shapeDigest, shortDigest } from './first-entry.ts'
import type { Keys, PriorityClass } from './keys.ts'
import { CONTENT_INLINE_MAX, OFFLOADED, type Offload } from './offload.ts'
import type { Replication } from './replication.ts'
import { SharedCalls } from './shared-calls.ts'

/** How long an idempotency key is remembered, in seconds: a week. */
export const IDEMPOTENCY_TTL_S = 7 * 24 * 3600

const CLASSES = { high: 0, normal: 1, low: 2 } as const

function classOf(run: Pick<NewRun, 'priority'>): PriorityClass {
  return CLASSES[run.priority ?? 'normal']
}

export interface CreateOptions {
  idempotencyKey?: string | undefined
  offload: Offload
}

export interface Created {
  id: string
  /** False when the run was there before. */
  created: boolean
}

interface Prepared {
  run: NewRun
  shape: string
  record: Buffer
  /** Of the idempotency key and of the request that came with it; '' where there is no key. */
  keyDigest: string
  requestHash: string
}

type Reply = [result: number, id?: string, requestHash?: string]

/** That an idempotency key is another request's. */
export function keyTaken(): MusterError {
  return new MusterError('idempotency.conflict', 'This idempotency key came before with another request')
}

/** Writes new runs into the backlog; those of one tick share calls of up to 100 runs. */
export class Creation {
  readonly #redis: JournalRedis
  readonly #keys: Keys
  readonly #clock: () => number
  readonly #replication: Replication
  readonly #calls: SharedCalls<Prepared, Reply>
  readonly #onCreated: () => void

  /** `onCreated` is called once for all runs of a call. */
  constructor(redis: JournalRedis, keys: Keys, replication: Replication, clock: () => number, onCreated: () => void) {
    this.#redis = redis
    this.#keys = keys
    this.#replication = replication
    this.#clock = clock
    this.#onCreated = onCreated
    this.#calls = new SharedCalls((runs) => this.#write(runs), { sizeMax: 100, inFlightMax: 8 })
  }

  /** @throws MusterError `idempotency.conflict` when the key came with another request, `journal.not_replicated` */
  async create(run: NewRun, content: Json, { idempotencyKey, offload }: CreateOptions): Promise<Created> {
    if (!isId(run.run)) throw new MusterError('internal', `"${run.run}" is not an id of a run`)
    const at = this.#clock()
    const salted = saltContent(JSON.stringify(content))
    const digest = contentDigest(salted)
    const entry = firstEntry(run, at, digest)
    const large = salted.length > CONTENT_INLINE_MAX
    if (large) await offload(run, digest, salted)
    const requestHash =
      idempotencyKey === undefined
        ? ''
        : // Of what an earlier Muster knew, it made the same.
          shortDigest(
            JSON.stringify([run.definition.name, run.session, content, ...(run.subject ? [run.subject] : [])]),
          )
    const [result, existing, usedFor] = await this.#calls.add({
      run,
      shape: entry.shape,
      record: queuedRecord(entry, { at, digest, content: large ? OFFLOADED : salted }),
      keyDigest: idempotencyKey === undefined ? '' : shortDigest(idempotencyKey),
      requestHash,
    })
    if (result !== 0) return { id: run.run, created: result === 1 }
    if (usedFor !== requestHash) throw keyTaken()
    return { id: existing ?? '', created: false }
  }

  async #write(runs: readonly Prepared[]): Promise<Reply[]> {
    const keys = this.#keys
    const shapes = new Map<string, number>()
    for (const { shape } of runs) if (!shapes.has(shape)) shapes.set(shape, shapes.size + 1)
    const names = [keys.feed, keys.turns(0), keys.turns(1), keys.turns(2)]
    const args: (string | number | Buffer)[] = [shapes.size, IDEMPOTENCY_TTL_S, ...shapes.keys()]
    for (const shape of shapes.keys()) names.push(keys.shape(shapeDigest(shape)))
    for (const { run, shape, record, keyDigest, requestHash } of runs) {
      const { run: id, tenant } = run
      const priority = classOf(run)
      names.push(keys.queued(id), keys.run(id), keys.backlog(priority, tenant))
      names.push(keys.idempotency(tenant, keyDigest))
      args.push(id, timeOf(id), priority, tenant, shapes.get(shape) ?? 0, record, requestHash)
    }
    const replies = await this.#replication.after(this.#redis.musterCreate(names.length, ...names, ...args))
    if (replies.some(([result]) => result === 1)) this.#onCreated()
    return replies
  }
}

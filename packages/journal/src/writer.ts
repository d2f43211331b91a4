import { contentDigest, link, saltContent } from '@muster/audit'
import {
  type EntryVersion,
  type Json,
  MusterError,
  partitionOf,
  type RunStatus,
  timeOf,
  type WebhookPayload,
} from '@muster/protocol'
import type { JournalRedis } from './commands.ts'
import type { FirstRecord } from './hold.ts'
import { askingMember, type Keys } from './keys.ts'
import { CONTENT_INLINE_MAX, OFFLOADED, type Offload } from './offload.ts'
import { SAME } from './record.ts'
import type { Replication } from './replication.ts'
import { ShortLived } from './short-lived.ts'
import { whenTickEnds } from './tick.ts'

/** What is told to the parent of a child run when it ends or parks. */
export interface ParentNotice {
  run: string
  message: string
}

/**
 * How a run's hold on its journal ended: another epoch holds it; what is stored is not what this
 * writer continues; it is gone; it was about to park and a message had come; or it is written, but not on
 * enough replicas.
 */
export type LostReason = 'fenced' | 'gap' | 'missing' | 'mail' | 'unreplicated'

/** What ends an activation: its run has ended, or waits for what comes from outside. */
export interface Closing {
  op: 'park' | 'end'
  status: RunStatus
  summary: Json
  parent?: ParentNotice | undefined
  /** When a parked run is to be taken up again though nobody told it anything, ms since the epoch. */
  wakeAt?: number | undefined
  /** For the tenant's webhooks, where it has any. */
  event?: WebhookPayload | undefined
}

/** The same as it is sent. */
interface Close {
  op: 'park' | 'end'
  status: RunStatus
  summary: string
  parent: ParentNotice | undefined
  wakeAt: number | undefined
  /** JSON; '' for none. */
  event: string
}

/**
 * One activation's pen: gives entries their place and hash at once, and appends them with the next
 * group commit. Holds what is not yet durable, and who waits for that.
 */
export class RunWriter {
  readonly run: string
  readonly tenant: string
  readonly subject: string | undefined
  readonly epoch: number
  /** Place and hash of the last entry written, durable or not. */
  seq: number
  head: string
  durable: number
  /** Digest of the content of the last entry written. */
  digest: string | undefined
  /** The last content in the next batch, as JSON, and its digest. */
  said: { json: string; digest: string } | undefined
  lost: LostReason | undefined

  /** It is new, and nobody waits for its first batch yet: called when somebody does. */
  onAwaited: (() => void) | undefined
  // What the next batch takes; of a run that it creates, what comes after place 0.
  sent: number
  entries = ''
  contents = ''
  /** Characters in the two. */
  unsent = 0
  taken = 0
  /** Whether people are asked something from the next batch on, where that changes. */
  asks: '' | '+' | '-' = ''
  close: Close | undefined
  /** Contents on their way to the blob store: the run's entries wait for them. */
  offloading = 0
  dirty = false
  readonly onMail: () => void
  readonly onLost: (reason: LostReason) => void
  #waiting: [seq: number, then: () => void][] = []

  constructor(
    hold: { run: string; tenant: string; subject?: string | undefined; epoch: number; seq: number; head: string },
    on: { mail: () => void; lost: (reason: LostReason) => void },
  ) {
    this.run = hold.run
    this.tenant = hold.tenant
    this.subject = hold.subject
    this.epoch = hold.epoch
    this.seq = hold.seq
    this.sent = hold.seq
    this.durable = hold.seq
    this.head = hold.head
    this.onMail = on.mail
    this.onLost = on.lost
  }

  /** Calls `then` once entry `seq` is durable: at once where it is already, never when the run is lost. */
  whenDurable(seq: number, then: () => void): void {
    if (this.durable >= seq) {
      then()
      return
    }
    this.#waiting.push([seq, then])
    this.onAwaited?.()
  }

  committed(seq: number): void {
    // A later batch may be safe; the run is another's by now all the same.
    if (this.lost) return
    this.durable = seq
    const waiting = this.#waiting
    const later = waiting.findIndex(([wanted]) => wanted > seq)
    const due = later < 0 ? waiting.length : later
    if (due === 0) return
    // Before they are called: they may wait for what comes next.
    this.#waiting = later < 0 ? [] : waiting.slice(due)
    for (let i = 0; i < due; i++) waiting[i]?.[1]()
  }

  drop(reason: LostReason): void {
    if (this.lost) return
    this.lost = reason
    this.#waiting = []
    this.onLost(reason)
  }
}

/** Where the journals of some runs are. */
interface Target {
  redis: JournalRedis
  keys: Keys
  replication: Replication
}

export interface WriterOptions {
  /** The partitions, of which a run's id tells which it is in. */
  partitions: readonly Target[]
  clock: () => number
  offload: Offload
  /** A parked parent was made ready: its activation is to be enqueued. */
  onWake: (run: string) => void
  /** A message was left for a parent that some worker holds. */
  onParentMail: (run: string) => void
  onError: (error: Error) => void
  /** Heads of runs that end or park are left for the ledger; somebody must take them there. */
  ledger?: boolean | undefined
  /** Who holds the runs that are created here. */
  holder?: string | undefined
  /** Characters that may wait for Redis before `full` says so: a slow disk must not fill the memory. 32 million unless given. */
  unwrittenMax?: number
  /** It was full and is not any more. */
  onDrain: () => void
}

/** Batches under way at once; entries that come meanwhile gather into the next, larger batch. */
const IN_FLIGHT_MAX = 4
const UNWRITTEN_MAX = 32 * 1024 * 1024
/**
 * Where few runs write in a tick, each takes long in it: half of them, and so many at least, are written down while the
 * others are worked on. Where many do, a batch for all costs less.
 */
const EARLY_MIN = 12
const FEW = 32
/** A new run is written when something waits for that, so that all it begins with goes at once; after so long anyway, ms. */
const REST_MS = 50

/**
 * Group commit: all entries that all runs of the worker wrote in one tick go to Redis in one Lua call per partition, or in
 * two where few wrote.
 * Batches of one connection are executed in order, so a run's entries are too; when one is refused,
 * every later one of the run is refused as well, by its place.
 */
export class Writer {
  readonly #options: WriterOptions
  #dirty: RunWriter[] = []
  #scheduled = false
  /** Runs that had something to write in this tick, and how many make a batch before it ends. */
  #marked = 0
  #early = EARLY_MIN
  #inFlight = 0
  readonly #unwrittenMax: number
  #unwritten = 0
  #full = false
  /** New runs for which nobody waits yet. */
  readonly #resting = new ShortLived<RunWriter, true>()
  #rested: NodeJS.Timeout | undefined

  constructor(options: WriterOptions) {
    this.#options = options
    this.#unwrittenMax = options.unwrittenMax ?? UNWRITTEN_MAX
  }

  /**
   * Adds an entry to a run's journal; gives its place. Durable later: see `RunWriter.whenDurable`.
   *
   * @param fields the entry's fields but `v`, `seq` and `content`, as JSON without the braces
   * @param content the content that lies beside it, as JSON
   * @param v the oldest version of the format that knows what it says
   */
  append(to: RunWriter, fields: string, content?: string, v: EntryVersion = 1): number {
    if (content === undefined) return this.#append(to, fields, undefined, '', v)
    // A run mostly ends with what its last step gave, in the same batch: that is salted, hashed and stored once.
    if (to.said?.json === content) return this.#append(to, fields, to.said.digest, SAME, v)
    const seq = this.appendSalted(to, fields, saltContent(content), v)
    to.said = to.digest === undefined ? undefined : { json: content, digest: to.digest }
    return seq
  }

  /** The same, with content that has its salt already; '' for none. */
  appendSalted(to: RunWriter, fields: string, salted: string, v: EntryVersion = 1): number {
    if (salted === '') return this.#append(to, fields, undefined, '', v)
    to.said = undefined
    const digest = contentDigest(salted)
    let kept = salted
    if (salted.length > CONTENT_INLINE_MAX) {
      this.#offload(to, digest, salted)
      kept = OFFLOADED
    }
    return this.#append(to, fields, digest, kept, v)
  }

  #append(to: RunWriter, fields: string, digest: string | undefined, kept: string, v: EntryVersion): number {
    const seq = to.seq + 1
    const head = `{"v":${v},"seq":${seq},${fields}`
    const bytes = digest === undefined ? `${head}}` : `${head},"content":"${digest}"}`
    const hash = link(to.head, bytes)
    to.head = hash
    to.seq = seq
    to.digest = digest
    this.#add(to, hash, bytes, kept)
    this.#mark(to)
    return seq
  }

  /** The run is new: its next batch creates it. */
  create(to: RunWriter, { hash, bytes, digest, salted }: FirstRecord): void {
    let kept = salted
    if (salted.length > CONTENT_INLINE_MAX) {
      this.#offload(to, digest, salted)
      kept = OFFLOADED
    }
    to.sent = 0
    this.#add(to, hash, bytes, kept)
    this.#resting.set(to, true)
    to.onAwaited = () => this.#wake(to)
    this.#rested ??= setTimeout(() => this.#wakeAll(), REST_MS)
  }

  #add(to: RunWriter, hash: string, bytes: string, content: string): void {
    const separator = to.entries === '' ? '' : '\n'
    to.entries += `${separator}${hash} ${bytes}`
    to.contents += separator + content
    const size = bytes.length + content.length
    to.unsent += size
    this.#unwritten += size
    if (this.#unwritten > this.#unwrittenMax) this.#full = true
  }

  #wake(to: RunWriter): void {
    to.onAwaited = undefined
    this.#resting.delete(to)
    this.#mark(to)
  }

  #wakeAll(): void {
    clearTimeout(this.#rested)
    this.#rested = undefined
    for (const run of this.#resting.keys()) this.#wake(run)
  }

  /** So much waits for Redis that nothing should be added which can wait; `onDrain` tells when it can. */
  get full(): boolean {
    return this.#full
  }

  /** Says that the next batch also removes the first `count` messages of the run's inbox. */
  take(to: RunWriter, count: number): void {
    to.taken += count
  }

  /** Says that people are asked something from the next batch on, or nothing any more. */
  ask(to: RunWriter, asks: boolean): void {
    to.asks = asks ? '+' : '-'
  }

  /** The next batch ends or parks the run. A park is refused, with everything in the batch, when the inbox holds more. */
  close(to: RunWriter, close: Closing): void {
    const { op, status, parent, wakeAt, event } = close
    const summary = JSON.stringify(close.summary)
    to.close = { op, status, summary, parent, wakeAt, event: event ? JSON.stringify(event) : '' }
    this.#mark(to)
  }

  /** Resolves when nothing is on its way or waits to be sent. */
  async idle(): Promise<void> {
    this.#wakeAll()
    while (this.#inFlight > 0 || this.#dirty.length > 0) await new Promise((resolve) => setTimeout(resolve, 5))
  }

  #mark(to: RunWriter): void {
    if (to.onAwaited) return
    if (!to.dirty) {
      to.dirty = true
      this.#dirty.push(to)
      this.#marked++
      // Once what is at hand is written.
      if (this.#dirty.length === this.#early) queueMicrotask(this.#gather)
    }
    if (!this.#scheduled) {
      this.#scheduled = true
      whenTickEnds(this.#flush)
    }
  }

  #offload(to: RunWriter, digest: string, salted: string): void {
    to.offloading++
    this.#options.offload(to, digest, salted).then(
      () => {
        to.offloading--
        this.#mark(to)
      },
      (error: Error) => {
        this.#options.onError(error)
        to.drop('gap')
        this.#again()
      },
    )
  }

  readonly #flush = (): void => {
    this.#scheduled = false
    this.#early = this.#marked > FEW ? Number.POSITIVE_INFINITY : Math.max(this.#marked >> 1, EARLY_MIN)
    this.#marked = 0
    this.#gather()
  }

  readonly #gather = (): void => {
    if (this.#inFlight >= IN_FLIGHT_MAX) return
    const batch: RunWriter[] = []
    const blocked: RunWriter[] = []
    for (const run of this.#dirty) {
      if (run.lost) {
        run.dirty = false
        this.#written(run.unsent)
        run.unsent = 0
      } else if (run.offloading > 0) blocked.push(run)
      else if (run.entries !== '') {
        run.dirty = false
        batch.push(run)
      } else run.dirty = false
    }
    this.#dirty = blocked
    if (batch.length === 0) return
    const { partitions } = this.#options
    for (const [i, target] of partitions.entries()) {
      const part =
        partitions.length === 1 ? batch : batch.filter(({ run }) => partitionOf(run, partitions.length) === i)
      if (part.length > 0) this.#send(part, target)
    }
  }

  #send(batch: RunWriter[], target: Target): void {
    const { keys, redis, replication } = target
    const { clock, ledger = false, holder = '' } = this.#options
    const names: string[] = [keys.pending, keys.ended, keys.wake, keys.hooked, keys.events, keys.asking]
    const args: (string | number)[] = [clock(), ledger ? keys.tag : '']
    const ends: number[] = []
    let size = 0
    for (const run of batch) {
      const { close } = run
      const parent = close?.parent
      names.push(keys.run(run.run), keys.log(run.run), keys.inbox(run.run))
      const asks = run.asks === '' ? '' : run.asks + askingMember(run.tenant, run.run)
      args.push(run.epoch, run.sent, run.seq, run.head, run.entries, run.contents, run.taken, asks, close?.op ?? '')
      if (run.sent === 0) {
        names.push(keys.index(run.tenant), keys.holding(holder))
        args.push(run.run, timeOf(run.run))
      }
      if (close) {
        args.push(run.run, close.status, close.summary, close.wakeAt ?? '', parent?.run ?? '', run.tenant, close.event)
      }
      if (parent) {
        names.push(keys.run(parent.run), keys.inbox(parent.run))
        args.push(parent.message)
      }
      ends.push(run.seq)
      size += run.unsent
      run.unsent = 0
      run.sent = run.seq
      run.entries = ''
      run.contents = ''
      run.said = undefined
      run.taken = 0
      run.asks = ''
    }
    this.#inFlight++
    replication.after(redis.musterAppend(names.length, ...names, ...args)).then(
      (reply) => {
        this.#inFlight--
        this.#written(size)
        this.#settle(batch, ends, reply)
        this.#again()
      },
      (error: Error) => {
        // Whether the batch was written is unknown: every run of it starts anew from what is stored.
        this.#inFlight--
        this.#written(size)
        this.#options.onError(error)
        const reason = error instanceof MusterError && error.code === 'journal.not_replicated' ? 'unreplicated' : 'gap'
        for (const run of batch) run.drop(reason)
        this.#again()
      },
    )
  }

  #written(size: number): void {
    this.#unwritten -= size
    // Half, so that it does not stutter at the edge.
    if (!this.#full || this.#unwritten > this.#unwrittenMax / 2) return
    this.#full = false
    this.#options.onDrain()
  }

  #again(): void {
    if (this.#dirty.length > 0 && !this.#scheduled) {
      this.#scheduled = true
      whenTickEnds(this.#flush)
    }
  }

  #settle(batch: RunWriter[], ends: number[], reply: number[]): void {
    for (const [i, run] of batch.entries()) {
      const result = reply[2 * i] ?? 0
      const wake = reply[2 * i + 1] ?? 0
      const parent = run.close?.parent?.run
      if (parent !== undefined && wake > 0) this.#options.onWake(parent)
      if (parent !== undefined && wake < 0) this.#options.onParentMail(parent)
      if (result === 1 || result === 2) {
        run.committed(ends[i] ?? 0)
        if (result === 2 && !run.close) run.onMail()
      } else {
        run.drop(result === -1 ? 'fenced' : result === -3 ? 'missing' : result === 3 ? 'mail' : 'gap')
      }
    }
  }
}

/** The error that a lost run's activation ends with. */
export function lostError(run: string, reason: LostReason): MusterError {
  if (reason === 'unreplicated')
    return new MusterError('journal.not_replicated', `run ${run} was let go: too few replicas have its last entries`)
  return new MusterError('journal.fenced', `run ${run} is no longer held here (${reason})`)
}

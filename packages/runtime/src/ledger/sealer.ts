import {
  base64,
  checkpointText,
  decodeEntries,
  emptyRoot,
  encodeEntries,
  formatNote,
  keyNames,
  parseCheckpoint,
  parseNote,
  type Signer,
  signNote,
  TileLog,
  type Tree,
} from '@muster/audit'
import type { Head, Heads } from '@muster/journal'
import type { LedgerState, LedgerStore, Ledgers } from '@muster/memory'
import { MusterError } from '@muster/protocol'
import type { Logger } from 'pino'
import { byWorker, type RecordBook } from '../archive/record-book.ts'
import { originOf } from './origin.ts'

/** Leaves that are decided at once: they fit into one item of the store. */
const BATCH_MAX = 4000
/** Of a store that does not answer, others are to know soon. */
const LEASE_MS = 10_000
/** Tenants whose ledgers are written at once. */
const TENANTS_MAX = 8
/** After so many batches of one it is the turn of others. */
const ROUNDS_MAX = 4
/** Heads wait so long where there is time. */
const WAIT_MS = 1000
/** And so long where sealing takes long: it has most of its cost for each time, not for each head. */
const WAIT_MS_MAX = 5000
/** It rests so many times as long as it worked. */
const REST = 40
/** Tenants whose states are remembered. */
const KNOWN_MAX = 256

export interface SealerOptions {
  heads: Heads
  ledgers: Ledgers
  /** Tenants' record books: their heads are sealed as well, and they say by which keys. */
  book: RecordBook
  /** All of them sign. */
  signers: readonly Signer[]
  /** What the ledgers' names begin with. */
  origin: string
  worker: string
  log: Logger
  clock: () => number
  /** How long heads wait at most until they are sealed, ms; 5000 unless given. */
  waitMsMax?: number | undefined
  /** They are told before a checkpoint is stored, and again when it is. */
  witnesses?: { expect(tenant: string, size: number): Promise<void>; show(tenant: string): void } | undefined
}

/** Nothing is left to be done of what was taken; or something is; or a whole batch was taken, and there may be another. */
type Sealed = 'done' | 'more' | 'full'

interface Known {
  version: number
  state: LedgerState
  log: TileLog
}

const EMPTY: LedgerState = {
  size: 0,
  root: Buffer.from(emptyRoot).toString('base64'),
  pending: Buffer.of(),
  cursors: {},
  checkpoint: '',
  keys: [],
}

/**
 * Brings heads of runs into the ledgers of their tenants. First it is decided, in one conditional write, which leaves come
 * next and up to where heads were taken; then they are written into the tiles; the next such write says that they are
 * there. Who finds leaves that are decided writes them, the same bytes as anyone else. So it may die anywhere, and two that
 * take themselves for the only one do no harm: no leaf is lost, doubled or changed.
 */
export class Sealer {
  readonly #options: SealerOptions
  readonly #signedAt = new Map<string, number>()
  /**
   * States that were written here last, and logs that have the right edge of their trees: they need not be read. Where
   * another has written since, what we write is refused.
   */
  readonly #known = new Map<string, Known>()
  #timer: NodeJS.Timeout | undefined
  #tick: Promise<void> | undefined
  #closing = false

  constructor(options: SealerOptions) {
    this.#options = options
  }

  start(): void {
    this.#sealAfter(this.#waitMs(0))
  }

  #sealAfter(ms: number): void {
    this.#timer = setTimeout(() => {
      const began = performance.now()
      this.#tick = this.#sealAll().then((isBehind) => {
        if (!this.#closing) this.#sealAfter(isBehind ? 0 : this.#waitMs(performance.now() - began))
      })
    }, ms)
  }

  #waitMs(workedMs: number): number {
    const { waitMsMax = WAIT_MS_MAX } = this.#options
    return Math.min(Math.max(WAIT_MS, REST * workedMs), waitMsMax)
  }

  /** Ends after what is under way. */
  async close(): Promise<void> {
    this.#closing = true
    clearTimeout(this.#timer)
    await this.#tick
  }

  /** Gives whether there was more than it could do at once. */
  async #sealAll(): Promise<boolean> {
    const { heads, log } = this.#options
    let isBehind = false
    try {
      // What was recorded with a run, such as a key of its content, goes with its head.
      await this.#options.book.sendHeads(await heads.tenants())
      const tenants = (await heads.tenants()).values()
      // They share the iterator.
      const lane = async () => {
        for (const tenant of tenants) isBehind = (await this.#sealOne(tenant)) === 'full' || isBehind
      }
      await Promise.all(Array.from({ length: TENANTS_MAX }, lane))
    } catch (error) {
      if (!this.#closing) log.warn({ err: error }, 'ledger: heads not read; it is tried again')
    }
    return isBehind
  }

  async #sealOne(tenant: string): Promise<Sealed | undefined> {
    const { heads, worker, log } = this.#options
    if (this.#closing) return undefined
    // What comes meanwhile waits for the next time, unless it is a batch by itself: small ones cost as much.
    let sealed: Sealed = 'full'
    try {
      for (let round = 0; round < ROUNDS_MAX && !this.#closing && sealed !== 'done'; round++) {
        if (!(await heads.hold(tenant, worker, LEASE_MS))) return undefined
        sealed = await this.seal(tenant, { take: sealed === 'full' })
      }
      await heads.hold(tenant, worker, 0)
      return sealed
    } catch (error) {
      // What is damaged does not get better: somebody must see it.
      const level = error instanceof MusterError && error.code === 'ledger.corrupt' ? 'error' : 'warn'
      log[level]({ tenant, err: error }, 'ledger not written; it is tried again')
      return undefined
    } finally {
      // It may hold a whole batch.
      if (sealed !== 'done') this.#known.delete(tenant)
    }
  }

  /** Takes a tenant's ledger one step on; unless `take` is false, with heads that wait. */
  async seal(tenant: string, { take = true } = {}): Promise<Sealed> {
    const { heads, ledgers } = this.#options
    const store = ledgers(tenant)
    const known = this.#known.get(tenant)
    const { version, state = EMPTY } = known ?? (await store.state())
    const log = known?.log ?? new TileLog(store)
    this.#known.delete(tenant)
    // Redis looks for the next ones while these are hashed.
    const [taken, tree] = await Promise.all([
      take ? this.#take(tenant, state.cursors) : { count: 0, leaves: Buffer.of(), cursors: state.cursors },
      append(store, log, state),
    ])
    const idle = taken.count === 0
    const changed = state.pending.length > 0 || !idle
    const due = idle || this.#isDue(tenant)
    const stale = tree.size > 0 && tree.size !== sizeOf(state.checkpoint)
    if (!changed && !stale) {
      await heads.forget(tenant, state.cursors, true)
      if (version > 0) this.#remember(tenant, { version, state, log })
      return 'done'
    }
    const signed = stale && due ? await this.#sign(tenant, tree, state.keys) : undefined
    const next: LedgerState = {
      ...state,
      ...signed,
      size: tree.size,
      root: Buffer.from(tree.root).toString('base64'),
      pending: taken.leaves,
      cursors: taken.cursors,
    }
    if (signed) await this.#options.witnesses?.expect(tenant, tree.size)
    // Another was first: what it has decided is to be read.
    if (!(await store.setState(version, next))) return 'more'
    if (signed) this.#published(tenant)
    // What the state before has taken is in the tiles now.
    const over = idle && sizeOf(next.checkpoint) === next.size
    await heads.forget(tenant, state.cursors, over)
    this.#remember(tenant, { version: version + 1, state: next, log })
    if (over) return 'done'
    return taken.count >= BATCH_MAX ? 'full' : 'more'
  }

  /** Heads that wait, as the leaves that they become. */
  async #take(tenant: string, from: LedgerState['cursors']) {
    const { heads, cursors } = await this.#options.heads.take(tenant, from, BATCH_MAX)
    return { count: heads.length, leaves: encodeEntries(heads.map(leafOf)), cursors }
  }

  #remember(tenant: string, known: Known): void {
    this.#known.set(tenant, known)
    const [oldest] = this.#known.keys()
    if (this.#known.size > KNOWN_MAX && oldest !== undefined) this.#known.delete(oldest)
  }

  #isDue(tenant: string): boolean {
    return this.#options.clock() - (this.#signedAt.get(tenant) ?? 0) >= WAIT_MS
  }

  #published(tenant: string): void {
    this.#signedAt.set(tenant, this.#options.clock())
    this.#options.witnesses?.show(tenant)
  }

  async #sign(
    tenant: string,
    { size, root }: Tree,
    before: readonly string[],
  ): Promise<Pick<LedgerState, 'checkpoint' | 'keys'>> {
    const { signers, book, worker, clock } = this.#options
    const origin = originOf(this.#options.origin, tenant)
    const text = checkpointText({ origin, size, root })
    const keys = signers.map(({ publicKey }) => keyNames(origin, publicKey).vkey)
    if (keys.join() !== before.join())
      await book.append(tenant, {
        at: clock(),
        by: byWorker(worker),
        action: 'key.used',
        about: { for: 'ledger', keys },
      })
    const signatures = await Promise.all(signers.map((signer) => signNote(text, origin, signer)))
    return { checkpoint: formatNote({ text, signatures }), keys }
  }
}

/** Writes the leaves that are decided. @throws MusterError `ledger.corrupt` where the tiles are not what they were */
async function append(store: LedgerStore, log: TileLog, { size, root, pending }: LedgerState): Promise<Tree> {
  const before = { size, root: base64(root) ?? emptyRoot }
  if (pending.length === 0) return before
  const leaves = decodeEntries(pending)
  if (!leaves) throw new MusterError('ledger.corrupt', `the leaves that come after ${size} cannot be read`)
  const [tree] = await Promise.all([log.append(before, leaves), store.setPlaces(size, leaves.map(runOf))])
  return tree
}

const BEFORE_RUN = '{"v":1,"run":"'
const QUOTE = 0x22

/** As `ledgerLeaf` has it. None of these has a character that JSON would write otherwise, or one that is not ASCII. */
function leafOf({ run, seq, head, at, state }: Head): Uint8Array {
  const text = `${BEFORE_RUN}${run}","seq":${seq},"head":"${head}","at":${at},"state":"${state}"}`
  return Buffer.from(text, 'latin1')
}

function runOf({ buffer, byteOffset, length }: Uint8Array): string {
  const leaf = Buffer.from(buffer, byteOffset, length)
  return leaf.toString('latin1', BEFORE_RUN.length, leaf.indexOf(QUOTE, BEFORE_RUN.length))
}

function sizeOf(checkpoint: string): number | undefined {
  return parseCheckpoint(parseNote(checkpoint)?.text ?? '')?.size
}

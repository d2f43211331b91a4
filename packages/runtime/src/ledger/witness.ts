import {
  formatNote,
  formatSignature,
  type NoteSignature,
  parseCheckpoint,
  parseNote,
  parseSignatures,
  parseVerifier,
  TileLog,
  type Verifier,
  verifySignatures,
} from '@muster/audit'
import type { Heads } from '@muster/journal'
import type { LedgerState, LedgerStore, Ledgers } from '@muster/memory'
import { MusterError } from '@muster/protocol'
import type { Logger } from 'pino'
import { request } from 'undici'
import { textOf } from './text-of.ts'

/** What is shown to a witness. */
export interface Shown {
  origin: string
  size: number
  /** The signed checkpoint. */
  checkpoint: string
  /** The proof that it begins with the one of so many leaves; base64. */
  proofFrom(size: number): Promise<string[]>
}

/**
 * A place that is not the ledger's own and remembers what it was shown, so that the ledger cannot be written anew unseen.
 * One that cosigns gives its signatures.
 */
export interface Witness {
  name: string
  show(shown: Shown): Promise<NoteSignature[]>
}

const TIMEOUT_MS = 10_000
/** After so long what was not shown is shown again. */
const RETRY_MS = 30_000
/** Another may have shown it a newer one in between. */
const ATTEMPTS = 3

/**
 * A witness as in C2SP tlog-witness: it checks that the ledger only grew, and cosigns.
 *
 * @throws MusterError `config.invalid` where `vkey` is no key that cosigns
 */
export function httpWitness(url: string, vkey: string): Witness {
  const key = parseVerifier(vkey)
  if (key?.type !== 'cosignature/v1')
    throw new MusterError('config.invalid', `MUSTER_LEDGER_WITNESSES: ${vkey} is no key that cosigns`, {
      issues: [{ path: '/MUSTER_LEDGER_WITNESSES', message: 'a vkey of type 0x04 (cosignature/v1)' }],
    })
  const address = `${url.replace(/\/$/, '')}/add-checkpoint`
  /** What it has of each ledger, as it said last. */
  const sizes = new Map<string, number>()
  return {
    name: key.name,
    async show(shown) {
      for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
        const old = sizes.get(shown.origin) ?? 0
        if (old > shown.size)
          throw new MusterError(
            'ledger.corrupt',
            `witness ${key.name} has seen ${old} leaves, and here are ${shown.size}`,
          )
        const lines = [`old ${old}`, ...(await shown.proofFrom(old))]
        const body = `${lines.join('\n')}\n\n${shown.checkpoint}`
        const answer = await request(address, { method: 'POST', body, signal: AbortSignal.timeout(TIMEOUT_MS) })
        const text = await textOf(answer.body, `witness ${key.name}`)
        if (answer.statusCode === 409 && /^\d+\n$/.test(text)) {
          sizes.set(shown.origin, Number(text))
          continue
        }
        if (answer.statusCode !== 200) throw new Error(`witness ${key.name} answers ${answer.statusCode}`)
        sizes.set(shown.origin, shown.size)
        return cosignatures(shown.checkpoint, text, key)
      }
      throw new Error(`witness ${key.name} has seen another checkpoint each time`)
    },
  }
}

/** The signatures of an answer that hold and are of the witness; others say nothing. */
function cosignatures(checkpoint: string, answer: string, key: Verifier): NoteSignature[] {
  const text = parseNote(checkpoint)?.text ?? ''
  const ours = (parseSignatures(answer) ?? []).filter(({ name, keyId }) => name === key.name && keyId === key.keyId)
  const verified = verifySignatures({ text, signatures: ours }, [key])
  if (!verified?.length) throw new Error(`witness ${key.name} gave no cosignature that holds`)
  return ours
}

/** After so long it is looked again whether a witness has answered. */
const SOON_MS = 100
/** A ledger that grows all the time is shown so often, ms. */
const EVERY_MS = 10_000

/** Shows new checkpoints to all witnesses, one at a time of each tenant, and keeps their cosignatures with the checkpoint. */
export class Witnesses {
  readonly #heads: Pick<Heads, 'toWitness' | 'witnessed' | 'unwitnessed'>
  readonly #ledgers: Ledgers
  readonly #witnesses: readonly Witness[]
  readonly #log: Logger
  readonly #everyMs: number
  readonly #underWay = new Map<string, Promise<void>>()
  /** Tenants whose turn comes later. */
  readonly #later = new Map<string, NodeJS.Timeout>()
  readonly #shownAt = new Map<string, number>()
  #closing = false

  #looking: NodeJS.Timeout | undefined

  constructor(options: {
    /** Which checkpoints are still to be shown, whoever has made them. */
    heads: Pick<Heads, 'toWitness' | 'witnessed' | 'unwitnessed'>
    ledgers: Ledgers
    witnesses: readonly Witness[]
    log: Logger
    everyMs?: number
  }) {
    this.#heads = options.heads
    this.#ledgers = options.ledgers
    this.#witnesses = options.witnesses
    this.#log = options.log
    this.#everyMs = options.everyMs ?? EVERY_MS
  }

  /** Shows what others have left, who died or were refused: at once, and now and then. */
  start(): void {
    const look = () => {
      this.#heads.unwitnessed().then(
        (tenants) => {
          for (const tenant of tenants) this.show(tenant)
        },
        (error) => this.#log.warn({ err: error }, 'not known which checkpoints are to be witnessed'),
      )
    }
    look()
    this.#looking = setInterval(look, RETRY_MS)
  }

  /** A tenant's ledger is about to have a checkpoint of so many leaves: nobody forgets to show it. */
  expect(tenant: string, size: number): Promise<void> {
    return this.#heads.toWitness(tenant, size)
  }

  /** The tenant's ledger has a new checkpoint. */
  show(tenant: string): void {
    if (this.#closing || this.#later.has(tenant)) return
    const waitMs = (this.#shownAt.get(tenant) ?? 0) + this.#everyMs - Date.now()
    if (waitMs > 0 || this.#underWay.has(tenant)) this.#showLater(tenant, Math.max(waitMs, SOON_MS))
    else this.#begin(tenant)
  }

  #showLater(tenant: string, waitMs: number): void {
    clearTimeout(this.#later.get(tenant))
    const timer = setTimeout(() => {
      this.#later.delete(tenant)
      this.show(tenant)
    }, waitMs)
    this.#later.set(tenant, timer)
  }

  #begin(tenant: string): void {
    this.#shownAt.set(tenant, Date.now())
    const work = this.#showNow(tenant)
      .catch((error) => this.#log.warn({ tenant, err: error }, 'checkpoint not shown to witnesses'))
      .finally(() => this.#underWay.delete(tenant))
    this.#underWay.set(tenant, work)
  }

  /** Resolves when nothing is under way. */
  async settled(): Promise<void> {
    while (this.#underWay.size > 0) await Promise.all(this.#underWay.values())
  }

  /** Shows what waits for its turn first. */
  async close(): Promise<void> {
    this.#closing = true
    clearInterval(this.#looking)
    await this.settled()
    for (const [tenant, timer] of this.#later) {
      clearTimeout(timer)
      this.#begin(tenant)
    }
    this.#later.clear()
    await this.settled()
  }

  async #showNow(tenant: string): Promise<void> {
    const store = this.#ledgers(tenant)
    const { state } = await store.state()
    const shown = state && shownOf(store, state)
    if (!shown) return
    const answers = await Promise.allSettled(this.#witnesses.map((witness) => witness.show(shown)))
    const failed = answers.flatMap((answer, i) =>
      answer.status === 'rejected' ? [{ witness: this.#witnesses[i]?.name, err: answer.reason }] : [],
    )
    if (failed.length > 0) await this.#failed(tenant, shown, failed)
    else await this.#heads.witnessed(tenant, shown.size)
    const signatures = answers.flatMap((answer) => (answer.status === 'fulfilled' ? answer.value : []))
    if (signatures.length > 0) await keep(store, shown.checkpoint, signatures)
  }

  async #failed(
    tenant: string,
    shown: Shown,
    failed: readonly { witness: string | undefined; err: unknown }[],
  ): Promise<void> {
    const { state } = await this.#ledgers(tenant).state()
    // Another worker was faster: a newer checkpoint is the one to be shown.
    if (sizeOf(state?.checkpoint ?? '') !== shown.size) return this.show(tenant)
    for (const one of failed) {
      const rolledBack = one.err instanceof MusterError && one.err.code === 'ledger.corrupt'
      this.#log[rolledBack ? 'error' : 'warn']({ tenant, ...one }, 'checkpoint not witnessed; it is shown again')
    }
  }
}

function sizeOf(checkpoint: string): number | undefined {
  return parseCheckpoint(parseNote(checkpoint)?.text ?? '')?.size
}

function shownOf(store: LedgerStore, state: LedgerState): Shown | undefined {
  const { checkpoint } = state
  const parsed = parseCheckpoint(parseNote(checkpoint)?.text ?? '')
  if (!parsed) return undefined
  const { origin, size } = parsed
  return {
    origin,
    size,
    checkpoint,
    async proofFrom(old) {
      const proof = await new TileLog(store).consistency(old, size, state.size)
      return proof.map((hash) => Buffer.from(hash).toString('base64'))
    },
  }
}

/** Adds cosignatures to the checkpoint, where it is still the same. */
async function keep(store: LedgerStore, checkpoint: string, signatures: readonly NoteSignature[]): Promise<void> {
  const { text } = parseNote(checkpoint) ?? { text: '' }
  for (;;) {
    const { version, state } = await store.state()
    const note = parseNote(state?.checkpoint ?? '')
    if (!state || note?.text !== text) return
    const known = new Set(note.signatures.map(({ name, keyId }) => `${name}+${keyId}`))
    const added = signatures.filter(({ name, keyId }) => !known.has(`${name}+${keyId}`))
    const cosigned = formatNote({ text, signatures: note.signatures }) + added.map(formatSignature).join('')
    if (added.length === 0 || (await store.setState(version, { ...state, checkpoint: cosigned }))) return
  }
}

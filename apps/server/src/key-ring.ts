import { type Journal, KeyNews, ShortLived } from '@muster/journal'
import type { ApiKeys, FoundKey } from '@muster/memory'
import { type ErrorCode, KEY_USED_MS, type KeptKey, MusterError, within } from '@muster/protocol'
import { LRUCache } from 'lru-cache'
import { hashOf, isSealed, newSecret } from './key-secret.ts'
import type { ApiKey } from './keys.ts'
import { isRoleless } from './roleless.ts'

/** How often each server asks which keys have changed, ms: what is revoked here is refused everywhere well within a second. */
const POLL_MS = 200
/** Secrets whose keys are remembered, and those that are none. */
const KNOWN_MAX = 20_000
/** A key is looked at anew after so long, also where nothing was heard of it, ms. */
const FRESH_MS = 60_000
/** A key that cannot be looked at goes on so long after it was last, ms. */
const STALE_MS = 300_000
/** A request waits so long for a look at its key, and others that know it do not wait again before so long, ms. */
const LOOK_MS = 3000
const PAUSE_MS = 5000
/** Keys that are looked at at once. */
const LOOKS_MAX = 256

/** What is known of a secret. */
interface Known {
  key: ApiKey | undefined
  /** Why it is refused. */
  refused?: { code: ErrorCode; message: string }
  /** From when on it is, and why then; ms since the epoch. */
  ends?: { at: number; code: ErrorCode; message: string }
  /** When it was looked at, and before when it is not to be waited for again; of this process's clock. */
  readAt: number
  waitAt: number
  /** The span of time in which its last use is written. */
  used: number
}

/** Those who go on under a secret. */
interface Held {
  known: Known
  /** Each with whether it goes on only while the key has a role. */
  cuts: ShortLived<() => void, boolean>
  /** Since when it is to be looked at again; of this process's clock. */
  since?: number | undefined
  isLooking: boolean
}

export interface KeyRingOptions {
  /** Keys of the keys file. */
  file: readonly ApiKey[]
  store: ApiKeys
  journal: Journal
  onError?: ((error: unknown, what: string) => void) | undefined
}

/** Who sends a request: by a key of the file, or by one that a tenant keeps. A key that is known costs nothing more. */
export class KeyRing {
  readonly #file: ReadonlyMap<string, Known>
  readonly #store: ApiKeys
  readonly #news: KeyNews
  readonly #seal: Uint8Array
  readonly #onError: (error: unknown, what: string) => void
  readonly #known = new LRUCache<string, Known>({ max: KNOWN_MAX })
  readonly #looks = new Map<string, Promise<Known>>()
  readonly #held = new Map<string, Held>()
  #timer: NodeJS.Timeout | undefined
  #closed = false
  #failing = false

  private constructor({ file, store, journal, onError }: KeyRingOptions, seal: Uint8Array) {
    this.#file = new Map(file.map((key) => [key.sha256, ofFile(key)]))
    this.#store = store
    this.#news = new KeyNews(journal)
    this.#seal = seal
    this.#onError = onError ?? (() => {})
  }

  /** @throws MusterError `memory.unavailable`; errors of Redis */
  static async open(options: KeyRingOptions): Promise<KeyRing> {
    const ring = new KeyRing(options, await options.store.seal())
    await ring.#news.hear()
    ring.#poll()
    return ring
  }

  close(): void {
    this.#closed = true
    clearTimeout(this.#timer)
  }

  /** A secret for a new key. */
  newSecret(): string {
    return newSecret(this.#seal)
  }

  /** Keys of a tenant that stand in the file. */
  ofFile(tenant: string): ApiKey[] {
    return [...this.#file.values()].flatMap(({ key }) => (key?.tenant === tenant ? [key] : []))
  }

  /**
   * Finds who sends a request by its `Authorization` header: at once, where the key is known.
   *
   * @throws MusterError `auth.missing_key`, `auth.invalid_key`, `auth.expired_key`, `auth.revoked_key`, `auth.unavailable`
   */
  find(authorization: string | undefined): ApiKey | Promise<ApiKey> {
    if (!authorization) throw new MusterError('auth.missing_key', 'The request has no Authorization header')
    const [, secret = ''] = /^Bearer (.+)$/i.exec(authorization) ?? []
    const sha256 = hashOf(secret)
    const known = this.#file.get(sha256) ?? this.#known.get(sha256)
    if (known && performance.now() - known.readAt < FRESH_MS) return this.#use(known)
    if (!known && !isSealed(secret, this.#seal)) throw new MusterError('auth.invalid_key', 'The API key is not known')
    return this.#look(sha256, known).then((now) => this.#use(now))
  }

  /**
   * Calls `cut` once the key is no longer good; with `byRole` also once it has no role any more. What it gives is to be
   * called when nothing goes on under it any more.
   */
  hold({ sha256 }: ApiKey, cut: () => void, byRole = false): () => void {
    const known = this.#file.get(sha256) ?? this.#known.get(sha256)
    if (this.#file.has(sha256) && !known?.ends) return () => {}
    // Forgotten since it was found: something has changed.
    const held = this.#held.get(sha256) ?? {
      known: known ?? ofNobody(),
      cuts: new ShortLived(),
      isLooking: false,
      ...(known ? {} : { since: performance.now() }),
    }
    this.#held.set(sha256, held)
    held.cuts.set(cut, byRole)
    return () => {
      held.cuts.delete(cut)
      if (held.cuts.size === 0 && this.#held.get(sha256) === held) this.#held.delete(sha256)
    }
  }

  /** A key has changed: at once here, and soon on all servers. Errors of Redis, where others hear of it in a minute only. */
  async changed({ secrets }: KeptKey): Promise<void> {
    const hashes = secrets.map(({ sha256 }) => sha256)
    this.#forget(hashes)
    await this.#news.tell(hashes)
  }

  #use(known: Known): ApiKey {
    const { key, refused } = known
    const now = Date.now()
    const why = refused ?? (known.ends && known.ends.at <= now ? known.ends : undefined)
    if (!key || why) throw new MusterError(why?.code ?? 'auth.invalid_key', why?.message ?? 'The API key is not known')
    const span = Math.floor(now / KEY_USED_MS)
    if (known.used !== span) {
      known.used = span
      // The first of each span is enough; what cannot be written now is written of the next.
      this.#store.used(key.tenant, key.id, now).catch(() => {})
    }
    return key
  }

  /** What is known now; as before where nobody can tell. @throws MusterError `auth.unavailable` */
  async #look(sha256: string, before: Known | undefined): Promise<Known> {
    const now = performance.now()
    const isGood = before !== undefined && now - before.readAt < STALE_MS
    if (isGood && before.waitAt > now) return before
    try {
      return await within(LOOK_MS, this.#read(sha256))
    } catch (cause) {
      if (isGood) {
        before.waitAt = performance.now() + PAUSE_MS
        return before
      }
      const message = 'The API key cannot be looked up at present'
      throw new MusterError('auth.unavailable', message, { cause, retryAfterMs: 1000 })
    }
  }

  #read(sha256: string): Promise<Known> {
    const under = this.#looks.get(sha256)
    if (under) return under
    if (this.#looks.size >= LOOKS_MAX) return Promise.reject(new Error('too many keys are being looked up'))
    const used = this.#known.get(sha256)?.used ?? 0
    const look = this.#store.find(sha256).then((found) => {
      const known = { ...ofTable(sha256, found), used }
      // What has changed meanwhile is not remembered.
      if (this.#looks.get(sha256) === look) this.#known.set(sha256, known)
      return known
    })
    this.#looks.set(sha256, look)
    const over = () => {
      if (this.#looks.get(sha256) === look) this.#looks.delete(sha256)
    }
    look.then(over, over)
    return look
  }

  #forget(hashes: readonly string[]): void {
    for (const sha256 of hashes) {
      this.#known.delete(sha256)
      this.#looks.delete(sha256)
      const held = this.#held.get(sha256)
      if (held) held.since = performance.now()
    }
  }

  #poll(): void {
    this.#timer = setTimeout(() => {
      this.#hear().finally(() => {
        this.#cut()
        if (!this.#closed) this.#poll()
      })
    }, POLL_MS)
    this.#timer.unref()
  }

  async #hear(): Promise<void> {
    try {
      const news = await this.#news.hear()
      this.#failing = false
      if (news !== 'all') return this.#forget(news)
      // What was missed may be of any; each that cannot be looked at goes on for its time.
      for (const known of this.#known.values()) known.readAt = Math.min(known.readAt, performance.now() - FRESH_MS)
      for (const held of this.#held.values()) held.since ??= performance.now()
    } catch (error) {
      this.#news.missed()
      // Five a second say no more than the first.
      if (!this.#failing && !this.#closed) this.#onError(error, 'changes of API keys are not heard')
      this.#failing = true
    }
  }

  /** Ends what goes on under keys that are good no more, and looks at those of which that is not sure. */
  #cut(): void {
    const now = performance.now()
    for (const [sha256, held] of this.#held) {
      if (now - held.known.readAt > FRESH_MS) held.since ??= now
      if (held.since !== undefined && !held.isLooking && !this.#file.has(sha256))
        this.#lookFor(sha256, held, held.since)
      const { refused, ends, key } = held.known
      if (!refused && !(ends && ends.at <= Date.now())) {
        if (key && isRoleless(key)) for (const [cut, byRole] of held.cuts) if (byRole) cut()
        continue
      }
      this.#held.delete(sha256)
      for (const cut of held.cuts.keys()) cut()
    }
  }

  /** Looks at the key of what goes on. Where nobody can tell it goes on for its time. */
  async #lookFor(sha256: string, held: Held, since: number): Promise<void> {
    held.isLooking = true
    try {
      const known = this.#known.get(sha256)
      const isFresh = known !== undefined && performance.now() - known.readAt < FRESH_MS
      held.known = isFresh ? known : await within(LOOK_MS, this.#read(sha256))
      if (held.since === since) held.since = undefined
    } catch {
      if (performance.now() - since > STALE_MS) held.known = ofNobody()
    }
    held.isLooking = false
  }
}

function ofFile(key: ApiKey): Known {
  const { id, expires } = key
  // Never older than it was at the start.
  return { key, readAt: Number.POSITIVE_INFINITY, waitAt: 0, used: 0, ...endsAt(id, expires && Date.parse(expires)) }
}

function ofNobody(): Known {
  const refused = { code: 'auth.invalid_key', message: 'The API key is not known' } as const
  return { key: undefined, refused, readAt: performance.now(), waitAt: 0, used: 0 }
}

function ofTable(sha256: string, found: FoundKey | undefined): Known {
  const known = ofNobody()
  if (!found) return known
  const { id, user, service, roles, team, gateway, expiresAt, revoked, secrets } = found.key
  const secret = secrets.find((one) => one.sha256 === sha256)
  if (revoked) return { ...known, refused: { code: 'auth.revoked_key', message: `The API key "${id}" was revoked` } }
  const replaced = {
    code: 'auth.revoked_key',
    message: `The API key "${id}" has a new secret in place of this`,
  } as const
  if (!secret) return { ...known, refused: replaced }
  const isReplaced = secret.until !== undefined && secret.until < (expiresAt ?? Number.POSITIVE_INFINITY)
  return {
    ...{ readAt: known.readAt, waitAt: 0, used: 0 },
    ...(isReplaced ? { ends: { at: secret.until ?? 0, ...replaced } } : endsAt(id, expiresAt)),
    key: {
      ...{ id, tenant: found.tenant, user, service, roles, team, gateway, sha256 },
      hands: secret.hands ?? [found.key.createdBy.user],
      ...(expiresAt === undefined ? {} : { expires: new Date(expiresAt).toISOString() }),
    },
  }
}

function endsAt(id: string, at: number | '' | undefined): Pick<Known, 'ends'> {
  if (at === undefined || at === '') return {}
  const message = `The API key "${id}" has expired, at ${new Date(at).toISOString()}`
  return { ends: { at, code: 'auth.expired_key', message } }
}

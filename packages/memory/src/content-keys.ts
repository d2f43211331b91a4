import { randomBytes } from 'node:crypto'
import { MusterError } from '@muster/protocol'
import { LRUCache } from 'lru-cache'
import { bytesOf, type Item, numberOf, textOf } from './item.ts'
import { partition, sort } from './key.ts'
import type { Records } from './records.ts'
import { KEY_BYTES, seal, unseal } from './sealed.ts'
import type { Table } from './table.ts'

/** What tenants' keys are wrapped by: it lies outside of the table. */
export interface MasterKey {
  wrap(tenant: string, key: Uint8Array): Promise<Uint8Array>
  /** @throws MusterError `content.key_invalid` where it did not wrap it */
  unwrap(tenant: string, wrapped: Uint8Array): Promise<Uint8Array>
}

/** Whose content it is: a run's, and with a subject that one's as well. */
export interface Owner {
  tenant: string
  run: string
  subject?: string | undefined
}

/** A key by the name under which it is found again. */
export interface NamedKey {
  name: string
  key: Uint8Array
}

/** What keys are destroyed of. */
export type Shredded = { subject: string } | { tenant: true } | { run: string }

/** How long a process goes on with a key that it has read: so long after its destruction it is gone everywhere. */
const KEY_CACHE_MS = 30_000
const CACHED_MAX = 10_000
/** Who does what nobody asked for, in records: makes keys, lets runs expire. */
export const ITSELF = { key: '', user: 'muster', service: true } as const

interface Cached {
  until: number
  key: Promise<NamedKey | undefined>
}

/*
 * A run's content is sealed by a key of its own, which lies sealed by its subject's, or by the tenant's general one where it
 * has no subject. These lie sealed by the tenant's key, and that one wrapped by the master key, where there is one. What
 * outlives a run, its turns, facts and deeds, is sealed by the subject's key itself.
 *
 * A key is an item that is written once, on the condition that it is not there: who comes second takes the first one's.
 * Destroyed, it keeps its place without its material, and the next one has the next number.
 */
export class ContentKeys {
  readonly #table: Table
  readonly #records: Records
  readonly #master: MasterKey | undefined
  readonly #clock: () => number
  readonly #cache = new LRUCache<string, Cached>({ max: CACHED_MAX })
  /** See `KEY_CACHE_MS`. */
  readonly cacheMs: number

  constructor(
    table: Table,
    records: Records,
    options: { master?: MasterKey | undefined; cacheMs?: number | undefined; clock: () => number },
  ) {
    this.#table = table
    this.#records = records
    this.#master = options.master
    this.#clock = options.clock
    this.cacheMs = options.cacheMs ?? KEY_CACHE_MS
  }

  /** What a subject's new content is sealed by, or that of all who have none. */
  async current(tenant: string, subject?: string): Promise<NamedKey> {
    const kind = subject === undefined ? ['GENERAL'] : ['SUBJECT', subject]
    const found = await this.#cached([tenant, ...kind], () => this.#newest(tenant, kind))
    return found ?? missing()
  }

  /** The key of this name; undefined where it is destroyed. */
  async find(tenant: string, name: string): Promise<Uint8Array | undefined> {
    const found = await this.#cached([tenant, name], async () => {
      const item = await this.#table.get(keysOf(tenant), name)
      return item && this.#open(tenant, item)
    })
    return found?.key
  }

  /** The key of a run, made where there is none; undefined where it is destroyed. */
  async ofRun({ tenant, run, subject }: Owner): Promise<Uint8Array | undefined> {
    const found = await this.#cached([tenant, 'run', run], async () => {
      const { name, key } = await this.current(tenant, subject)
      const own = randomBytes(KEY_BYTES)
      const { pk, sk } = runKey(tenant, run)
      // Most runs have none yet: a write that is refused tells as much as a read.
      const isFirst = await this.#table.create({ pk, sk, by: name, key: seal(key, [tenant, pk, sk], own) })
      return isFirst ? { name: run, key: own } : this.#readRun(tenant, run)
    })
    return found?.key
  }

  /** The key of a run; undefined where it is destroyed, or was never made. */
  async findRun(tenant: string, run: string): Promise<Uint8Array | undefined> {
    const found = await this.#cached([tenant, 'run', run], () => this.#readRun(tenant, run))
    return found?.key
  }

  async #readRun(tenant: string, run: string): Promise<NamedKey | undefined> {
    const { pk, sk } = runKey(tenant, run)
    const item = await this.#table.get(pk, sk)
    if (!item || item.key === undefined) return undefined
    const by = await this.find(tenant, textOf(item, 'by'))
    return by && { name: run, key: unseal(by, [tenant, pk, sk], bytesOf(item, 'key')) }
  }

  /** Destroys keys, for ever. Others that have read them go on with them for `cacheMs`. Gives the names of those that it found. */
  async destroy(tenant: string, what: Shredded): Promise<string[]> {
    if ('run' in what) {
      this.#cache.delete(JSON.stringify([tenant, 'run', what.run]))
      const { pk, sk } = runKey(tenant, what.run)
      const item = await this.#table.get(pk, sk)
      // Its place stays: content that comes late is not sealed by another.
      await this.#table.put({ pk, sk, destroyedAt: this.#clock() })
      return item?.key === undefined ? [] : [sk]
    }
    this.#cache.clear()
    const destroyed: string[] = []
    const pk = keysOf(tenant)
    const sk = 'tenant' in what ? {} : { sk: { prefix: `${sort('SUBJECT', what.subject)}#` } }
    for await (const item of this.#table.query({ pk, ...sk })) {
      if (item.key === undefined) continue
      const name = textOf(item, 'sk')
      await this.#table.put({ pk, sk: name, number: numberOf(item, 'number'), destroyedAt: this.#clock() })
      destroyed.push(name)
    }
    return destroyed
  }

  /** The newest key of a kind that is not destroyed, or the next. */
  async #newest(tenant: string, kind: readonly string[]): Promise<NamedKey> {
    const [first = '', ...rest] = kind
    const pk = keysOf(tenant)
    for (;;) {
      let newest: Item | undefined
      const prefix = `${sort(first, ...rest)}#`
      for await (const item of this.#table.query({ pk, sk: { prefix }, descending: true, page: 1 })) {
        newest = item
        break
      }
      const open = newest && (await this.#open(tenant, newest))
      if (open) return open
      const number = newest === undefined ? 1 : numberOf(newest, 'number') + 1
      const sk = sort(first, ...rest, number)
      await this.#records.append(tenant, [{ at: this.#clock(), by: ITSELF, action: 'key.created', about: { key: sk } }])
      const key = randomBytes(KEY_BYTES)
      await this.#table.create({ pk, sk, number, ...(await this.#closed(tenant, sk, key)) })
    }
  }

  /** A key as it is stored: wrapped by the master key, or sealed by the tenant's. */
  async #closed(tenant: string, sk: string, key: Uint8Array): Promise<{ by: string; key: Uint8Array }> {
    if (!sk.startsWith('TENANT#')) {
      const { name, key: tenants } = await this.#tenantKey(tenant)
      return { by: name, key: seal(tenants, [tenant, sk], key) }
    }
    return this.#master ? { by: 'master', key: await this.#master.wrap(tenant, key) } : { by: '', key }
  }

  async #open(tenant: string, item: Item): Promise<NamedKey | undefined> {
    if (item.key === undefined) return undefined
    const [name, by, key] = [textOf(item, 'sk'), textOf(item, 'by'), bytesOf(item, 'key')]
    if (!name.startsWith('TENANT#')) {
      const tenants = await this.find(tenant, by)
      return tenants && { name, key: unseal(tenants, [tenant, name], key) }
    }
    if (by === '') {
      // It lay open before there was a master key.
      if (this.#master) await this.#table.replace({ ...item, ...(await this.#closed(tenant, name, key)) }, 'by', '')
      return { name, key }
    }
    if (!this.#master)
      throw new MusterError(
        'content.key_invalid',
        `The keys of tenant ${tenant} are wrapped, and there is no master key`,
      )
    return { name, key: await this.#master.unwrap(tenant, key) }
  }

  async #tenantKey(tenant: string): Promise<NamedKey> {
    return (await this.#cached([tenant, 'TENANT'], () => this.#newest(tenant, ['TENANT']))) ?? missing()
  }

  /** What is not there is not remembered. */
  #cached(of: readonly string[], read: () => Promise<NamedKey | undefined>): Promise<NamedKey | undefined> {
    const name = JSON.stringify(of)
    const now = performance.now()
    const known = this.#cache.get(name)
    if (known && known.until > now) return known.key
    const key = read()
    this.#cache.set(name, { until: now + this.cacheMs, key })
    const forget = () => this.#cache.peek(name)?.key === key && this.#cache.delete(name)
    key.then((found) => found || forget(), forget)
    return key
  }
}

function keysOf(tenant: string): string {
  return partition(tenant, 'KEYS')
}

function runKey(tenant: string, run: string): { pk: string; sk: string } {
  return { pk: partition(tenant, 'RUN', run), sk: 'KEY' }
}

function missing(): never {
  throw new MusterError('internal', 'A key that was just made is not there')
}

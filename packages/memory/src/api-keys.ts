import { randomBytes, randomInt, randomUUID } from 'node:crypto'
import { setTimeout } from 'node:timers/promises'
import { KEYS_MAX, type KeptKey, keptKey, MusterError } from '@muster/protocol'
import { bytesOf, type Item, numberOf, textOf } from './item.ts'
import { LAST, partition, sort } from './key.ts'
import type { Table } from './table.ts'

/** A key as it was found by one of its secrets. */
export interface FoundKey {
  tenant: string
  key: KeptKey
}

/** Tenants' API keys: of their secrets the hashes alone. Every method throws MusterError `memory.unavailable`. */
export interface ApiKeys {
  /** `taken` where the tenant has, or had, a key of that id; `full` where it has had `most` keys. */
  create(tenant: string, key: KeptKey, most?: number): Promise<'made' | 'taken' | 'full'>
  /** Takes back one that nobody was given. */
  remove(tenant: string, key: KeptKey): Promise<void>
  /** Replaces the key of the version before; false where another was first. */
  save(tenant: string, key: KeptKey): Promise<boolean>
  get(tenant: string, id: string): Promise<KeptKey | undefined>
  /** By the SHA-256 of a secret, hexadecimal. Whether the key has it still is in its `secrets`. */
  find(sha256: string): Promise<FoundKey | undefined>
  /** In the order of their ids, those that are revoked too. */
  list(tenant: string, page: { limit: number; after?: string | undefined }): Promise<KeptKey[]>
  /** Remembers when a key was used; what is older than what is known changes nothing. */
  used(tenant: string, id: string, at: number): Promise<void>
  /** When keys were used last, ms since the epoch; at least of these. */
  lastUsed(tenant: string, ids: readonly string[]): Promise<Map<string, number>>
  /** What secrets are sealed with, 32 bytes: the same for all servers on this table. */
  seal(): Promise<Uint8Array>
}

const SEAL_BYTES = 32
/** Others that count at the same time, after which one who wants to gives up; and the longest pause between, ms. */
const COUNTS = { rounds: 50, pauseMs: 40 }
/** A tenant has a name: this is of none. */
const SEAL = { pk: partition('', 'KEYS'), sk: sort('SEAL') }

/*
 * A key is one item, replaced on the condition of its version. Each secret has an item of its own that leads to it, written
 * before the key names it. It stays when the key has that secret no more, so that who still sends it is told so.
 */
export function openApiKeys(table: Table): ApiKeys {
  const keysOf = (tenant: string) => partition(tenant, 'KEYS')
  const itemOf = (tenant: string, key: KeptKey): Item => ({
    ...{ pk: keysOf(tenant), sk: sort('KEY', key.id), version: key.version, content: JSON.stringify(key) },
  })
  const wayOf = (sha256: string) => ({ pk: partition('', 'KEYS', sha256), sk: sort('WAY') })
  const read = (item: Item) => keptKey.parse(JSON.parse(textOf(item, 'content')))
  const lead = (tenant: string, { id, secrets }: KeptKey) =>
    Promise.all(secrets.map(({ sha256 }) => table.create({ ...wayOf(sha256), tenant, id })))
  /** Takes back the ways to a key that is not there after all, and its place among those that the tenant may have. */
  const takeBack = async (tenant: string, { secrets }: KeptKey) => {
    for (const { sha256 } of secrets) {
      const { pk, sk } = wayOf(sha256)
      await table.remove(pk, sk)
    }
    await count(tenant, -1, KEYS_MAX)
  }

  /** Ours, where an answer was lost and the write was tried again. */
  const isOurs = async (item: Item) => {
    const there = await table.get(String(item.pk), String(item.sk))
    return there?.content === item.content
  }

  /** False where there are `most`. A process that dies before the key is written leaves one too many counted. */
  const count = async (tenant: string, by: 1 | -1, most: number) => {
    const place = { pk: keysOf(tenant), sk: sort('COUNT') }
    const mark = randomUUID()
    for (let round = 0; round < COUNTS.rounds; round++) {
      const before = await table.get(place.pk, place.sk)
      if (before?.mark === mark) return true
      const keys = before ? numberOf(before, 'keys') : 0
      if (by > 0 && keys >= most) return false
      const item = { ...place, keys: keys + by, mark }
      if (before ? await table.replace(item, 'mark', textOf(before, 'mark')) : await table.create(item)) return true
      if (round > 0) await setTimeout(randomInt(COUNTS.pauseMs))
    }
    throw new MusterError('memory.unavailable', 'Too many API keys are being made at the same time')
  }

  return {
    async create(tenant, key, most = KEYS_MAX) {
      if (!(await count(tenant, 1, most))) return 'full'
      await lead(tenant, key)
      const item = itemOf(tenant, key)
      if ((await table.create(item)) || (await isOurs(item))) return 'made'
      await takeBack(tenant, key)
      return 'taken'
    },

    async remove(tenant, key) {
      const { pk, sk } = itemOf(tenant, key)
      await table.remove(String(pk), String(sk))
      await takeBack(tenant, key)
    },

    async save(tenant, key) {
      await lead(tenant, key)
      const item = itemOf(tenant, key)
      return (await table.replace(item, 'version', key.version - 1)) || (await isOurs(item))
    },

    async get(tenant, id) {
      const item = await table.get(keysOf(tenant), sort('KEY', id))
      return item && read(item)
    },

    async find(sha256) {
      const { pk, sk } = wayOf(sha256)
      const way = await table.get(pk, sk)
      if (!way) return undefined
      const tenant = textOf(way, 'tenant')
      const item = await table.get(keysOf(tenant), sort('KEY', textOf(way, 'id')))
      return item && { tenant, key: read(item) }
    },

    async list(tenant, { limit, after }) {
      const from = after === undefined ? 'KEY#' : `${sort('KEY', after)}\0`
      const found: KeptKey[] = []
      for await (const item of table.query({ pk: keysOf(tenant), sk: { from, to: `KEY#${LAST}` }, page: limit })) {
        found.push(read(item))
        if (found.length === limit) break
      }
      return found
    },

    async used(tenant, id, at) {
      await table.raise({ pk: keysOf(tenant), sk: sort('USED', id), id, at }, 'at', at)
    },

    async lastUsed(tenant, ids) {
      const places = ids
        .map((id) => sort('USED', id))
        .sort((one, other) => Buffer.from(one).compare(Buffer.from(other)))
      const [from] = places
      if (from === undefined) return new Map()
      const sk = { from, to: places.at(-1) ?? from }
      const items = await Array.fromAsync(table.query({ pk: keysOf(tenant), sk }))
      return new Map(items.map((item) => [textOf(item, 'id'), numberOf(item, 'at')]))
    },

    async seal() {
      await table.create({ ...SEAL, bytes: randomBytes(SEAL_BYTES) })
      const item = await table.get(SEAL.pk, SEAL.sk)
      return bytesOf(item ?? SEAL, 'bytes')
    },
  }
}

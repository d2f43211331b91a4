import { type Delivery, MusterError, WEBHOOKS_MAX, type Webhook, type WebhookPayload } from '@muster/protocol'
import type { Journal } from './journal.ts'

/** A webhook with what its secrets are made of. */
export interface StoredWebhook extends Webhook {
  /** How often it got a new secret. */
  rotation: number
}

/** Attempts that are remembered of one webhook, and for how long, s. */
const DELIVERIES_MAX = 1000
const DELIVERIES_TTL_S = 7 * 24 * 3600

/** Tenants' webhooks, and what was delivered to them; in the first partition. */
export class Webhooks {
  readonly #journal: Journal

  constructor(journal: Journal) {
    this.#journal = journal
  }

  /** @throws MusterError `webhook.too_many` */
  async create(tenant: string, webhook: StoredWebhook): Promise<void> {
    const { redis, partitions } = this.#journal
    const key = partitions[0].keys.webhooks(tenant)
    await redis.hset(key, webhook.id, JSON.stringify(webhook))
    if ((await redis.hlen(key)) > WEBHOOKS_MAX) {
      await redis.hdel(key, webhook.id)
      throw new MusterError('webhook.too_many', `A tenant has at most ${WEBHOOKS_MAX} webhooks`)
    }
    // From here on its runs leave events in the outboxes.
    await Promise.all(partitions.map(({ keys, replication }) => replication.after(redis.sadd(keys.hooked, tenant))))
  }

  /** Oldest first. */
  async list(tenant: string): Promise<StoredWebhook[]> {
    const { redis, partitions } = this.#journal
    const all = Object.values(await redis.hgetall(partitions[0].keys.webhooks(tenant)))
    return all.map(parse).sort((a, b) => a.createdAt - b.createdAt)
  }

  /** @throws MusterError `webhook.not_found`, also for another tenant's */
  async get(tenant: string, id: string): Promise<StoredWebhook> {
    const { redis, partitions } = this.#journal
    const text = await redis.hget(partitions[0].keys.webhooks(tenant), id)
    if (text === null) throw new MusterError('webhook.not_found', `There is no webhook ${id}`)
    return parse(text)
  }

  /** @throws MusterError `webhook.not_found` */
  async change(tenant: string, id: string, changes: Partial<StoredWebhook>): Promise<StoredWebhook> {
    const { redis, partitions } = this.#journal
    const { keys, replication } = partitions[0]
    const changed: StoredWebhook = { ...(await this.get(tenant, id)), ...changes }
    await replication.after(redis.hset(keys.webhooks(tenant), id, JSON.stringify(changed)))
    return changed
  }

  /** @throws MusterError `webhook.not_found` */
  async remove(tenant: string, id: string): Promise<void> {
    const { redis, partitions } = this.#journal
    const { keys } = partitions[0]
    if ((await redis.hdel(keys.webhooks(tenant), id)) === 0) await this.get(tenant, id)
    await redis.del(keys.deliveries(id))
    // With none left its events would be written for nobody; one that is made meanwhile says so again.
    if ((await redis.hlen(keys.webhooks(tenant))) === 0)
      await Promise.all(partitions.map(({ keys }) => redis.srem(keys.hooked, tenant)))
    if ((await redis.hlen(keys.webhooks(tenant))) > 0)
      await Promise.all(partitions.map(({ keys }) => redis.sadd(keys.hooked, tenant)))
  }

  /** Remembers an attempt, with what was sent. */
  async record(id: string, attempt: Delivery, payload: WebhookPayload): Promise<void> {
    const { redis, partitions } = this.#journal
    const key = partitions[0].keys.deliveries(id)
    const fields = ['attempt', JSON.stringify(attempt), 'payload', JSON.stringify(payload)]
    await redis
      .multi()
      .xadd(key, 'MAXLEN', '~', DELIVERIES_MAX, '*', ...fields)
      .expire(key, DELIVERIES_TTL_S)
      .exec()
  }

  /** Attempts, newest first, with what was sent. */
  async deliveries(id: string, limit = DELIVERIES_MAX): Promise<{ attempt: Delivery; payload: WebhookPayload }[]> {
    const { redis, partitions } = this.#journal
    const records = await redis.xrevrange(partitions[0].keys.deliveries(id), '+', '-', 'COUNT', limit)
    return records.map(([, [, attempt = '', , payload = '']]) => ({
      // Written by `record`.
      attempt: JSON.parse(attempt) as Delivery,
      payload: JSON.parse(payload) as WebhookPayload,
    }))
  }
}

function parse(text: string): StoredWebhook {
  // Written by `create` and `change`.
  return JSON.parse(text) as StoredWebhook
}

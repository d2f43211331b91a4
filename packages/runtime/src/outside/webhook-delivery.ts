import {
  type Attempted,
  type Journal,
  Outbox,
  type OutboxRecord,
  type StoredWebhook,
  type WebhookJob,
  WebhookQueue,
  Webhooks,
} from '@muster/journal'
import type { Delivery, WebhookPayload } from '@muster/protocol'
import type { Logger } from 'pino'
import { Webhook as Signer } from 'standardwebhooks'
import { Agent, request } from 'undici'
import { problemOfUrl, publicAgent } from './outbound.ts'
import { signingSecrets } from './webhook-secret.ts'

export interface WebhookOptions {
  /** From which the webhooks' own secrets are made. */
  secret: string
  /** Allows http, and addresses that are not public: for development. */
  anywhere: boolean
  /** Pauses between attempts, ms; after the last one the webhook is disabled. About three and a half days unless given. */
  pausesMs?: readonly number[] | undefined
}

const S = 1000
const M = 60 * S
const H = 60 * M
/** As Standard Webhooks suggests. */
const PAUSES_MS = [5 * S, 5 * M, 30 * M, 2 * H, 5 * H, 10 * H, 14 * H, 20 * H, 24 * H]
/** Each is longer or shorter by up to so much of it, so that not all come back at once. */
const JITTER = 0.2
const TIMEOUT_MS = 15_000
/** Deliveries to one webhook that are under way at once in one worker: a slow one leaves room to the others. */
const EACH_MAX = 5
const LATER_MS = 500

/**
 * Brings the events of runs to webhooks (Standard Webhooks 1.0.0): from the outbox that was written with the journal to
 * a job for each webhook, and from there to its address. Whoever dies, nothing is lost; what is repeated has the same id.
 */
export function startWebhooks({
  journal,
  worker,
  log,
  webhooks: options,
}: {
  journal: Journal
  worker: string
  log: Logger
  webhooks: WebhookOptions
}): { close(): Promise<void> } {
  const webhooks = new Webhooks(journal)
  const queue = new WebhookQueue(journal)
  const outbox = new Outbox(journal, 'events', 'webhooks', worker)
  const handOn = async ({ run, seq = '', tenant = '', payload = '' }: OutboxRecord, all: readonly StoredWebhook[]) => {
    const event: WebhookPayload = JSON.parse(payload)
    for (const webhook of all) {
      if (webhook.disabled || !webhook.events.some((type) => type === event.type)) continue
      await queue.add({ tenant, webhook: webhook.id, event: `evt_${run}_${seq}`, payload: event })
    }
  }
  outbox.start(
    async (records) => {
      const tenants = new Set(records.map(({ tenant = '' }) => tenant))
      const lists = new Map([...tenants].map((tenant) => [tenant, webhooks.list(tenant)]))
      return Promise.allSettled(
        records.map(async (record) => handOn(record, (await lists.get(record.tenant ?? '')) ?? [])),
      )
    },
    (error, run) => log.warn({ run, err: error }, 'event not handed on to webhooks yet; it is tried again'),
  )
  const deliver = deliverer(webhooks, options)
  queue.work(deliver, (error) => log.warn({ err: error }, 'webhooks are not delivered for now; it is tried again'))
  return {
    async close() {
      await outbox.close()
      await queue.close()
    },
  }
}

function deliverer(
  webhooks: Webhooks,
  { secret, anywhere, pausesMs = PAUSES_MS }: WebhookOptions,
): (job: WebhookJob, attempt: number) => Promise<Attempted> {
  const agent = anywhere ? new Agent() : publicAgent()
  const underWay = new Map<string, number>()

  return async ({ tenant, webhook: id, event, payload }, attempt) => {
    const webhook = (await webhooks.list(tenant)).find((one) => one.id === id)
    // Removed, or given up, meanwhile.
    if (!webhook || webhook.disabled) return 'done'
    const count = underWay.get(id) ?? 0
    if (count >= EACH_MAX) return { laterMs: LATER_MS }
    underWay.set(id, count + 1)
    try {
      const at = Date.now()
      const from = performance.now()
      const secrets = signingSecrets(secret, tenant, webhook, at)
      const answer = await send(webhook.url, event, JSON.stringify(payload), secrets)
      const delivered = 'status' in answer && answer.status >= 200 && answer.status < 300
      const gone = 'status' in answer && answer.status === 410
      const pause = pausesMs[attempt - 1]
      const again =
        delivered || gone || pause === undefined ? undefined : pause * (1 + JITTER * (2 * Math.random() - 1))
      const { run } = payload.data
      const tried: Delivery = {
        ...{ event, type: payload.type, at, attempt, delivered, durationMs: Math.round(performance.now() - from) },
        ...(run === undefined ? {} : { run }),
        ...answer,
        ...(again === undefined ? {} : { nextAt: Math.round(at + again) }),
      }
      await webhooks.record(id, tried, payload)
      if (again !== undefined) return { againMs: again }
      if (!delivered) {
        const reason = gone ? 'it answered 410 Gone' : `event ${event} could not be delivered in ${attempt} attempts`
        await webhooks.change(tenant, id, { disabled: { at: Date.now(), reason } })
      }
      return 'done'
    } finally {
      underWay.set(id, (underWay.get(id) ?? 1) - 1)
    }
  }

  async function send(
    url: string,
    event: string,
    body: string,
    secrets: readonly string[],
  ): Promise<{ status: number } | { error: string }> {
    const now = new Date()
    const problem = problemOfUrl(url, anywhere)
    if (problem) return { error: problem }
    try {
      // Redirects are not followed: where they lead nobody has agreed to.
      const { statusCode, body: answer } = await request(url, {
        method: 'POST',
        headers: {
          'content-type': 'application/json',
          'user-agent': 'Muster',
          'webhook-id': event,
          'webhook-timestamp': String(Math.floor(now.getTime() / 1000)),
          'webhook-signature': secrets.map((secret) => new Signer(secret).sign(event, now, body)).join(' '),
        },
        body,
        dispatcher: agent,
        signal: AbortSignal.timeout(TIMEOUT_MS),
      })
      await answer.dump().catch(() => {})
      return { status: statusCode }
    } catch (error) {
      return { error: error instanceof Error ? error.message.slice(0, 256) : 'no answer' }
    }
  }
}

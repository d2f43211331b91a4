import { type Delivery, MusterError, type Webhook, type WebhookPayload, type WebhookRequest } from '@muster/protocol'
import { Webhook as Verifier } from 'standardwebhooks'
import type { Request } from './request.ts'

export type WebhookOptions = Pick<WebhookRequest, 'url'> & Partial<WebhookRequest>

export interface WebhooksClient {
  /** The secret is shown here and never again. */
  create(webhook: WebhookOptions): Promise<Webhook & { secret: string }>
  /** Oldest first. */
  list(): Promise<Webhook[]>
  get(id: string): Promise<Webhook>
  /** Keeps its secret; enables one that is disabled. */
  replace(id: string, webhook: WebhookOptions): Promise<Webhook>
  remove(id: string): Promise<void>
  /** A new secret; for a day deliveries are signed with both. */
  rotate(id: string): Promise<Webhook & { secret: string }>
  /** Sends an event of type `ping`; gives its id. */
  test(id: string): Promise<string>
  /** Attempts of the last week, newest first. */
  deliveries(id: string, options?: { limit?: number }): Promise<Delivery[]>
  /** Delivers one event again, or all since a time (ms since the Unix epoch) that were not delivered; gives their ids. */
  replay(id: string, what: { event: string } | { since: number }): Promise<string[]>
}

export function webhooksClient(request: Request): WebhooksClient {
  const path = (id: string) => `/v1/webhooks/${encodeURIComponent(id)}`
  return {
    create: (webhook) => request('POST', '/v1/webhooks', webhook),
    list: async () => (await request<{ webhooks: Webhook[] }>('GET', '/v1/webhooks')).webhooks,
    get: (id) => request('GET', path(id)),
    replace: (id, webhook) => request('PUT', path(id), webhook),
    remove: (id) => request('DELETE', path(id)),
    rotate: (id) => request('POST', `${path(id)}/rotate`),
    test: async (id) => (await request<{ event: string }>('POST', `${path(id)}/test`)).event,
    deliveries: async (id, { limit = 100 } = {}) =>
      (await request<{ deliveries: Delivery[] }>('GET', `${path(id)}/deliveries?limit=${limit}`)).deliveries,
    replay: async (id, what) => (await request<{ events: string[] }>('POST', `${path(id)}/replay`, what)).events,
  }
}

/**
 * For who receives webhooks: checks that a request comes from Muster and is not older than five minutes.
 *
 * @param body the request's body, byte for byte
 * @throws MusterError `webhook.invalid`
 */
export function verifyWebhook(body: string, headers: Record<string, string>, secret: string): WebhookPayload {
  try {
    // What is signed was written by Muster.
    return new Verifier(secret).verify(body, headers) as WebhookPayload
  } catch (cause) {
    throw new MusterError('webhook.invalid', cause instanceof Error ? cause.message : 'not signed', { cause })
  }
}

import { createHmac } from 'node:crypto'
import type { StoredWebhook } from '@muster/journal'

/** How long the secret before the last rotation is good for, ms. */
const OVERLAP_MS = 24 * 3_600_000

/**
 * The secrets of webhooks are made from the deployment's own and stored nowhere: whoever reads Redis cannot sign.
 * Base64 after `whsec_`, as Standard Webhooks has them.
 */
export function webhookSecret(secret: string, tenant: string, webhook: string, rotation: number): string {
  const text = ['muster:webhook', tenant, webhook, rotation].join('\n')
  return `whsec_${createHmac('sha256', secret).update(text).digest('base64')}`
}

/** Those that a delivery is signed with: after a rotation the one before as well, for a day. */
export function signingSecrets(
  secret: string,
  tenant: string,
  { id, rotation, rotatedAt }: StoredWebhook,
  now: number,
): string[] {
  const current = webhookSecret(secret, tenant, id, rotation)
  if (rotation === 0 || now - rotatedAt > OVERLAP_MS) return [current]
  return [current, webhookSecret(secret, tenant, id, rotation - 1)]
}

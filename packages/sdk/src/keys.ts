import type { KeyChanges, KeyHolder, KeyPage, KeyRequest, MadeKey, ShownKey } from '@muster/protocol'
import type { Request } from './request.ts'

export type NewKey = Pick<KeyRequest, 'user'> & Partial<KeyRequest>

export interface KeysClient {
  /** The secret (`key`) is given here and never again. */
  create(key: NewKey): Promise<MadeKey>
  /** By their ids; those of the keys file first, and those that were revoked too. */
  list(page?: { limit?: number; cursor?: string }): Promise<KeyPage>
  get(id: string): Promise<ShownKey>
  /** Whose the key is that asks. */
  me(): Promise<KeyHolder>
  /** What is not given stays, and `null` takes away. */
  change(id: string, changes: KeyChanges): Promise<ShownKey>
  /** A new secret. The one before holds for `graceMs` more: a day unless given, 0 ends it now. */
  rotate(id: string, options?: { graceMs?: number; expiresAt?: number | null }): Promise<MadeKey>
  /** Within a second it is refused everywhere. */
  revoke(id: string): Promise<void>
}

export function keysClient(request: Request): KeysClient {
  const path = (id: string) => `/v1/keys/${encodeURIComponent(id)}`
  return {
    create: (key) => request('POST', '/v1/keys', key),
    list: ({ limit = 100, cursor } = {}) =>
      request('GET', `/v1/keys?${new URLSearchParams({ limit: String(limit), ...(cursor && { cursor }) })}`),
    me: () => request('GET', '/v1/me'),
    get: (id) => request('GET', path(id)),
    change: (id, changes) => request('PATCH', path(id), changes),
    rotate: (id, options = {}) => request('POST', `${path(id)}/rotate`, options),
    revoke: (id) => request('DELETE', path(id)),
  }
}

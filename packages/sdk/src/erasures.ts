import type { Erasure, ErasurePlan, Hold, NewErasure, NewHold, RetentionState } from '@muster/protocol'
import { everyPage, type Request } from './request.ts'

/** What is erased, and what must not be. Needs the role "eraser"; to read, "auditor" is enough. */
export interface ErasuresClient {
  /** Asks for it: it is carried on in the background, see `get`. The same again gives the one that is under way. */
  request(what: Omit<NewErasure, 'dryRun'>): Promise<Erasure>
  /** Tells what an erasure would do, and does nothing. */
  plan(what: Omit<NewErasure, 'dryRun'>): Promise<ErasurePlan>
  /** The newest first, page by page. */
  list(): AsyncGenerator<Erasure>
  get(id: string): Promise<Erasure>
}

export interface HoldsClient {
  /** What it matches is neither erased nor does it expire, until it is lifted. */
  place(hold: NewHold): Promise<Hold>
  /** Those that were lifted too, the newest first, page by page. */
  list(): AsyncGenerator<Hold>
  lift(id: string, reason: string): Promise<Hold>
}

export function erasuresClient(request: Request): ErasuresClient {
  return {
    request: (what) => request('POST', '/v1/erasures', what),
    plan: (what) => request('POST', '/v1/erasures', { ...what, dryRun: true }),
    list: () =>
      everyPage(
        (query) => request<{ erasures: Erasure[]; cursor?: string }>('GET', `/v1/erasures${query}`),
        ({ erasures }) => erasures,
      ),
    get: (id) => request('GET', `/v1/erasures/${encodeURIComponent(id)}`),
  }
}

export function holdsClient(request: Request): HoldsClient {
  return {
    place: (hold) => request('POST', '/v1/holds', hold),
    list: () =>
      everyPage(
        (query) => request<{ holds: Hold[]; cursor?: string }>('GET', `/v1/holds${query}`),
        ({ holds }) => holds,
      ),
    lift: (id, reason) => request('DELETE', `/v1/holds/${encodeURIComponent(id)}`, { reason }),
  }
}

/** How long what is kept, and what is due. */
export interface RetentionClient {
  get(): Promise<RetentionState>
}

export function retentionClient(request: Request): RetentionClient {
  return { get: () => request('GET', '/v1/retention') }
}

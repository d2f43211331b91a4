import { isObject, type JsonObject } from './json.ts'
import type { RelayRequest } from './request.ts'

/**
 * What ends the ids of items of a response that is kept by who relays: which response it is. Clients refer to an item by its
 * id alone (`item_reference`), and a vendor that keeps nothing cannot find it.
 */
export function markOf({ responseId = '', kept }: Pick<RelayRequest, 'responseId' | 'kept'>): string {
  return kept?.store === true ? responseId.slice(responseId.indexOf('_')) : ''
}

/** Puts the mark to ids that lack it. */
export function markItems(items: unknown, mark: string): void {
  if (mark === '' || !Array.isArray(items)) return
  for (const item of items) if (isObject(item)) markItem(item, mark)
}

export function markItem(item: JsonObject, mark: string): void {
  if (typeof item.id === 'string' && item.id !== '' && !item.id.endsWith(mark)) item.id += mark
}

/** The id as the vendor has given it, and the rest of the response's own, where it tells of one. */
export function markedId(id: string): { own: string; response?: string } {
  const [, own, response] = MARKED.exec(id) ?? []
  return own === undefined || response === undefined ? { own: id } : { own, response }
}

const MARKED = /^(.+)_([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$/

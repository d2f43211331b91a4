import { markedId } from '@muster/models'
import type { Json } from '@muster/protocol'
import { isObject } from './json.ts'

/** Where an item names itself, or another that it answers. */
const NAMES = ['id', 'approval_request_id'] as const

export function idOf(item: Json): string | undefined {
  return isObject(item) && typeof item.id === 'string' ? item.id : undefined
}

/** Whether it names an item of a stored response. */
export function isMarked(item: Json): boolean {
  return isObject(item) && NAMES.some((name) => responseOf(item[name]) !== undefined)
}

/** The item of a stored response that stands for this one, which has an id and nothing to say. */
export function referenceIn(item: Json): { id: string; response: string } | undefined {
  if (!isObject(item)) return undefined
  const { type, id, ...rest } = item
  const response = responseOf(id)
  const isReference = type === 'item_reference' || Object.keys(rest).length === 0
  return isReference && typeof id === 'string' && response !== undefined ? { id, response } : undefined
}

/** As the model has named it. */
export function unmarked(item: Json): Json {
  if (!isMarked(item) || !isObject(item)) return item
  const named = { ...item }
  for (const name of NAMES) {
    const id = item[name]
    if (typeof id === 'string') named[name] = markedId(id).own
  }
  return named
}

function responseOf(id: Json | undefined): string | undefined {
  return typeof id === 'string' ? markedId(id).response : undefined
}

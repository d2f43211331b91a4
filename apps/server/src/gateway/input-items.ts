import { type Json, MusterError } from '@muster/protocol'
import { z } from 'zod'
import { isObject } from './json.ts'

/** Of an item's own id, and of one to list after. */
const ID_MAX = 128

/** What clients can ask for besides. All of it is there unasked, as far as it is kept. */
const INCLUDED = [
  'file_search_call.results',
  'web_search_call.results',
  'web_search_call.action.sources',
  'message.input_image.image_url',
  'computer_call_output.output.image_url',
  'code_interpreter_call.outputs',
  'reasoning.encrypted_content',
  'message.output_text.logprobs',
] as const
const one = z.enum(INCLUDED)
const include = z
  .union([one, z.array(one).max(INCLUDED.length)], { error: `must be of: ${INCLUDED.join(', ')}` })
  .optional()

export const inputItemsQuery = z.looseObject({
  limit: z.coerce.number().int().min(1).max(100).default(20),
  order: z.enum(['asc', 'desc']).default('desc').describe('`desc`: the latest first'),
  after: z.string().max(ID_MAX).optional().describe('the last item of the page before'),
  include: include.describe('what is kept of an item is all there, whether it is asked for or not'),
  // As OpenAI's clients write a list.
  'include[]': include,
  before: z
    .string()
    .refine(() => false, 'is not supported: list after an item, in the other order')
    .optional()
    .describe('refused'),
})

export const inputItemsPage = z.object({
  object: z.literal('list'),
  data: z.array(z.looseObject({ id: z.string(), type: z.string() })),
  first_id: z.string().nullable(),
  last_id: z.string().nullable(),
  has_more: z.boolean(),
})

/** What was said in a response: what was asked, and of an earlier one what was answered too. */
export interface Turn {
  run: string
  items: readonly Json[]
}

type Item = z.infer<typeof inputItemsPage>['data'][number]

/**
 * A page of what a response was made from.
 *
 * @param turns the oldest first
 * @throws MusterError `request.invalid` where there is no item to list after
 */
export function inputItems(
  turns: readonly Turn[],
  { limit, order, after }: Pick<z.infer<typeof inputItemsQuery>, 'limit' | 'order' | 'after'>,
): z.infer<typeof inputItemsPage> {
  const items = itemsOf(turns)
  if (order === 'desc') items.reverse()
  const last = after === undefined ? -1 : items.findIndex(({ id }) => id === after)
  if (after !== undefined && last < 0)
    throw new MusterError('request.invalid', `There is no item "${after}" to list after`, {
      issues: [{ path: '/after', message: 'must be the id of an item of this response' }],
    })
  const data = items.slice(last + 1, last + 1 + limit)
  return {
    ...{ object: 'list', data, first_id: data[0]?.id ?? null, last_id: data.at(-1)?.id ?? null },
    has_more: last + 1 + limit < items.length,
  }
}

/**
 * Each with an id that no other has and that it keeps, also among the items of a response that goes on from this one: its own,
 * or one of its place where it has none, or where an earlier one has the same.
 */
function itemsOf(turns: readonly Turn[]): Item[] {
  const ids = new Set<string>()
  const items: Item[] = []
  for (const { run, items: said } of turns)
    for (const [at, one] of said.entries()) {
      if (!isObject(one)) continue
      const { id: own, type: given, ...rest } = one
      const type = typeof given === 'string' ? given : 'message'
      const isOwn =
        typeof own === 'string' && own !== '' && own.length <= ID_MAX && !OF_PLACE.test(own) && !ids.has(own)
      const id = isOwn ? own : `${prefixOf(type)}_${run}_${at}`
      ids.add(id)
      items.push({ id, type, ...(HAS_STATUS.test(type) ? { status: 'completed' } : {}), ...rest, ...contentOf(rest) })
    }
  return items
}

/** As ids of a place end: the item of a client that sends it again has another place. */
const OF_PLACE = /_[0-9a-f-]{36}_\d+$/
const HAS_STATUS = /^message$|_call(_output)?$/

/** OpenAI refuses an item that is sent to it again under an id that begins otherwise. */
function prefixOf(type: string): string {
  if (type === 'message') return 'msg'
  if (type.startsWith('function_call')) return 'fc'
  if (type.startsWith('custom_tool_call')) return 'ctc'
  return type === 'reasoning' ? 'rs' : 'item'
}

/** A text as the parts that it stands for. */
function contentOf({ role, content }: { [name: string]: Json }): { content?: Json } {
  if (typeof content !== 'string') return {}
  const isAnswer = role === 'assistant'
  return {
    content: [
      isAnswer ? { type: 'output_text', text: content, annotations: [] } : { type: 'input_text', text: content },
    ],
  }
}

import type { Json } from '@muster/protocol'
import type { ModelMessage, ModelReply, ToolCall } from './message.ts'
import { isObject } from './relay/json.ts'

/** What a message of a model is made of, in its order: vendors refuse thoughts that are given back in other places. */
export type Piece = { thought: Json } | { text: string } | { call: ToolCall }

/** What stands between thoughts: so many characters of the text, and a call. */
const TEXT = 'muster.text'
const CALL = 'muster.call'

/** Thoughts as they are kept: in their places among what was said and called, where they are not all at its beginning. */
export function reasoningOf(by: string, pieces: readonly Piece[]): Pick<ModelReply, 'reasoning'> {
  const last = pieces.findLastIndex((piece) => 'thought' in piece)
  if (last === -1) return {}
  const items = pieces.slice(0, last + 1).map((piece): Json => {
    if ('thought' in piece) return piece.thought
    return 'text' in piece ? { type: TEXT, length: piece.text.length } : { type: CALL }
  })
  return { reasoning: { by, items } }
}

/** The same of a message that is given back. `isThought`: a client that was given thoughts to keep may give back what it likes. */
export function piecesOf(
  { content, toolCalls = [], reasoning }: Extract<ModelMessage, { role: 'assistant' }>,
  by: string,
  isThought: (item: Json) => boolean,
): Piece[] {
  const pieces: Piece[] = []
  const calls = [...toolCalls]
  let text = content ?? ''
  // Another model would refuse what it has not signed.
  for (const item of reasoning?.by === by ? reasoning.items : []) {
    const { type, length } = isObject(item) ? item : {}
    if (type === TEXT && typeof length === 'number') {
      pieces.push({ text: text.slice(0, length) })
      text = text.slice(length)
    } else if (type === CALL) pieces.push(...calls.splice(0, 1).map((call) => ({ call })))
    else if (isThought(item)) pieces.push({ thought: item })
  }
  return [...pieces, { text }, ...calls.map((call) => ({ call }))]
}

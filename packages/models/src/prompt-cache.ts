import type { ModelMessage, ModelRequest, Tool } from './message.ts'
import { partsOf, worded } from './parts.ts'
import type { Target } from './target.ts'

/** Where a model takes marks of what its vendor is to keep of a prompt. */
interface Marks {
  /** After a tool. */
  tools: boolean
  /** After the calls of tools and their results, and after images. */
  results: boolean
  /** After a file. */
  files: boolean
  /** They may say that it is to be kept for an hour. */
  long: boolean
}

/** More are refused. */
const MARKS_MAX = 4

const ANTHROPIC: Marks = { tools: true, results: true, files: true, long: true }
/** Bedrock refuses a point directly after a file: after those that it reads itself always, after others now and then. */
const CLAUDE: Marks = { ...ANTHROPIC, files: false, long: false }
/** It refuses them among tools, and directly after a result. */
const NOVA: Marks = { tools: false, results: false, files: false, long: false }

/**
 * Undefined where a vendor needs no marks, may not know them, or is not to be sent any: Converse refuses whole requests to
 * models that take none.
 */
export function marksOf(target: Target, model: string): Marks | undefined {
  if (target.promptCache === false) return undefined
  if ('anthropic' in target) return ANTHROPIC
  if (!('bedrock' in target)) return undefined
  // A profile does not say which model it has.
  return marksAtConverse(model) ?? (target.promptCache ? CLAUDE : undefined)
}

/** As AWS lists them. Claude 3.5 Sonnet v2 takes points of those alone who tried them early: a target can say so. */
function marksAtConverse(model: string): Marks | undefined {
  if (/\bamazon\.nova-(?:micro|lite|pro|premier|2-lite)\b/.test(model)) return NOVA
  if (/\banthropic\.claude-3-(?:7-sonnet|5-haiku)\b/.test(model)) return CLAUDE
  const [, major, minor = '0'] = /\banthropic\.claude-[a-z]+-(\d{1,2})(?:-(\d{1,2}))?(?!\d)/.exec(model) ?? []
  if (major === undefined) return undefined
  return { ...CLAUDE, long: Number(major) > 4 || Number(minor) >= 5 }
}

/**
 * The request with the marks that its target is to be given: those of a client, or those that let the next turn of a
 * conversation read what this one had.
 */
export function marked(target: Target, model: string, request: ModelRequest): ModelRequest {
  const marks = marksOf(target, model)
  if (!marks) return request
  const { messages, tools } = request
  const wanted = request.isMarked ? inOrder(request).filter(({ cache }) => cache) : placesIn(request, marks)
  // Of more than are taken the last, since what is before them is read with them.
  const taken = new Set(wanted.filter((one) => isTakenAfter(one, marks)).slice(-MARKS_MAX))
  const told = <T extends ModelMessage | Tool>(one: T): T => {
    const { cache = '5m', ...rest } = one
    return { ...rest, ...(taken.has(one) ? { cache: marks.long ? cache : '5m' } : {}) } as T // as it was but for the mark
  }
  return { ...request, messages: messages.map(told), ...(tools ? { tools: tools.map(told) } : {}) }
}

/** As vendors read a prompt. */
function inOrder({ messages, tools = [] }: ModelRequest): (ModelMessage | Tool)[] {
  const [system, others] = [messages.filter(isSystem), messages.filter((message) => !isSystem(message))]
  return [...tools, ...system, ...others]
}

/**
 * After what conversations have in common, and after the last two turns of the user: at the first of these the request
 * before had its mark, and what is farther back than twenty blocks, or not marked, is not looked for.
 *
 * What is written to a cache costs more than other input: where nobody is likely to read it, there is none.
 */
function placesIn({ messages, tools = [], settings }: ModelRequest, marks: Marks): (ModelMessage | Tool)[] {
  const isOffered = tools.length > 0 && settings?.toolChoice !== 'none'
  if (!isOffered && !messages.some(({ role }) => role === 'assistant')) return []
  const said = messages.filter((message) => !isSystem(message))
  const ends = said.filter(
    ({ role }, at) => role !== 'assistant' && (said[at + 1]?.role ?? 'assistant') === 'assistant',
  )
  // The tools are before the instructions, and kept with them.
  const common = messages.findLast((message) => isSystem(message) && isTakenAfter(message, marks)) ?? tools.at(-1)
  return [...(common ? [common] : []), ...ends.filter((message) => isTakenAfter(message, marks)).slice(-2)]
}

function isSystem(message: ModelMessage): message is Extract<ModelMessage, { role: 'system' }> {
  return message.role === 'system'
}

function isTakenAfter(one: ModelMessage | Tool, { tools, results, files }: Marks): boolean {
  if (!('role' in one)) return tools
  if (one.role === 'assistant') return results || !one.toolCalls?.length
  if (one.role === 'tool' && !results) return false
  const parts = worded(partsOf(one.content))
  // It is one block, whatever is in it.
  if (one.role === 'tool') return files || parts.every(({ type }) => type !== 'file')
  const last = parts.at(-1)?.type
  return last === 'text' || (last === 'image' && results) || (last === 'file' && files)
}

import {
  type Policy,
  type PolicyJson,
  policyToJson,
  policyToText,
  type Template,
  templateToJson,
  templateToText,
} from '@cedar-policy/cedar-wasm/nodejs'
import { Irregular } from './irregular.ts'

/** A policy or template as a checked tree, and how integers beyond 2^53 are written in it. */
export interface Source {
  readonly json: PolicyJson
  /** What a string literal in the tree begins with when it stands for an integer. */
  readonly longs: string
}

/**
 * Parses a policy by Cedar's own parser. That hands the tree over as JSON with numbers, which rounds
 * integers beyond 2^53. So these go through it as string literals with a mark that the text has nowhere
 * else.
 *
 * @throws Irregular with Cedar's message when Cedar does not take the policy
 */
export function readSource(policy: Policy | Template, kind: 'policy' | 'template'): Source {
  const mark = (text: string): string => {
    let mark = 'long:'
    while (text.includes(mark)) mark = `_${mark}`
    return mark
  }
  let text: string
  let longs: string
  if (typeof policy === 'string') {
    // Before its integers are strings: as they stand they must be in range.
    toJson(policy, kind)
    longs = mark(policy)
    text = withMarks(policy, longs)
  } else {
    const written = JSON.stringify(policy, (_, value) => (typeof value === 'bigint' ? '' : value))
    longs = mark(written)
    const marked: PolicyJson = JSON.parse(
      JSON.stringify(policy, (_, value) => (typeof value === 'bigint' ? `${longs}${value}` : value)),
    )
    const answer = kind === 'policy' ? policyToText(marked) : templateToText(marked)
    if (answer.type === 'failure') throw new Irregular(answer.errors.map((error) => error.message).join('; '))
    text = withMarks(answer.text, longs)
  }
  return { json: toJson(text, kind), longs }
}

function toJson(text: string, kind: 'policy' | 'template'): PolicyJson {
  const answer = kind === 'policy' ? policyToJson(text) : templateToJson(text)
  if (answer.type === 'failure') throw new Irregular(answer.errors.map((error) => error.message).join('; '))
  return answer.json
}

/** The tokens of Cedar that may hold digits: strings, comments, names, integers. */
const TOKENS = /"(?:[^"\\]|\\.)*"|\/\/[^\n\r]*|[_a-zA-Z]\w*|\d+/gs

function withMarks(text: string, longs: string): string {
  return text.replace(TOKENS, (token) =>
    /^\d/.test(token) && !Number.isSafeInteger(Number(token)) ? `"${longs}${BigInt(token)}"` : token,
  )
}

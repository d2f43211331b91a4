import { type Json, MusterError } from '@muster/protocol'
import type { Embed, EmbedRequest } from '../embed.ts'
import type { JsonObject } from './json.ts'
import type { Begun } from './passthrough.ts'
import type { RelayRequest } from './request.ts'
import type { Unsaid } from './translation.ts'
import { Gatekeeper } from './wire.ts'

/** Texts of one request, as OpenAI has it. */
const TEXTS_MAX = 2048
const KNOWN = new Set(['model', 'input', 'user', 'encoding_format', 'dimensions', 'input_type'])

/** OpenAI's embeddings, asked of a target that speaks otherwise. */
export async function translateEmbeddings(
  { body, signal, begins }: Pick<RelayRequest, 'body' | 'signal' | 'begins'>,
  model: string,
  embed: Embed | undefined,
  unsaid: Unsaid,
): Promise<Begun> {
  if (!embed) {
    const message = 'embeddings cannot be asked of this target'
    throw new MusterError('model.unsupported', `${model}: ${message}`, { issues: [{ path: '/model', message }] })
  }
  const asked = read(body, unsaid)
  unsaid.check(model)
  const answer = await embed({ ...asked, signal, begins })
  const { inputTokens } = answer
  const data = answer.vectors.map((vector, index) => ({
    object: 'embedding',
    index,
    embedding: body.encoding_format === 'base64' ? base64Of(vector) : vector,
  }))
  const whole = {
    ...{ object: 'list', data, model: answer.model },
    usage: { prompt_tokens: inputTokens, total_tokens: inputTokens },
  }
  const usage = { inputTokens, outputTokens: 0, cachedTokens: 0 }
  return { gate: new Gatekeeper(undefined), end: async () => ({ whole, usage, model: answer.model }) }
}

function read(body: JsonObject, unsaid: Unsaid): Omit<EmbedRequest, 'signal'> {
  unsaid.only(body, '', KNOWN)
  const { input, encoding_format = 'float', input_type } = body
  if (encoding_format !== null && encoding_format !== 'float' && encoding_format !== 'base64')
    unsaid.refuse('/encoding_format', 'must be float or base64')
  if (input_type !== undefined && input_type !== null && typeof input_type !== 'string')
    unsaid.refuse('/input_type', 'must be a text')
  const dimensions = unsaid.number(body, 'dimensions')
  if (JSON.isRawJSON(dimensions)) unsaid.refuse('/dimensions', 'has more digits than can be said to this target')
  return {
    texts: textsOf(input, unsaid),
    ...(typeof dimensions === 'number' ? { dimensions } : {}),
    ...(typeof input_type === 'string' ? { purpose: input_type } : {}),
  }
}

function textsOf(input: Json | undefined, unsaid: Unsaid): string[] {
  const given = typeof input === 'string' ? [input] : unsaid.list(input, '/input')
  if (given.length === 0 || given.length > TEXTS_MAX) unsaid.refuse('/input', `must be 1 to ${TEXTS_MAX} texts`)
  return given.map((text, at) => {
    if (typeof text === 'string' && text !== '') return text
    // Tokens are those of one vendor's models.
    unsaid.refuse(
      typeof input === 'string' ? '/input' : `/input/${at}`,
      'only a text that is not empty can be said here',
    )
    return ''
  })
}

/** As OpenAI's clients ask for it: numbers of 32 bits, the low byte first. */
function base64Of(vector: readonly number[]): string {
  const bytes = Buffer.alloc(vector.length * 4)
  for (const [at, value] of vector.entries()) bytes.writeFloatLE(value, at * 4)
  return bytes.toString('base64')
}

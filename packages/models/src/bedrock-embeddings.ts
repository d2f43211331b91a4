import { type BedrockRuntimeClient, InvokeModelCommand } from '@aws-sdk/client-bedrock-runtime'
import { MusterError, sideBySide } from '@muster/protocol'
import type { Embedded, EmbedRequest } from './embed.ts'
import { isObject } from './relay/json.ts'
import { estimatedOf } from './tokens.ts'

/** How the embedding models of one family are asked. */
interface Family {
  /** Texts of one call. */
  textsMax: number
  /** Lengths that a vector can have; none can be asked for where it is empty. */
  dimensions: readonly number[]
  /** Whether texts are told apart by what they are for. */
  hasPurpose: boolean
  bodyOf(texts: readonly string[], request: EmbedRequest): object
  vectorsOf(answer: Answer): unknown
}

/** As the models answer, as far as it is read. */
interface Answer {
  embedding?: unknown
  inputTextTokenCount?: unknown
  embeddings?: unknown
}

const titan: Family = {
  textsMax: 1,
  dimensions: [256, 512, 1024],
  hasPurpose: false,
  bodyOf: ([inputText], { dimensions }) => ({ inputText, ...(dimensions === undefined ? {} : { dimensions }) }),
  vectorsOf: ({ embedding }) => [embedding],
}
const cohere: Family = {
  textsMax: 96,
  dimensions: [],
  hasPurpose: true,
  bodyOf: (texts, { purpose = 'search_document', dimensions }) => ({
    texts,
    input_type: purpose,
    // What is too long is refused, as elsewhere, and not cut.
    truncate: 'NONE',
    embedding_types: ['float'],
    ...(dimensions === undefined ? {} : { output_dimension: dimensions }),
  }),
  vectorsOf: ({ embeddings }) => (isObject(embeddings) ? embeddings.float : embeddings),
}

/** By the model's id, with or without the region of an inference profile. */
const FAMILIES: [id: RegExp, family: Family][] = [
  [/(?:^|[./])amazon\.titan-embed-text-v1/, { ...titan, dimensions: [] }],
  [/(?:^|[./])amazon\.titan-embed-text-v2/, titan],
  [/(?:^|[./])cohere\.embed-(?:english|multilingual)-v3/, cohere],
  [/(?:^|[./])cohere\.embed-v4/, { ...cohere, dimensions: [256, 512, 1024, 1536] }],
]

/** Calls of one request that are under way at once. */
const CALLS_MAX = 8

/** Vectors of texts, by InvokeModel: as many calls as the model needs. */
export async function embedded(
  client: Pick<BedrockRuntimeClient, 'send'>,
  model: string,
  request: EmbedRequest,
): Promise<Embedded> {
  const family = FAMILIES.find(([id]) => id.test(model))?.[1]
  check(model, family, request)
  const { textsMax, bodyOf, vectorsOf } = family
  const { texts } = request
  const failed = new AbortController()
  const signal = AbortSignal.any([request.signal, failed.signal])
  const pieces = Array.from({ length: Math.ceil(texts.length / textsMax) }, (_, i) =>
    texts.slice(i * textsMax, (i + 1) * textsMax),
  )
  const vectors: number[][][] = []
  let inputTokens: number | undefined = 0
  const done: string[] = []

  const used = () => ({
    model,
    usage: { inputTokens: inputTokens ?? estimatedOf(done), outputTokens: 0, cachedTokens: 0 },
  })

  async function ask(at: number, piece: readonly string[]): Promise<void> {
    const { answer, tokens } = await invoked(client, model, bodyOf(piece, request), signal)
    inputTokens = tokens === undefined || inputTokens === undefined ? undefined : inputTokens + tokens
    if (done.length === 0) request.begins?.(used)
    done.push(...piece)
    const found = vectorsIn(vectorsOf(answer))
    if (found.length !== piece.length)
      throw new MusterError('model.failed', `${model} gave ${found.length} vectors for ${piece.length} texts`)
    vectors[at] = found
  }

  try {
    await sideBySide(CALLS_MAX, pieces.entries(), ([at, piece]) => ask(at, piece))
  } finally {
    failed.abort()
  }
  return { vectors: vectors.flat(), inputTokens: used().usage.inputTokens, model }
}

/** Those that are some: of what a server says else nobody could go on with a number. */
function vectorsIn(given: unknown): number[][] {
  const vectors: unknown[] = Array.isArray(given) ? given : []
  return vectors.filter((one): one is number[] => Array.isArray(one) && one.every(Number.isFinite))
}

function check(
  model: string,
  family: Family | undefined,
  { dimensions, purpose }: EmbedRequest,
): asserts family is Family {
  const refused = (path: string, message: string) =>
    new MusterError('model.unsupported', `${model}: ${path} ${message}`, { issues: [{ path, message }] })
  if (!family) throw refused('/model', 'is no embedding model that can be asked at Bedrock')
  const { dimensions: possible, hasPurpose } = family
  if (dimensions !== undefined && !possible.includes(dimensions))
    throw refused('/dimensions', possible.length === 0 ? 'cannot be chosen' : `must be one of ${possible.join(', ')}`)
  if (purpose !== undefined && !hasPurpose) throw refused('/input_type', 'cannot be said to this target')
}

const TOKENS = 'x-amzn-bedrock-input-token-count'

async function invoked(
  client: Pick<BedrockRuntimeClient, 'send'>,
  modelId: string,
  body: object,
  abortSignal: AbortSignal,
): Promise<{ answer: Answer; tokens: number | undefined }> {
  const command = new InvokeModelCommand({
    ...{ modelId, contentType: 'application/json', accept: 'application/json' },
    body: JSON.stringify(body),
  })
  let counted: string | undefined
  // The SDK gives no headers.
  command.middlewareStack.add(
    (next) => async (args) => {
      const result = await next(args)
      const { headers } = result.response as { headers?: Record<string, string> }
      counted = headers?.[TOKENS]
      return result
    },
    { step: 'deserialize', name: 'musterInputTokens' },
  )
  const { body: bytes } = await client.send(command, { abortSignal })
  const answer = answerIn(modelId, bytes.transformToString())
  const tokens = counted === undefined ? answer.inputTextTokenCount : Number(counted)
  return { answer, tokens: typeof tokens === 'number' && Number.isFinite(tokens) ? tokens : undefined }
}

function answerIn(model: string, text: string): Answer {
  try {
    const answer: unknown = JSON.parse(text)
    if (isObject(answer)) return answer
  } catch {
    // Told below.
  }
  throw new MusterError('model.unavailable', `${model}: the answer is none`)
}

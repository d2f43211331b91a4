import { hash } from 'node:crypto'
import {
  BedrockRuntimeClient,
  BedrockRuntimeServiceException,
  type CachePointBlock,
  type ContentBlock,
  ConverseCommand,
  type ConverseCommandInput,
  ConverseStreamCommand,
  type ConverseStreamOutput,
  type DocumentBlock,
  type ImageBlock,
  type Message,
  type ReasoningContentBlock,
  type TokenUsage,
  type Tool,
  type ToolConfiguration,
} from '@aws-sdk/client-bedrock-runtime'
import { type ExactNumber, type Json, type JsonSchema, MusterError, type Usage } from '@muster/protocol'
import { NodeHttpHandler } from '@smithy/node-http-handler'
import { Cut, codeOf, isQuota, refusalIn } from './bedrock-error.ts'
import { CONVERSE, FORMATS } from './converse.ts'
import { type AwsNumber, awsDocumentText, awsNumber, exactObject } from './exact-json.ts'
import type { FilePart, ImagePart, ModelMessage, ModelRequest, ModelSettings, Part } from './message.ts'
import { isWorded, partsOf, worded } from './parts.ts'
import { plainSchema } from './plain-schema.ts'
import { cacheWrites } from './price.ts'
import { type Answer, cutAt, failure, type Provider, QuotaUsedUp, retryAfterMs } from './provider.ts'
import type { BedrockTarget } from './target.ts'
import { type Piece, piecesOf, reasoningOf } from './thoughts.ts'
import { estimated, estimatedOf } from './tokens.ts'

/** What Converse gives, at once or piece by piece. */
interface Converse {
  blocks: ContentBlock[]
  /** Inputs of tool uses as they were written, by their ids, where they came in pieces. */
  inputs: Map<string, string>
  stopReason: string | undefined
  usage: TokenUsage | undefined
}

/** Amazon Bedrock by Converse and ConverseStream: Claude, Llama, Nova, Mistral and others. */
export function bedrock(target: BedrockTarget): Required<Provider> {
  const { region, endpoint } = target.bedrock
  const client = new BedrockRuntimeClient({
    region,
    maxAttempts: 1,
    // Of HTTP/2's one connection all calls would die together, and no gateway between may lack it.
    requestHandler: new NodeHttpHandler({ connectionTimeout: 10_000 }),
    ...(endpoint === undefined ? {} : { endpoint }),
    ...(target.apiKey === undefined
      ? {}
      : { token: { token: target.apiKey }, authSchemePreference: ['httpBearerAuth'] }),
  })

  return {
    ...CONVERSE,
    async complete(model, request) {
      const by = `bedrock ${region} ${model}`
      const answerTool = answerToolOf(target, request)
      const input = inputOf(target, model, by, request, answerTool)
      const { onDelta, signal } = request
      const begins = (got: Converse) => {
        const used = (told: TokenUsage | undefined) => (told ? usageOf(told) : estimatedSoFar(request, got))
        request.begins?.(() => ({ model, usage: used(got.usage) }))
      }
      try {
        const got = onDelta
          ? await streamed(client, input, signal, begins, (text, tool) => {
              // What is beside an answer that must match is no part of it.
              if (tool === (request.output ? answerTool?.name : undefined)) onDelta(text)
            })
          : await plain(client, input, signal, begins)
        return answerOf(model, by, request, got, usageOf(got.usage), answerTool)
      } catch (error) {
        throw told(model, error, signal)
      }
    },
    async embed(model, request) {
      const { embedded } = await import('./bedrock-embeddings.ts')
      try {
        return await embedded(client, model, request)
      } catch (error) {
        throw told(model, error, request.signal)
      }
    },
  }

  function told(model: string, error: unknown, signal: AbortSignal | undefined): unknown {
    if (signal?.aborted || error instanceof MusterError) return error
    const headers = (error as { $response?: { headers?: Record<string, string> } }).$response?.headers
    return failure(
      codeOf(error),
      { model, apiKey: target.apiKey },
      refusalIn(error),
      retryAfterMs((name) => headers?.[name]),
      isQuota(error) ? QuotaUsedUp : MusterError,
    )
  }
}

async function plain(
  client: BedrockRuntimeClient,
  input: ConverseCommandInput,
  abortSignal: AbortSignal | undefined,
  begins: (got: Converse) => void,
): Promise<Converse> {
  const { output, stopReason, usage } = await client.send(
    new ConverseCommand(input),
    abortSignal ? { abortSignal } : {},
  )
  const got = { blocks: output?.message?.content ?? [], inputs: new Map(), stopReason, usage }
  begins(got)
  return got
}

async function streamed(
  client: BedrockRuntimeClient,
  input: ConverseCommandInput,
  abortSignal: AbortSignal | undefined,
  begins: (got: Converse) => void,
  /** `tool`: the text is a piece of what that tool is called with. */
  onText: (text: string, tool: string | undefined) => void,
): Promise<Converse> {
  const { stream } = await client.send(new ConverseStreamCommand(input), abortSignal ? { abortSignal } : {})
  const pieces = new Pieces(onText)
  // Where it tells of a failure first, that was thrown above.
  begins(pieces)
  try {
    for await (const event of stream ?? []) pieces.take(event)
  } catch (error) {
    if (error instanceof BedrockRuntimeServiceException) throw error
    // A frame that is not one, or a connection that is gone.
    throw new Cut(error instanceof Error ? error.message : String(error), { cause: error })
  }
  // Its usage comes last: without it the answer would look as if it had cost nothing.
  if (pieces.stopReason === undefined || !pieces.usage) throw new Cut('the stream ended before the answer did')
  return pieces
}

/** Puts the blocks of an answer together. */
class Pieces implements Converse {
  readonly inputs = new Map<string, string>()
  stopReason: string | undefined
  usage: TokenUsage | undefined
  readonly #blocks = new Map<number, ContentBlock>()
  readonly #onText: (text: string, tool: string | undefined) => void

  constructor(onText: (text: string, tool: string | undefined) => void) {
    this.#onText = onText
  }

  get blocks(): ContentBlock[] {
    return [...this.#blocks].sort(([a], [b]) => a - b).map(([, block]) => block)
  }

  take({ contentBlockStart, contentBlockDelta, messageStop, metadata }: ConverseStreamOutput): void {
    if (contentBlockStart?.start?.toolUse) {
      const { toolUseId, name } = contentBlockStart.start.toolUse
      this.#blocks.set(contentBlockStart.contentBlockIndex ?? 0, { toolUse: { toolUseId, name, input: {} } })
    }
    if (contentBlockDelta?.delta) this.#add(contentBlockDelta.contentBlockIndex ?? 0, contentBlockDelta.delta)
    if (messageStop) this.stopReason = messageStop.stopReason
    if (metadata) this.usage = metadata.usage
  }

  #add(
    index: number,
    {
      text,
      toolUse,
      reasoningContent,
    }: NonNullable<ConverseStreamOutput.ContentBlockDeltaMember['contentBlockDelta']['delta']>,
  ): void {
    const block = this.#blocks.get(index)
    if (text !== undefined) {
      this.#blocks.set(index, { text: (block?.text ?? '') + text })
      this.#onText(text, undefined)
    } else if (toolUse && block?.toolUse) {
      const { toolUseId = '', name } = block.toolUse
      this.inputs.set(toolUseId, (this.inputs.get(toolUseId) ?? '') + (toolUse.input ?? ''))
      this.#onText(toolUse.input ?? '', name)
    } else if (reasoningContent) {
      const { text: thought = '', signature, redactedContent } = reasoningContent
      const before = block?.reasoningContent?.reasoningText
      const sealed = signature ?? before?.signature
      this.#blocks.set(index, {
        reasoningContent: redactedContent
          ? { redactedContent }
          : {
              reasoningText: {
                text: (before?.text ?? '') + thought,
                ...(sealed === undefined ? {} : { signature: sealed }),
              },
            },
      })
    }
  }
}

/** The tool that a model must call to give an answer that matches. */
interface AnswerTool {
  name: string
  schema: JsonSchema
}

function answerToolOf({ bedrock }: BedrockTarget, { output, tools }: ModelRequest): AnswerTool | undefined {
  if (!output || bedrock.structured === 'schema') return undefined
  let { name } = output
  while (tools?.some((tool) => tool.name === name)) name += '_'
  return { name, schema: output.schema }
}

function inputOf(
  { bedrock: { guardrail } }: BedrockTarget,
  model: string,
  by: string,
  { messages, tools = [], output, settings = {} }: ModelRequest,
  answerTool: AnswerTool | undefined,
): ConverseCommandInput {
  const system = messages.flatMap((message) =>
    message.role === 'system' && isWorded(message.content) ? [{ text: message.content }, ...pointOf(message)] : [],
  )
  const { toolChoice } = settings
  // There is no word for `none`: then no tool is offered.
  const offered = (toolChoice === 'none' ? [] : tools).flatMap(
    ({ name, description, parameters, cache }, at): Tool[] => [
      toolSpec(name, description, documentOf(parameters, `/tools/${at}/parameters`)),
      ...pointOf({ cache }),
    ],
  )
  if (answerTool)
    offered.push(toolSpec(answerTool.name, 'Gives the answer.', documentOf(answerTool.schema, '/response_format')))
  // A conversation that tells of calls is refused where no tool is offered, as after a handover.
  if (offered.length === 0) {
    for (const name of new Set(messages.flatMap(namesOfCalls)))
      offered.push(toolSpec(name, 'Not to be called any more.', { type: 'object' }))
  }
  return {
    modelId: model,
    messages: toWire(messages, by),
    ...(system.length > 0 ? { system } : {}),
    ...inferenceOf(settings),
    ...(offered.length > 0
      ? {
          toolConfig: {
            tools: offered,
            ...(answerTool
              ? { toolChoice: offered.length > 1 ? { any: {} } : { tool: { name: answerTool.name } } }
              : choiceOf(toolChoice)),
          },
        }
      : {}),
    ...(output && !answerTool
      ? {
          outputConfig: {
            textFormat: {
              type: 'json_schema',
              structure: {
                jsonSchema: { name: output.name, schema: JSON.stringify(plainSchema(output.schema, '/output')) },
              },
            },
          },
        }
      : {}),
    ...(guardrail
      ? { guardrailConfig: { guardrailIdentifier: guardrail.id, guardrailVersion: guardrail.version } }
      : {}),
  }
}

function choiceOf(toolChoice: ModelSettings['toolChoice']): Pick<ToolConfiguration, 'toolChoice'> {
  if (toolChoice === undefined || toolChoice === 'none') return {}
  if (typeof toolChoice !== 'string') return { toolChoice: { tool: toolChoice } }
  return { toolChoice: toolChoice === 'required' ? { any: {} } : { auto: {} } }
}

function inferenceOf({
  maxTokens,
  temperature,
  topP,
  stop,
}: ModelSettings): Pick<ConverseCommandInput, 'inferenceConfig'> {
  const inferenceConfig = {
    ...(maxTokens === undefined ? {} : { maxTokens: double(maxTokens, '/max_tokens') }),
    ...(temperature === undefined ? {} : { temperature: double(temperature, '/temperature') }),
    ...(topP === undefined ? {} : { topP: double(topP, '/top_p') }),
    ...(stop === undefined ? {} : { stopSequences: stop }),
  }
  return Object.keys(inferenceConfig).length > 0 ? { inferenceConfig } : {}
}

/** The SDK's own numbers are doubles. */
function double(number: number | ExactNumber, path: string): number {
  if (typeof number === 'number') return number
  throw rounded(number.rawJSON, path)
}

function rounded(number: string, path: string): MusterError {
  const message = `${number.slice(0, 40)} would be rounded on its way to this target: give it as a text, or with fewer digits`
  return new MusterError('model.unsupported', `${path}: ${message}`, { issues: [{ path, message }] })
}

function namesOfCalls(message: ModelMessage): string[] {
  return message.role === 'assistant' ? (message.toolCalls ?? []).map((call) => call.name) : []
}

function toolSpec(name: string, description: string, json: DocumentObject): Tool.ToolSpecMember {
  return {
    toolSpec: { name, inputSchema: { json }, ...(description === '' ? {} : { description }) },
  } as Tool.ToolSpecMember
}

/**
 * Turns alternate between user and assistant, results of tools are the user's, nothing may be empty, no two files may have
 * one name, and beside a file there must be a text.
 */
function toWire(messages: readonly ModelMessage[], by: string): Message[] {
  const wire: (Message & { content: ContentBlock[] })[] = []
  const names = new Set<string>()
  for (const [at, message] of messages.entries()) {
    if (message.role === 'system') continue
    const role = message.role === 'assistant' ? 'assistant' : 'user'
    const content = blocksOf(message, at, by, names)
    if (content.length === 0) continue
    // Directly after what was thought none is taken.
    if (!content.at(-1)?.reasoningContent) content.push(...pointOf(message))
    const last = wire.at(-1)
    if (last?.role === role) last.content.push(...content)
    else wire.push({ role, content })
  }
  for (const { content } of wire) {
    const files = content.flatMap(({ document }) => (document ? [`[the file ${document.name}]`] : []))
    if (files.length > 0 && !content.some(({ text }) => text !== undefined)) content.push({ text: files.join(' ') })
  }
  return wire
}

function pointOf({ cache }: Pick<ModelMessage, 'cache'>): { cachePoint: CachePointBlock }[] {
  return cache ? [{ cachePoint: { type: 'default', ...(cache === '5m' ? {} : { ttl: cache }) } }] : []
}

function blocksOf(message: ModelMessage, at: number, by: string, names: Set<string>): ContentBlock[] {
  const told = (content: string | readonly Part[]) => worded(partsOf(content)).map((part) => partToWire(part, names))
  if (message.role === 'tool') {
    const content = told(message.content)
    return [
      {
        toolResult: {
          toolUseId: wireId(message.callId),
          content: content.length > 0 ? content : [{ text: '""' }],
        },
      },
    ]
  }
  if (message.role !== 'assistant') return told(message.content)
  let index = 0
  return piecesOf(message, by, () => true).flatMap((piece): ContentBlock[] => {
    if ('thought' in piece) return [{ reasoningContent: reasoningBlock(piece.thought) }]
    if ('text' in piece) return isWorded(piece.text) ? [{ text: piece.text }] : []
    const { id, name, arguments: args } = piece.call
    const input = parsed(args, `/messages/${at}/tool_calls/${index++}/arguments`)
    return [{ toolUse: { toolUseId: wireId(id), name, input } }]
  })
}

function partToWire(
  part: Part,
  names: Set<string>,
): { text: string } | { image: ImageBlock } | { document: DocumentBlock } {
  if (part.type === 'text') return { text: part.text }
  return part.type === 'image' ? { image: imageToWire(part) } : { document: fileToWire(part, names) }
}

function imageToWire(image: ImagePart): ImageBlock {
  // By its address it was refused, see `media`.
  if ('url' in image) return { format: undefined, source: undefined }
  // One of the four that there are: `whyNot` has looked.
  const format = image.mediaType.slice('image/'.length) as ImageBlock['format']
  return { format, source: { bytes: Buffer.from(image.data, 'base64') } }
}

function fileToWire({ name, mediaType, data }: FilePart, names: Set<string>): DocumentBlock {
  return {
    // One of them: `whyNot` has looked.
    format: FORMATS[mediaType as keyof typeof FORMATS],
    name: ownName(name, names),
    source: { bytes: Buffer.from(data, 'base64') },
  }
}

/** A name as Converse takes it, which no file before has. */
function ownName(name: string, names: Set<string>): string {
  const cleaned =
    name
      .replace(/[^a-zA-Z0-9()[\]-]+/g, ' ')
      .trim()
      .slice(0, 190)
      .trim() || 'file'
  let own = cleaned
  for (let count = 2; names.has(own.toLowerCase()); count++) own = `${cleaned} (${count})`
  names.add(own.toLowerCase())
  return own
}

/** Ids that another vendor gave may hold what Converse refuses. */
function wireId(id: string): string {
  return /^[a-zA-Z0-9_-]{1,64}$/.test(id) ? id : hash('sha256', id, 'hex')
}

function documentOf(schema: JsonSchema, path: string): DocumentObject {
  return parsed(JSON.stringify(schema), path)
}

/** What a tool was called with, which must be an object here. */
function parsed(text: string, path: string): DocumentObject {
  const input = exactObject<AwsNumber>(text || '{}', (source) => {
    const number = awsNumber(source)
    if (number !== undefined) return number
    throw rounded(source, path)
  })
  // The SDK's type of a document has no such numbers, which it takes and gives.
  return (input ?? { arguments: text }) as DocumentObject
}

type DocumentObject = NonNullable<ContentBlock.ToolUseMember['toolUse']['input']>

function reasoningBlock(item: Json): ReasoningContentBlock {
  const { text, signature, redacted } = item as { text?: string; signature?: string; redacted?: string }
  if (redacted !== undefined) return { redactedContent: Buffer.from(redacted, 'base64') }
  return { reasoningText: { text, ...(signature === undefined ? {} : { signature }) } }
}

function reasoningItem({ reasoningText, redactedContent }: ReasoningContentBlock): Json {
  if (redactedContent) return { redacted: Buffer.from(redactedContent).toString('base64') }
  const { text = '', signature } = reasoningText ?? {}
  return { text, ...(signature === undefined ? {} : { signature }) }
}

function answerOf(
  model: string,
  by: string,
  request: ModelRequest,
  { blocks, inputs, stopReason }: Converse,
  usage: Usage,
  answerTool: AnswerTool | undefined,
): Answer {
  let cut: Pick<Answer, 'cut'> = {}
  switch (stopReason) {
    case 'end_turn':
    case 'stop_sequence':
    case 'tool_use':
      break
    case 'max_tokens':
    case 'model_context_window_exceeded':
      cut = cutAt(model, 'length', request)
      break
    case 'content_filtered':
    case 'guardrail_intervened':
      cut = cutAt(model, 'filter', request)
      break
    default:
      throw new MusterError('model.failed', `${model} stopped: ${stopReason ?? 'without a reason'}`)
  }
  let text: string | null = null
  let answer: string | undefined
  const toolCalls: Answer['toolCalls'] = []
  const pieces: Piece[] = []
  for (const { text: part, toolUse, reasoningContent } of blocks) {
    if (part !== undefined) {
      text = (text ?? '') + part
      pieces.push({ text: part })
    }
    if (reasoningContent) pieces.push({ thought: reasoningItem(reasoningContent) })
    if (!toolUse) continue
    const { toolUseId = '', name = '' } = toolUse
    // Without parameters nothing is written at all.
    const args = inputs.get(toolUseId) || awsDocumentText(toolUse.input ?? {})
    if (name === answerTool?.name) {
      answer = args
      continue
    }
    const call = { id: toolUseId, name, arguments: args }
    toolCalls.push(call)
    pieces.push({ call })
  }
  if (blocks.length === 0 && !cut.cut && !request.mayBeCut)
    throw new MusterError('model.failed', `${model} gave no answer`)
  return {
    ...cut,
    text: answer ?? text,
    toolCalls,
    // What was said beside an answer by a tool is not kept.
    ...reasoningOf(by, answer === undefined ? pieces : pieces.filter((piece) => !('text' in piece))),
    usage,
    model,
  }
}

/** Of an answer that does not tell, since that comes last: what was sent, and written so far. */
function estimatedSoFar(request: ModelRequest, { blocks, inputs }: Converse): Usage {
  const texts = [
    ...blocks.flatMap(({ text = '', reasoningContent }) => [text, reasoningContent?.reasoningText?.text ?? '']),
    ...inputs.values(),
  ]
  const written = texts.filter((text) => text !== '')
  return { inputTokens: estimated(request), outputTokens: estimatedOf(written), cachedTokens: 0 }
}

function usageOf(usage: TokenUsage | undefined): Usage {
  const { inputTokens = 0, outputTokens = 0, cacheReadInputTokens = 0, cacheWriteInputTokens = 0 } = usage ?? {}
  const long = usage?.cacheDetails?.find(({ ttl }) => ttl === '1h')?.inputTokens ?? 0
  return {
    // Here cached tokens are counted beside the input.
    inputTokens: inputTokens + cacheReadInputTokens + cacheWriteInputTokens,
    outputTokens,
    cachedTokens: cacheReadInputTokens,
    ...cacheWrites(cacheWriteInputTokens, long),
  }
}

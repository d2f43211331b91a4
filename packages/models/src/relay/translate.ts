import type { Embed } from '../embed.ts'
import type { ModelReply, ModelRequest, ModelSettings } from '../message.ts'
import { marksOf } from '../prompt-cache.ts'
import type { Answer, Provider } from '../provider.ts'
import { dialectOf, type Target } from '../target.ts'
import type { Begun, Ended } from './passthrough.ts'
import type { Dialect, RelayRequest } from './request.ts'
import { chatTranslation } from './translate-chat.ts'
import { translateEmbeddings } from './translate-embeddings.ts'
import { messagesTranslation } from './translate-messages.ts'
import { responsesTranslation } from './translate-responses.ts'
import { type Said, type Teller, type Translation, Unsaid } from './translation.ts'
import { Gatekeeper } from './wire.ts'

const translations: Record<Exclude<Dialect, 'embeddings'>, Translation> = {
  chat: chatTranslation,
  responses: responsesTranslation,
  messages: messagesTranslation,
}

interface Asked {
  target: Target
  model: string
  provider: Provider
  call(request: ModelRequest): Promise<Answer>
  /** Absent where it has no embeddings, or is asked for them in another way. */
  embed: Embed | undefined
}

/** Asks a server that speaks otherwise than the client, and tells its answer as the client speaks. */
export async function translate(
  request: RelayRequest,
  { target, model, provider, call, embed }: Asked,
): Promise<Begun> {
  const { dialect, body, signal, idempotencyKey, responseId, kept, begins } = request
  const unsaid = new Unsaid(provider.media, marksOf(target, model) !== undefined)
  if (dialect === 'embeddings') return translateEmbeddings(request, model, embed, unsaid)
  const translation = translations[dialect]
  const asked: ModelRequest = { ...translation.read(body, unsaid), mayBeCut: true, signal, idempotencyKey }
  if (begins) asked.begins = begins
  for (const name of Object.keys(asked.settings ?? {}) as (keyof ModelSettings)[]) // its own names
    if (!provider.settings.includes(name)) unsaid.refuse(translation.paths[name], 'cannot be said to this target')
  if (isContinued(asked, target)) unsaid.refuse(translation.said, CONTINUED)
  if (isAnswerTool(target) && asked.output && asked.settings?.toolChoice)
    unsaid.refuse(translation.paths.toolChoice, 'cannot be said to this target beside the schema of an answer')
  unsaid.check(model)
  const gate = new Gatekeeper(request.gate)
  const teller = translation.teller({ body, model, responseId, kept })
  const ended = (reply: Answer, said: Said): Ended => ({
    whole: teller.whole(said),
    usage: reply.usage,
    model: reply.model,
  })
  if (!body.stream) {
    const reply = await call(asked)
    const said = await judged(reply, gate)
    return { gate, end: async () => ended(reply, said) }
  }
  const left = new AbortController()
  const until = AbortSignal.any([signal, left.signal])
  const pieces = new Pieces((onDelta) => call({ ...asked, signal: until, onDelta }))
  await pieces.begun
  let end: Ended | undefined
  let last = ''
  return {
    gate,
    stream: {
      first: teller.begins(),
      rest: told(pieces, teller, gate, (reply, said) => {
        end = ended(reply, said)
        last = teller.ends(said)
      }),
      last: () => last,
      broken: (message) => teller.broken(message),
      leave: () => left.abort(),
    },
    async end() {
      if (!end) throw new Error('the stream has not come to its end')
      return end
    },
  }
}

const CONTINUED = 'ends with an answer, which this target would go on with in place of giving one'

/** Where nothing follows an answer, OpenAI's models give another, and others go on with it as if they had begun it so. */
function isContinued({ messages }: ModelRequest, target: Target): boolean {
  const dialect = dialectOf(target)
  if (dialect !== 'messages' && dialect !== 'converse') return false
  return messages.findLast(({ role }) => role !== 'system')?.role === 'assistant'
}

/** There an answer that must match is the call of a tool, which must be chosen. */
function isAnswerTool(target: Target): boolean {
  return dialectOf(target) === 'converse' && 'bedrock' in target && target.bedrock.structured !== 'schema'
}

/** The reply with what the gate says in the place of calls. */
async function judged(reply: ModelReply | Answer, gate: Gatekeeper): Promise<Said> {
  const said: string[] = []
  for (const call of reply.toolCalls) {
    const message = await gate.ask(call)
    if (message !== undefined) said.push(message)
  }
  if (said.length === 0) return reply
  const text = [...(reply.text ? [reply.text] : []), ...said].join('\n\n')
  return { ...reply, text, toolCalls: gate.toolCalls }
}

async function* told(
  pieces: Pieces,
  teller: Teller,
  gate: Gatekeeper,
  onEnd: (reply: Answer, said: Said) => void,
): AsyncGenerator<string> {
  let text = ''
  for await (const piece of pieces.texts()) {
    text += piece
    yield teller.delta(piece)
  }
  const reply = await pieces.reply
  const said = await judged(reply, gate)
  // What was not written piece by piece, such as what the gate says.
  const rest = (said.text ?? '').slice(text.length)
  if (rest !== '') yield teller.delta(rest)
  onEnd(reply, said)
}

/** What a call writes while it is under way, for who reads it. */
class Pieces {
  readonly reply: Promise<Answer>
  /** Resolves with the first piece, or the whole answer; rejects where there will be none. */
  readonly begun: Promise<void>
  #pieces = ''
  #isEnded = false
  #wake: () => void = () => {}

  constructor(call: (onDelta: (text: string) => void) => Promise<Answer>) {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    this.begun = promise
    this.reply = call((text) => {
      this.#pieces += text
      resolve()
      this.#wake()
    }).finally(() => {
      this.#isEnded = true
      this.#wake()
    })
    this.reply.then(() => resolve(), reject)
  }

  async *texts(): AsyncGenerator<string> {
    while (this.#pieces !== '' || !this.#isEnded) {
      if (this.#pieces === '') await new Promise<void>((resolve) => (this.#wake = resolve))
      const pieces = this.#pieces
      this.#pieces = ''
      if (pieces !== '') yield pieces
    }
  }
}

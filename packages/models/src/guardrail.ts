import { hash } from 'node:crypto'
import {
  ApplyGuardrailCommand,
  type ApplyGuardrailResponse,
  BedrockRuntimeClient,
  type GuardrailAssessment,
  type GuardrailContentSource,
} from '@aws-sdk/client-bedrock-runtime'
import { type GuardrailCounts, type GuardrailSetting, MusterError, sideBySide } from '@muster/protocol'
import { NodeHttpHandler } from '@smithy/node-http-handler'
import { LRUCache } from 'lru-cache'
import { codeOf } from './bedrock-error.ts'
import type { ModelMessage, Part } from './message.ts'
import type { Models } from './models.ts'
import { joined, partsOf } from './parts.ts'
import { failure } from './provider.ts'
import { checked } from './relay/checked.ts'
import type { Words } from './relay/words.ts'

/** Characters that one check takes; Bedrock's limit is 25 text units of 1,000. */
const CHECK_MAX = 20_000
const TIMEOUT_MS = 30_000
/** Texts of a client's request, those that are looked at side by side, and those that are known to be clean. */
const WORDS_MAX = 5000
const LOOKERS = 8
const CLEAN_MAX = 50_000

/**
 * The same models, where a guardrail of Bedrock (ApplyGuardrail) sees what people and tools say before a model does, and
 * what a model says before anybody. What it masks is masked; what it blocks, and what it cannot be asked about, fails.
 */
export function guarded(
  models: Models,
  setting: GuardrailSetting,
  { keepAliveMs }: { keepAliveMs?: number } = {},
): Models {
  const check = createCheck(setting)
  /** A conversation is sent again with every turn: what was seen once needs no second look. */
  const seen = new WeakMap<ModelMessage, ModelMessage>()

  async function shown(message: ModelMessage, found: GuardrailCounts, signal: AbortSignal): Promise<ModelMessage> {
    if (message.role !== 'user' && message.role !== 'tool') return message
    const before = seen.get(message)
    if (before) return before
    const parts: Part[] = []
    for (const part of partsOf(message.content)) {
      if (part.type !== 'text')
        throw new MusterError('model.unsupported', `${part.type}s cannot be checked by the guardrail`)
      parts.push({ type: 'text', text: await check(part.text, 'INPUT', found, signal) })
    }
    const after: ModelMessage = { ...message, content: joined(parts) }
    seen.set(message, after)
    return after
  }

  /** Texts of clients in which nothing was found, by their digests: each request has those of the one before. */
  const clean = new LRUCache<string, true>({ max: CLEAN_MAX })

  async function looked(
    { text, put }: Words,
    source: GuardrailContentSource,
    found: GuardrailCounts,
    signal: AbortSignal,
  ) {
    const digest = hash('sha256', source + text, 'base64')
    if (clean.get(digest)) return false
    const own: GuardrailCounts = {}
    const passed = await check(text, source, own, signal)
    for (const [name, count] of Object.entries(own)) found[name] = (found[name] ?? 0) + count
    if (passed !== text) put(passed)
    else if (Object.keys(own).length === 0) clean.set(digest, true)
    return passed !== text
  }

  /** Looks at all of them; whether any was changed. */
  async function look(
    words: readonly Words[],
    source: GuardrailContentSource,
    found: GuardrailCounts,
    signal: AbortSignal,
  ): Promise<boolean> {
    if (words.length > WORDS_MAX)
      throw new MusterError(
        'model.unsupported',
        `${words.length} texts; the guardrail looks at ${WORDS_MAX} of a request`,
      )
    const failed = new AbortController()
    const until = AbortSignal.any([signal, failed.signal])
    let isChanged = false
    try {
      await sideBySide(LOOKERS, words, async (one) => {
        isChanged = (await looked(one, source, found, until)) || isChanged
      })
    } finally {
      failed.abort()
    }
    return isChanged
  }

  return {
    ...models,
    leadsTo: (route) => JSON.stringify([models.leadsTo(route), setting]),
    // It looks at nothing but text.
    routes: () =>
      models.routes().map(({ facts, ...rest }) => {
        const { inputs, ...others } = facts
        return { ...rest, facts: inputs ? { ...others, inputs: inputs.filter((input) => input === 'text') } : facts }
      }),
    // Nobody but the model that is asked is shown what was not looked at.
    countTokens: (route, request) => models.countTokens(route, { ...request, isLocal: true }),
    async relay(route, request) {
      const found: GuardrailCounts = {}
      const relayed = await checked(
        (asked) => models.relay(route, asked),
        request,
        (words, source, signal) => look(words, source, found, signal),
        keepAliveMs,
      )
      const end = relayed.done.then((end) => (Object.keys(found).length > 0 ? { ...end, guardrail: found } : end))
      return { ...relayed, done: end }
    },
    async invoke(route, { onDelta: _, ...request }) {
      const late = AbortSignal.timeout(TIMEOUT_MS)
      const signal = request.signal ? AbortSignal.any([request.signal, late]) : late
      const found: GuardrailCounts = {}
      const messages: ModelMessage[] = []
      for (const message of request.messages) messages.push(await shown(message, found, signal))
      // Sealed, what it thought can be seen by nobody.
      const { reasoning: __, ...reply } = await models.invoke(route, { ...request, messages })
      const after = request.signal ?? new AbortController().signal
      const text = reply.text === null ? null : await check(reply.text, 'OUTPUT', found, after)
      const toolCalls: typeof reply.toolCalls = []
      for (const call of reply.toolCalls)
        toolCalls.push({ ...call, arguments: await check(call.arguments, 'OUTPUT', found, after) })
      return { ...reply, text, toolCalls, ...(Object.keys(found).length > 0 ? { guardrail: found } : {}) }
    },
  }
}

type Check = (
  text: string,
  source: GuardrailContentSource,
  found: GuardrailCounts,
  signal: AbortSignal,
) => Promise<string>

/** Gives the text as it may be passed on, and counts what was found. */
function createCheck({ id, version, region, endpoint }: GuardrailSetting): Check {
  const client = new BedrockRuntimeClient({
    region,
    maxAttempts: 3,
    requestHandler: new NodeHttpHandler({ connectionTimeout: 10_000, requestTimeout: TIMEOUT_MS }),
    ...(endpoint === undefined ? {} : { endpoint }),
  })

  async function apply(text: string, source: GuardrailContentSource, signal: AbortSignal) {
    const command = new ApplyGuardrailCommand({
      ...{ guardrailIdentifier: id, guardrailVersion: version, source },
      content: [{ text: { text } }],
    })
    try {
      return await client.send(command, { abortSignal: signal })
    } catch (error) {
      if (signal.aborted && !(signal.reason instanceof DOMException && signal.reason.name === 'TimeoutError'))
        throw error
      throw failure(codeOf(error), { model: `guardrail ${id}` }, error)
    }
  }

  return async (text, source, found, signal) => {
    let passed = ''
    for (const piece of piecesOf(text)) passed += allowed(id, source, piece, await apply(piece, source, signal), found)
    return passed
  }
}

/** A text in pieces that end with a line, or else a word, so that what is looked for is not cut in two. */
function* piecesOf(text: string): Generator<string> {
  let at = 0
  while (text.length - at > CHECK_MAX) {
    const most = text.slice(at, at + CHECK_MAX)
    const line = most.lastIndexOf('\n') + 1
    const word = most.lastIndexOf(' ') + 1
    // Either half of a character would be no character.
    const whole = most.isWellFormed() ? CHECK_MAX : CHECK_MAX - 1
    const size = [line, word].find((end) => end > CHECK_MAX / 2) ?? whole
    yield most.slice(0, size)
    at += size
  }
  if (at < text.length) yield text.slice(at)
}

function allowed(
  id: string,
  source: GuardrailContentSource,
  text: string,
  { action, outputs = [], assessments = [] }: ApplyGuardrailResponse,
  found: GuardrailCounts,
): string {
  const findings = assessments.flatMap(findingsOf)
  for (const { name } of findings) found[name] = (found[name] ?? 0) + 1
  if (action === 'NONE') return text
  const isMasked = findings.length > 0 && findings.every(({ action }) => action === 'ANONYMIZED')
  // Anything else, known or not, is not passed on.
  if (action === 'GUARDRAIL_INTERVENED' && isMasked && outputs.length > 0)
    return outputs.map(({ text = '' }) => text).join('')
  const whose = source === 'INPUT' ? 'what the model was to be sent' : 'what the model wrote'
  const counts = Object.entries(found).map(([name, count]) => `${count} ${name}`)
  throw new MusterError(
    'model.blocked',
    `guardrail ${id} blocked ${whose}: ${counts.join(', ') || 'it does not say why'}`,
  )
}

/** What was found and acted on, without the text. */
function findingsOf({
  topicPolicy,
  contentPolicy,
  wordPolicy,
  sensitiveInformationPolicy,
  contextualGroundingPolicy,
}: GuardrailAssessment): { name: string; action: string }[] {
  const named = (kind: string, list: readonly { action?: string | undefined }[] | undefined, of: string) =>
    (list ?? []).map((one) => ({
      name: `${kind}${of in one ? `.${String(one[of as keyof typeof one]).slice(0, 64)}` : ''}`,
      action: one.action ?? '',
    }))
  return [
    ...named('topic', topicPolicy?.topics, 'name'),
    ...named('content', contentPolicy?.filters, 'type'),
    // A word is itself what is not to be told.
    ...named('word', wordPolicy?.customWords, ''),
    ...named('word', wordPolicy?.managedWordLists, 'type'),
    ...named('pii', sensitiveInformationPolicy?.piiEntities, 'type'),
    ...named('regex', sensitiveInformationPolicy?.regexes, 'name'),
    ...named('grounding', contextualGroundingPolicy?.filters, 'type'),
  ].filter(({ action }) => action !== 'NONE')
}

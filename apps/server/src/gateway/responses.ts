import { isEnded, isGateway, isId, type Json, type Label, MusterError, type Run, timeOf } from '@muster/protocol'
import { z } from 'zod'
import type { Context, Server } from '../context.ts'
import { controls } from '../control.ts'
import { type ApiKey, actorOf } from '../keys.ts'
import { PREFIXES } from './client.ts'
import { give } from './give.ts'
import { inputItems, inputItemsPage, inputItemsQuery, type Turn } from './input-items.ts'
import { idOf, isMarked, referenceIn, unmarked } from './references.ts'
import { asIs, asIsOrStream, refusalsOf } from './refusal.ts'
import { type Body, GATEWAY_BYTES_MAX, type Requests, type Sent, type StoredRequest } from './requests.ts'

/** Responses that one goes on from, at most. */
const CHAIN_MAX = 200
/** A response that is about to be whole is waited for so long, ms. */
const WHOLE_MS = 5000
const PAUSE_MS = 50
const TOO_LONG = 'The conversation has become too long'

const nullable = { stream: z.boolean().nullish(), store: z.boolean().nullish(), background: z.boolean().nullish() }
const body = z.looseObject({
  model: z.string().min(1).max(200).describe('a route of MUSTER_MODELS'),
  input: z.union([z.string(), z.array(z.unknown())]).nullish(),
  previous_response_id: z.string().max(128).nullish(),
  ...nullable,
})
const shared = { tags: ['gateway'], security: [{ key: [] }] }
const refusals = refusalsOf('responses')
const params = z.object({ id: z.string().max(128).describe('`resp_…`') })
const querystring = z.looseObject({ stream: z.string().optional().describe('`true` is refused') })

/** A response that is stored: its run, and what was asked. */
interface Stored {
  run: Run
  request: StoredRequest
}

/** Routes of OpenAI's Responses. What of them a vendor would have to remember, the journal does. */
export function responseRoutes(server: Server, context: Context, need: () => Requests): void {
  const { keyOf, reader, gateway } = context
  const control = controls(context)

  /** @throws MusterError `response.not_found`, for another user's as well */
  const find = async (who: ApiKey, id: string): Promise<Stored> => {
    const unknown = new MusterError('response.not_found', `There is no response "${id}"`)
    const run = id.startsWith(PREFIXES.responses) ? id.slice(PREFIXES.responses.length) : ''
    if (!isId(run)) throw unknown
    const found = await whole(who.tenant, run).catch((error) => {
      if (error instanceof MusterError && error.code === 'run.not_found') throw unknown
      throw error
    })
    const request = found.input as unknown as StoredRequest | undefined // as `Requests` stores it
    const isOne = isGateway({ ...found, hash: '' }) && request?.dialect === 'responses'
    if (!isOne || found.by.user !== who.user || request.body.store === false) throw unknown
    return { run: found, request }
  }

  /**
   * The run as it is, or as it ends where that is at hand: who has an answer may ask for it before it is written. Its numbers
   * are as they were written, since what it says is sent on.
   */
  const whole = async (tenant: string, run: string): Promise<Run> => {
    const until = Date.now() + WHOLE_MS
    for (;;) {
      const found = await reader.exactRun(tenant, run)
      const request = found.input as unknown as StoredRequest | undefined // of no other shape where it has a dialect
      const isLater = request?.body?.background === true || Date.now() > until
      if (isEnded(found.status) || request?.dialect !== 'responses' || isLater) return found
      await Promise.race([gateway?.settled(run), pause(WHOLE_MS)])
      await pause(PAUSE_MS)
    }
  }

  /** All that was said before, the oldest first, with its labels. @throws MusterError `response.not_found`, `request.invalid` */
  const before = async (
    who: ApiKey,
    { previous_response_id: last }: Body,
  ): Promise<{ turns: Turn[]; labels: Label[] }> => {
    const turns: Turn[] = []
    const labels = new Set<Label>()
    let size = 0
    for (let previous = last; typeof previous === 'string'; ) {
      const { run, request } = await find(who, previous)
      const output = outputOf(run)
      const issues = [{ path: '/previous_response_id', message: 'cannot be gone on from' }]
      if (!output) throw new MusterError('request.invalid', `Response "${previous}" has no answer`, { issues })
      const { items } = await referred(who, [...itemsOf(request.body.input), ...output])
      turns.unshift({ run: run.id, items })
      for (const label of run.labels) labels.add(label)
      size += JSON.stringify(items).length
      if (turns.length > CHAIN_MAX || size > GATEWAY_BYTES_MAX)
        throw new MusterError('request.invalid', TOO_LONG, { issues })
      previous = request.body.previous_response_id
    }
    return { turns, labels: [...labels] }
  }

  /**
   * Items, with those of stored responses of the same user in the place of references to them, and the labels of these.
   *
   * @throws MusterError `response.not_found`
   */
  const referred = async (who: ApiKey, given: readonly Json[]): Promise<{ items: Json[]; labels: Label[] }> => {
    const found = new Map<string, { output: Json[]; labels: readonly Label[] }>()
    const items: Json[] = []
    let size = 0
    for (const [at, one] of given.entries()) {
      const reference = referenceIn(one)
      if (!reference) {
        items.push(one)
        continue
      }
      const { id, response } = reference
      const issues = [{ path: `/input/${at}`, message: 'must be an item of a stored response' }]
      const unknown = new MusterError('response.not_found', `There is no item "${id}" to refer to`, { issues })
      let said = found.get(response)
      if (!said) {
        const { run } = await find(who, PREFIXES.responses + response).catch((error) => {
          if (error instanceof MusterError && error.code === 'response.not_found') throw unknown
          throw error
        })
        said = { output: outputOf(run) ?? [], labels: run.labels }
        found.set(response, said)
        size += JSON.stringify(said.output).length
      }
      const item = said.output.find((item) => idOf(item) === id)
      if (!item) throw unknown
      size += JSON.stringify(item).length
      // Each is counted where it is read, and where it is put.
      if (found.size > CHAIN_MAX || size > 2 * GATEWAY_BYTES_MAX)
        throw new MusterError('request.invalid', TOO_LONG, { issues })
      items.push(item)
    }
    return { items, labels: [...found.values()].flatMap(({ labels }) => labels) }
  }

  /**
   * What a model is asked that remembers nothing: all that was said before or is referred to, with its labels, and this. Its
   * items have the ids that it gave them.
   */
  const expanded = async (who: ApiKey, asked: Body): Promise<Sent> => {
    const given = itemsOf(asked.input)
    const isChained = typeof asked.previous_response_id === 'string'
    if (!isChained && !given.some(isMarked)) return { body: asked, labels: [] }
    const { turns, labels } = await before(who, asked)
    const own = await referred(who, given)
    const { previous_response_id: _, ...rest } = asked
    const input = [...turns.flatMap(({ items }) => items), ...own.items].map(unmarked)
    return { body: { ...rest, model: asked.model, input }, labels: [...labels, ...own.labels] }
  }

  server.post(
    '/v1/responses',
    {
      bodyLimit: GATEWAY_BYTES_MAX,
      config: { dialect: 'responses', access: 'own' },
      schema: {
        ...shared,
        summary: 'Responses, as OpenAI has them',
        description:
          'Streamed where `stream` is true. `previous_response_id` goes on from a stored response of the same user; with `background` it is answered at once and read later.',
        body,
        response: { 200: asIsOrStream, ...refusals },
      },
    },
    async (request, reply) => {
      const requests = need()
      const who = keyOf(request)
      const asked = request.body as Body // by the schema, and JSON
      checkKept(asked)
      const held = await requests.begin(request, 'responses', asked, await expanded(who, asked))
      if (!asked.background) return give(held, reply, actorOf(who))
      await held.exchange.begun
      const { run } = held
      return reply.headers({ 'x-muster-run': run, 'x-request-id': run }).send(skeleton(run, asked, 'queued'))
    },
  )
  server.post(
    '/v1/responses/input_tokens',
    {
      bodyLimit: GATEWAY_BYTES_MAX,
      config: { dialect: 'responses', access: 'own' },
      schema: {
        ...shared,
        summary: 'Count the tokens of a response’s input, as OpenAI has it',
        description: 'Counted by OpenAI where the route leads there; else it is an estimate. It is no run.',
        body,
        response: {
          200: z.object({ object: z.literal('response.input_tokens'), input_tokens: z.number() }),
          ...refusals,
        },
      },
    },
    async (request, reply) => {
      const requests = need()
      const gone = new AbortController()
      reply.raw.on('close', () => gone.abort())
      const asked = request.body as Body // by the schema, and JSON
      checkKept(asked)
      const sent = await expanded(keyOf(request), asked)
      const input_tokens = await requests.countTokens(request, 'responses', sent, gone.signal)
      return { object: 'response.input_tokens' as const, input_tokens }
    },
  )
  server.get(
    '/v1/responses/:id',
    {
      config: { dialect: 'responses', access: 'own' },
      schema: {
        ...shared,
        summary: 'Read a response that is stored',
        params,
        querystring,
        response: { 200: asIs, ...refusals },
      },
    },
    async (request) => {
      need()
      if (request.query.stream === 'true')
        throw new MusterError('model.unsupported', 'A response that is stored is given whole', {
          issues: [{ path: '/stream', message: 'is not supported' }],
        })
      return shown(await find(keyOf(request), request.params.id))
    },
  )
  server.get(
    '/v1/responses/:id/input_items',
    {
      config: { dialect: 'responses', access: 'own' },
      schema: {
        ...shared,
        summary: 'List what a stored response was made from',
        description: 'With what was said in the responses that it goes on from, none of which may be gone.',
        params,
        querystring: inputItemsQuery,
        response: { 200: inputItemsPage, ...refusals },
      },
    },
    async (request) => {
      need()
      const who = keyOf(request)
      const { run, request: stored } = await find(who, request.params.id)
      const { turns } = await before(who, stored.body)
      const { items } = await referred(who, itemsOf(stored.body.input))
      return inputItems([...turns, { run: run.id, items }], request.query)
    },
  )
  server.delete(
    '/v1/responses/:id',
    {
      config: { dialect: 'responses', access: 'own' },
      schema: {
        ...shared,
        summary: 'Refused: what a response holds is a journal’s, and clients delete nothing of it',
        params,
        response: refusals,
      },
    },
    async (request) => {
      need()
      const { id } = request.params
      await find(keyOf(request), id)
      throw new MusterError(
        'response.kept',
        `Response "${id}" is kept with its journal, of which clients delete nothing: rules of retention and erasure do`,
      )
    },
  )
  server.post(
    '/v1/responses/:id/cancel',
    {
      config: { dialect: 'responses', access: 'own' },
      schema: {
        ...shared,
        summary: 'Cancel a response in the background',
        params,
        response: { 200: asIs, ...refusals },
      },
    },
    async (request) => {
      need()
      const who = keyOf(request)
      const { id } = request.params
      const { run, request: stored } = await find(who, id)
      if (stored.body.background !== true)
        throw new MusterError('request.invalid', 'Only a response in the background can be cancelled')
      if (isEnded(run.status)) return shown({ run, request: stored })
      await control(who, run.id, 'cancel').catch((error) => {
        if (!(error instanceof MusterError && error.code === 'run.ended')) throw error
      })
      const until = Date.now() + WHOLE_MS
      for (;;) {
        const now = await find(who, id)
        if (isEnded(now.run.status) || Date.now() > until) return shown(now)
        await pause(PAUSE_MS)
      }
    },
  )
}

/** What of keeping and of the background there is here. @throws MusterError `model.unsupported`, `request.invalid` */
function checkKept({ conversation, background, stream, store }: Body): void {
  const unsupported = conversation != null ? 'conversation' : background && stream ? 'stream' : ''
  const where =
    unsupported === 'stream' ? 'with "background": ask for the response by its id until it is there' : 'here'
  if (unsupported !== '')
    throw new MusterError('model.unsupported', `"${unsupported}" cannot be used ${where}`, {
      issues: [{ path: `/${unsupported}`, message: 'is not supported' }],
    })
  if (background && store === false)
    throw new MusterError('request.invalid', 'What is answered in the background must be stored to be read', {
      issues: [{ path: '/store', message: 'must be true with background' }],
    })
}

/** What was asked, as items. */
function itemsOf(input: Json | undefined): Json[] {
  if (typeof input === 'string') return [{ type: 'message', role: 'user', content: input }]
  return Array.isArray(input) ? input : []
}

function outputOf({ status, output }: Run): Json[] | undefined {
  if (status !== 'succeeded' || output === null || typeof output !== 'object' || Array.isArray(output)) return undefined
  return Array.isArray(output?.output) ? output.output : undefined
}

function shown({ run, request: { body } }: Stored): Json {
  const { status, output, error, id } = run
  if (status === 'succeeded') return output ?? null
  if (status === 'cancelled') return skeleton(id, body, 'cancelled')
  if (status !== 'failed') return skeleton(id, body, 'in_progress')
  return skeleton(id, body, 'failed', { code: 'server_error', message: error?.message ?? 'the run has failed' })
}

function skeleton(run: string, body: Body, status: string, error: Json = null): { [name: string]: Json } {
  const { input: _, model, background = false, instructions = null, metadata = {}, ...rest } = body
  return {
    ...{ id: PREFIXES.responses + run, object: 'response', created_at: Math.floor(timeOf(run) / 1000) },
    ...{ status, background, error },
    ...{ incomplete_details: null, instructions, metadata, model, output: [], output_text: '' },
    ...{ parallel_tool_calls: rest.parallel_tool_calls ?? true, temperature: rest.temperature ?? null },
    ...{ tool_choice: rest.tool_choice ?? 'auto', tools: rest.tools ?? [], top_p: rest.top_p ?? null },
    ...{ previous_response_id: rest.previous_response_id ?? null, store: rest.store ?? true, usage: null },
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

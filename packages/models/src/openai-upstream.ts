import type { Json } from '@muster/protocol'
import { signatureOf } from './aws-signature.ts'
import { failure, withoutKey } from './provider.ts'
import { answeredBy, type Bytes, TooLarge } from './relay/bytes.ts'
import { refusalOf, type Upstream } from './relay/upstream.ts'
import type { OpenAiTarget } from './target.ts'

/**
 * A server that speaks as OpenAI does, asked by OpenAI's own client. What clients of the gateway say goes without it: it is
 * theirs, to the byte.
 */
export function openAiUpstream(target: OpenAiTarget, plain: Upstream): Upstream {
  const { model, apiKey, baseUrl } = target
  const sign = signatureOf(target)
  let loading: ReturnType<typeof load> | undefined

  async function load() {
    // With the first call: it has more than two hundred files.
    const { default: OpenAI, APIConnectionError, APIError } = await import('openai')
    const options = {
      apiKey: apiKey || 'none',
      baseURL: baseUrl ?? null,
      maxRetries: 0,
      fetchOptions: { redirect: 'manual' },
    } as const
    // It would log what it cannot read.
    return { client: new OpenAI({ ...options, logLevel: 'off' }), APIConnectionError, APIError }
  }

  return {
    ...plain,
    async post({ path, body, signal, headers }) {
      loading ??= load()
      const { client, APIConnectionError, APIError } = await loading
      signal.throwIfAborted()
      const signed = sign && (await sign(new URL(client.baseURL + path), body))
      const left = new AbortController()
      let response: Response
      try {
        const options = { body, signal: AbortSignal.any([signal, left.signal]) }
        const sent = { ...headers, 'content-type': 'application/json', ...signed }
        response = await client.post(path, { ...options, headers: sent }).asResponse()
      } catch (error) {
        if (signal.aborted) throw signal.reason
        if (error instanceof APIConnectionError) throw failure('model.unavailable', { model, apiKey }, rootOf(error))
        if (!(error instanceof APIError) || error.status === undefined)
          throw failure('model.failed', { model, apiKey }, error)
        const { status, headers, message } = error
        const said: Json = JSON.parse(withoutKey(JSON.stringify(error.error ?? message.replace(/^\d+ /, '')), apiKey))
        throw refusalOf({ model, status, headerOf: (name) => headers?.get(name) }, said)
      }
      const isStream = response.headers.get('content-type')?.startsWith('text/event-stream') === true
      return answeredBy(new Fetched(response, left), isStream, (error) => {
        if (signal.aborted) return signal.reason
        return failure(
          error instanceof TooLarge ? 'model.failed' : 'model.unavailable',
          { model, apiKey },
          rootOf(error),
        )
      })
    },
  }
}

/** The body of an answer. It is read ahead by a piece, so that a connection is kept whose last piece nobody asks for. */
class Fetched implements Bytes {
  isOver = false
  readonly #body: ReadableStreamDefaultReader<Uint8Array> | undefined
  readonly #left: AbortController
  #next: Promise<Uint8Array | undefined>

  constructor({ body }: Response, left: AbortController) {
    this.#body = body?.getReader()
    this.#left = left
    this.#next = this.#read()
  }

  async take(): Promise<Buffer | undefined> {
    const bytes = await this.#next
    if (!bytes) return undefined
    this.#next = this.#read()
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  #read(): Promise<Uint8Array | undefined> {
    const next = this.#body ? this.#body.read().then(({ value }) => value) : Promise.resolve(undefined)
    const over = () => {
      this.isOver = true
    }
    // Who takes it hears of an error; where nobody does, it is over all the same.
    next.then((bytes) => bytes ?? over(), over)
    return next
  }

  leave(): void {
    if (!this.isOver) this.#left.abort()
  }
}

/** What went wrong below what fetch and its callers make of it. */
function rootOf(error: unknown): unknown {
  return error instanceof Error && error.cause instanceof Error ? rootOf(error.cause) : error
}

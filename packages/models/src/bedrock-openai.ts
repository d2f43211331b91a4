import { MusterError } from '@muster/protocol'
import { isObject, objectsOf } from './relay/json.ts'
import { type Upstream, VendorError } from './relay/upstream.ts'
import type { OpenAiTarget } from './target.ts'

/**
 * Bedrock has several addresses that speak as OpenAI does, and each refuses the models, or the ways of speaking, that it
 * does not have. They are asked in turn; where a model was found is remembered.
 */
export function atBedrock(target: OpenAiTarget, upstreamAt: (target: OpenAiTarget) => Upstream): Upstream {
  const first = upstreamAt(target)
  const others = (target.aws?.elsewhere ?? []).map((baseUrl) => upstreamAt({ ...target, baseUrl }))
  const found = new Map<unknown, Upstream>()

  /** The endpoint that is recommended has no tools of its own, and is asked last for them. */
  function placesFor({ model, tools }: { model?: unknown; tools?: unknown }): Upstream[] {
    if (Array.isArray(tools) && objectsOf(tools).some(({ type }) => type !== 'function' && type !== 'custom'))
      return [...others, first]
    const known = found.get(model)
    const all = [first, ...others]
    return known ? [known, ...all.filter((one) => one !== known)] : all
  }

  return {
    ...first,
    async post(call) {
      const asked: unknown = JSON.parse(call.body)
      const { model, tools } = isObject(asked) ? asked : {}
      let refused: MusterError | undefined
      for (const upstream of placesFor({ model, tools })) {
        try {
          const answered = await upstream.post(call)
          found.set(model, upstream)
          return answered
        } catch (error) {
          if (!isElsewhere(error)) throw refused ? both(refused, error) : error
          refused ??= error
        }
      }
      throw refused
    },
  }
}

/** As its endpoints say that they do not have a model, or do not speak so with it. */
const NOT_HERE = /\b(?:route|API)\b|\bmodel identifier\b|\bmodel\b.*\b(?:exist|found|support)/i

/** It may be there, where nobody could be asked; or it is nowhere, as was said first. */
function both(refused: MusterError, error: unknown): unknown {
  if (!(error instanceof MusterError) || error.code !== 'model.unavailable') return error
  const { code, retryAfterMs, cause } = error
  return new MusterError(code, `${refused.message}; and elsewhere ${error.message}`, { retryAfterMs, cause })
}

function isElsewhere(error: unknown): error is MusterError {
  if (!(error instanceof MusterError)) return false
  const { cause } = error
  if (!(cause instanceof VendorError)) return false
  return cause.status === 404 || (cause.status === 400 && NOT_HERE.test(cause.message))
}

import { type ErrorCode, MusterError, type Via } from '@muster/protocol'
import { QuotaUsedUp } from './provider.ts'
import { nameOf, type Target } from './target.ts'

/** A target, and the model that is asked for there. */
export interface Place {
  target: Target
  model: string
}

interface Passed {
  target: Target
  error: MusterError
}

/**
 * Asks the places in turn until one answers, and says which did and why not those before it, where there are several. The
 * next is asked where one cannot be reached, is overloaded, asks to wait, has no quota left, or cannot be asked this at all;
 * none once `begun`.
 */
export type Failover = <T>(
  places: readonly Place[],
  ask: (place: Place) => Promise<T>,
  begun?: () => boolean,
) => Promise<{ answer: T; place: Place; via?: Via }>

export function createFailover(): Failover {
  /** Until when a target has asked not to be called, ms since the epoch. */
  const closed = new Map<Target, number>()

  return async (places, ask, begun = () => false) => {
    const passed: Passed[] = []
    for (const place of places) {
      const { target, model } = place
      const waitMs = places.length > 1 ? (closed.get(target) ?? 0) - Date.now() : 0
      if (waitMs > 0) {
        const error = new MusterError('rate.limited', `${model}: has asked to wait`, { retryAfterMs: waitMs })
        passed.push({ target, error })
        continue
      }
      try {
        const answer = await ask(place)
        return { answer, place, ...(places.length > 1 ? { via: viaOf(target, passed) } : {}) }
      } catch (error) {
        // An abort is nobody's failure.
        if (!(error instanceof MusterError)) throw error
        if (error.retryAfterMs !== undefined) closed.set(target, Date.now() + error.retryAfterMs)
        passed.push({ target, error })
        if (begun() || !mayDoElsewhere(error)) throw failureOf(passed, error.code)
      }
    }
    throw failureOf(passed)
  }
}

const PASSING = ['model.unavailable', 'rate.limited'] as const satisfies ErrorCode[]

function mayDoElsewhere(error: MusterError): boolean {
  return isPassing(error) || error.code === 'model.unsupported' || error instanceof QuotaUsedUp
}

function isPassing({ code }: MusterError): boolean {
  return PASSING.some((passing) => passing === code)
}

function viaOf(target: Target, passed: readonly Passed[]): Via {
  const others = passed.map((other) => ({ target: nameOf(other.target), code: other.error.code }))
  return { target: nameOf(target), ...(others.length > 0 ? { passed: others } : {}) }
}

/** What a call has come to that no target answered: waiting helps where one may be there again, after the shortest time. */
function failureOf(passed: readonly Passed[], told?: ErrorCode): MusterError {
  const errors = passed.map(({ error }) => error)
  const [first] = errors
  if (first && errors.length === 1) return first
  const last = errors.at(-1)
  const code =
    told ??
    PASSING.find((passing) => errors.some((error) => error.code === passing)) ??
    (errors.every((error) => error.code === 'model.unsupported') ? 'model.unsupported' : 'model.failed')
  const waits = errors.flatMap(({ retryAfterMs }) => (retryAfterMs === undefined ? [] : [retryAfterMs]))
  return new MusterError(
    code,
    passed.map(({ target, error }) => `${nameOf(target)}: ${error.message}`).join('; then '),
    {
      retryAfterMs: code === 'rate.limited' && waits.length > 0 ? Math.min(...waits) : undefined,
      cause: last?.cause,
      ...(code === 'model.unsupported' && last?.issues ? { issues: last.issues } : {}),
    },
  )
}

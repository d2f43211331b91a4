import type { ErrorCode, MusterError } from '@muster/protocol'
import type { Backoff } from '@muster/tools'
import type { Operation } from './step.ts'

/** Errors that may pass, and how long to wait for that. What is not here fails a step at once. */
const passing: Partial<Record<ErrorCode, Backoff>> = {
  'tool.failed': { baseMs: 200, capMs: 10_000 },
  'step.timeout': { baseMs: 200, capMs: 10_000 },
  // Our own store: for some minutes it is waited for, as Redis is.
  'memory.unavailable': { baseMs: 100, capMs: 10_000, attempts: 40 },
  'redis.unavailable': { baseMs: 100, capMs: 10_000 },
  'model.unavailable': { baseMs: 500, capMs: 30_000 },
  // Waiting is all that it asks for: whoever does has not failed.
  'rate.limited': { baseMs: 1000, capMs: 60_000, attempts: 20 },
}

/**
 * How long to wait before the next attempt, ms: exponential backoff with full jitter (Brooker, "Exponential Backoff
 * And Jitter", AWS 2015), and no less than the other side asked for. Infinity when there is none: the error does not
 * pass, the attempts are used up, or the effect must not be repeated.
 */
export function retryAfterMs(
  { effect, attempts, retries }: Pick<Operation, 'effect' | 'attempts' | 'retries'>,
  attempt: number,
  error: MusterError,
  random: () => number,
): number {
  // Nothing has failed: it goes on when it may.
  if (error.code === 'stop.active') return 0
  const own = retries?.[error.code]
  const usual = passing[error.code]
  if (attempt === 0 || effect === 'once' || own === false || !(own || usual)) return Number.POSITIVE_INFINITY
  const { baseMs = 200, capMs = 10_000, attempts: most = attempts } = { ...usual, ...own }
  if (attempt >= most) return Number.POSITIVE_INFINITY
  // Past 2 ** 52 it would be Infinity times 0.
  const delay = Math.floor(random() * Math.min(capMs, baseMs * 2 ** Math.min(attempt - 1, 52)))
  // What was asked for holds for all who wait: the jitter keeps them from coming at once.
  return (error.retryAfterMs ?? 0) + delay
}

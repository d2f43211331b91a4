import type { Effect, MusterError } from '@muster/protocol'

const passing = new Set<string>([
  'tool.failed',
  'model.unavailable',
  'memory.unavailable',
  'redis.unavailable',
  'step.timeout',
  'rate.limited',
])

/** Whether a failed attempt may be made again: the error may pass, and the effect allows a repeat. */
export function isRetryable(error: MusterError, effect: Effect): boolean {
  return effect !== 'once' && passing.has(error.code)
}

const BASE_MS = 200
const CAP_MS = 10_000

/** Exponential backoff with full jitter (Brooker, "Exponential Backoff And Jitter", AWS 2015). */
export function retryDelayMs(attempt: number, random: () => number): number {
  return Math.floor(random() * Math.min(CAP_MS, BASE_MS * 2 ** (attempt - 1)))
}

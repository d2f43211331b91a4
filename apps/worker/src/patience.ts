import { setTimeout as sleep } from 'node:timers/promises'
import { type Config, type ErrorCode, MusterError, toMusterError } from '@muster/protocol'
import type { Logger } from 'pino'

/** What it is to open, so that a wait can be told of. */
const stores: Partial<Record<ErrorCode, string>> = {
  'redis.unavailable': 'Redis',
  'journal.not_replicated': 'replicas of Redis',
  'memory.unavailable': 'DynamoDB',
}

const PAUSE_MS = { first: 250, longest: 5000 }

/** Opens what may not be there yet. */
export type Patience = <T>(open: () => Promise<T>) => Promise<T>

/**
 * A service and what it needs mostly start at once. Tries again while a store does not answer, and says once for what it
 * waits; all other errors are thrown as they come.
 *
 * @returns what throws the store's own error, saying how long it has waited, after `MUSTER_START_WAIT_MS`; the reason of
 *   `signal` as soon as that is aborted
 */
export function patience(config: Config, log: Logger, signal: AbortSignal): Patience {
  const waitMs = config.MUSTER_START_WAIT_MS
  const until = Date.now() + waitMs
  return async (open) => {
    let told = false
    for (let pause = PAUSE_MS.first; ; pause = Math.min(pause * 2, PAUSE_MS.longest)) {
      try {
        const opened = await unlessAborted(open(), signal)
        if (told) log.info('it answers: the start goes on')
        return opened
      } catch (error) {
        signal.throwIfAborted()
        const { code, message } = toMusterError(error)
        const what = stores[code]
        if (what === undefined) throw error
        const left = until - Date.now()
        if (left <= 0)
          throw waitMs === 0 ? error : new MusterError(code, `${message} (waited ${waitMs / 1000} s)`, { cause: error })
        if (!told) log.warn({ reason: message, forMs: left }, `waiting for ${what}`)
        told = true
        await sleep(Math.min(pause, left), undefined, { signal })
      }
    }
  }
}

/** What is opened after all is left to the end of the process, which follows. */
async function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted()
  const { promise: aborted, reject } = Promise.withResolvers<never>()
  const abort = () => reject(signal.reason)
  signal.addEventListener('abort', abort)
  try {
    return await Promise.race([work, aborted])
  } finally {
    signal.removeEventListener('abort', abort)
  }
}

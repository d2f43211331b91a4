import { type Journal, type Offload, Schedules } from '@muster/journal'
import type { Refusals } from '../archive/refusals.ts'

/** How late a firing is at most because nobody looked, ms. */
const POLL_MS = 500

/** Starts the runs of schedules at their times until it is closed; every worker does. */
export function pollSchedules(
  journal: Journal,
  offload: Offload,
  refusals: Refusals,
  onError: (error: Error) => void,
): { close(): Promise<void> } {
  const schedules = new Schedules(journal, async (run) => refusals.check(run))
  let polling: Promise<void> | undefined
  const timer = setInterval(() => {
    polling ??= schedules
      .fire(offload, onError)
      .catch(onError)
      .finally(() => {
        polling = undefined
      })
  }, POLL_MS)
  return {
    async close() {
      clearInterval(timer)
      await polling
    },
  }
}

import type { ActiveRun } from '../run/active-run.ts'

/** So long after a failed question it is asked again, ms. */
const AGAIN_MS = 500

/**
 * A worker that was stopped, or whose event loop was held, for about as long as its lock may have lost the run while the
 * intent of an effect was on its way: another may have it by now, and may have been told by a person that the effect did
 * not happen. What must not happen twice begins only when the run has been seen to be ours since.
 *
 * `since` is when it was known last, by `performance.now()`: a clock that goes on while a process is stopped.
 */
export function whenHeld(run: ActiveRun, since: number, then: () => void): void {
  const { journal, lockMs, log } = run.services
  if (performance.now() - since < lockMs / 2) {
    then()
    return
  }
  const asked = performance.now()
  journal.epoch(run.id).then(
    (epoch) => {
      if (run.over) return
      if (epoch === run.epoch) whenHeld(run, asked, then)
      else run.lose()
    },
    (error) => {
      log.warn({ run: run.id, err: error }, 'it is not known whether the run is still held; it is asked again')
      setTimeout(() => {
        if (!run.over) whenHeld(run, since, then)
      }, AGAIN_MS)
    },
  )
}

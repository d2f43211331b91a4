import type { Task, Work } from './subject.ts'

/** Something that takes runs. `start` begins `n` of them; `ended` is called by it whenever runs have ended. */
export interface System {
  start(n: number): Promise<void>
  onEnded: (count: number) => void
}

/**
 * Loads a system and waits until everything begun has ended. With a closed loop `inFlight` runs are under way at all
 * times; with `runsPerS` runs begin evenly, at most 1 ms late.
 *
 * @returns runs ended, as units
 */
export async function load(system: System, inFlight: number, { ms, runsPerS }: Task): Promise<Work> {
  const began = performance.now()
  let started = 0
  let ended = 0
  let due = 0
  let gathering = false
  let timer: NodeJS.Timeout | undefined
  try {
    return await new Promise((resolve, reject) => {
      const start = (n: number) => {
        started += n
        system.start(n).catch(reject)
      }
      const isOver = () => performance.now() - began >= ms
      const finish = () => {
        if (ended === started) resolve({ units: ended, elapsedMs: performance.now() - began })
      }
      // Ends of one tick are answered together, so that every system may begin runs in bulk.
      const answer = () => {
        gathering = false
        const n = due
        due = 0
        if (isOver()) finish()
        else if (runsPerS === undefined) start(n)
      }
      system.onEnded = (count) => {
        ended += count
        due += count
        if (gathering) return
        gathering = true
        setImmediate(answer)
      }
      if (runsPerS === undefined) start(inFlight)
      else {
        timer = setInterval(() => {
          if (isOver()) {
            clearInterval(timer)
            finish()
            return
          }
          const n = Math.floor(((performance.now() - began) / 1000) * runsPerS) - started
          if (n > 0) start(n)
        }, 1)
      }
    })
  } finally {
    clearInterval(timer)
    system.onEnded = () => {}
  }
}

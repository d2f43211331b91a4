import { load, type System } from '../load.ts'
import type { Subject } from '../subject.ts'
import { CHAIN, FAN } from '../subjects/app.ts'

export interface PeerOptions {
  /** W1's chain or W2's fan-out. */
  plan: 'chain' | 'fan'
  inFlight: number
}

/** Another system as a subject: `once` carries one run to its end and gives the result of its last step. */
export function peer(
  { plan, inFlight }: PeerOptions,
  once: () => Promise<{ n: number }>,
  close: () => Promise<void>,
): Subject {
  const [steps, last] = plan === 'chain' ? [CHAIN, CHAIN - 1] : [FAN + 1, FAN]
  const run = async () => {
    const { n } = await once()
    if (n !== last) throw new Error(`the last step gave ${n}, not ${last}`)
    system.onEnded(1)
  }
  const system: System = {
    onEnded: () => {},
    async start(count) {
      await Promise.all(Array.from({ length: count }, run))
    },
  }
  return {
    async run(task) {
      const { units, elapsedMs } = await load(system, inFlight, task)
      return { units: units * steps, elapsedMs }
    },
    close,
  }
}

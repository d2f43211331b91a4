import { setTimeout as sleep } from 'node:timers/promises'
import type { Deployment, Placed } from './deployment.ts'
import type { Random } from './random.ts'

/** Something that goes wrong, and is right again when its promise resolves. */
export interface Fault {
  readonly name: string
  /** The part that is broken meanwhile: not broken twice at a time. */
  readonly of: 'worker' | 'server' | 'redis' | 'dynamo'
  happen(deployment: Deployment, random: Random): Promise<void>
}

/** One of those that run: another fault may have taken the others. */
function someone({ workers }: Deployment, random: Random): Placed | undefined {
  const running = workers.filter(({ child }) => child.running)
  return running.length > 0 ? random.pick(running) : undefined
}

async function killAndRestart({ child }: Placed, random: Random): Promise<void> {
  await child.stop('SIGKILL')
  await sleep(random.between(0, 500))
  await child.start()
}

const killWorker: Fault = {
  name: 'kill -9 a worker',
  of: 'worker',
  async happen(deployment, random) {
    const worker = someone(deployment, random)
    if (worker) await killAndRestart(worker, random)
  },
}

const killServer: Fault = {
  name: 'kill -9 the server',
  of: 'server',
  happen: ({ server }, random) => killAndRestart(server, random),
}

export const faults: readonly Fault[] = [killWorker, killServer]

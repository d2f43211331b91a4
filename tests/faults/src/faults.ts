import { setTimeout as sleep } from 'node:timers/promises'
import { toMusterError } from '@muster/protocol'
import type { Child } from './child.ts'
import type { Deployment, Placed } from './deployment.ts'
import type { Load } from './load.ts'
import type { Random } from './random.ts'

/** Something that goes wrong, and is right again when its promise resolves. */
export interface Fault {
  readonly name: string
  /** The part that is broken meanwhile: not broken twice at a time. */
  readonly of: 'worker' | 'server' | 'redis' | 'network' | 'dynamo' | 'loop' | 'clock' | 'stop' | 'ledger'
  happen(deployment: Deployment, random: Random, load: Load): Promise<void>
}

/** One of those that run: another fault may have taken the others. */
function someone({ workers }: Deployment, random: Random): Placed | undefined {
  const running = workers.filter(({ child }) => child.running)
  return running.length > 0 ? random.pick(running) : undefined
}

async function killAndRestart({ child }: Placed, random: Random): Promise<void> {
  await child.stop('SIGKILL')
  await sleep(random.between(0, 500))
  await startAgain(child)
}

/** As a supervisor does: a start fails while Redis is away, and is tried again. */
async function startAgain(child: Child): Promise<void> {
  for (let tries = 1; ; tries++) {
    try {
      await child.start()
      return
    } catch (error) {
      if (tries === STARTS_MAX) throw error
      await child.stop('SIGKILL')
      await sleep(500)
    }
  }
}

const STARTS_MAX = 40

const killWorker: Fault = {
  name: 'kill -9 a worker',
  of: 'worker',
  async happen(deployment, random) {
    const worker = someone(deployment, random)
    if (worker) await killAndRestart(worker, random)
  },
}

/** All that may be sealing. */
const killWorkers: Fault = {
  name: 'kill -9 all workers',
  of: 'worker',
  async happen({ workers }, random) {
    await Promise.all(workers.map((worker) => killAndRestart(worker, random)))
  },
}

/** Several take themselves for the only one. */
const sealAtOnce: Fault = {
  name: 'let the right to seal expire',
  of: 'ledger',
  async happen(deployment, random) {
    const end = performance.now() + random.between(1500, 4000)
    while (performance.now() < end) {
      // Redis may be away, which is another fault.
      await deployment.forgetSealer().catch(() => {})
      await sleep(10)
    }
  },
}

const killServer: Fault = {
  name: 'kill -9 the server',
  of: 'server',
  happen: ({ server }, random) => killAndRestart(server, random),
}

/** Longer than its lock: it is given to another worker, and comes back as if nothing had been. */
const pauseWorker: Fault = {
  name: 'stop a worker past its lock',
  of: 'worker',
  async happen(deployment, random) {
    const worker = someone(deployment, random)
    if (!worker) return
    worker.child.signal('SIGSTOP')
    await sleep(deployment.lockMs * 2 + random.between(0, 2000))
    worker.child.signal('SIGCONT')
  },
}

const restartRedis: Fault = {
  name: 'restart Redis',
  of: 'redis',
  async happen(deployment, random) {
    await deployment.stopRedis(random.pick(['SIGKILL', 'SIGTERM']))
    await sleep(random.between(0, 800))
    await deployment.startRedis()
  },
}

/** Everyone's connections, or one process's. */
function network({ server, workers }: Deployment, random: Random): readonly Placed[] {
  const all = [server, ...workers]
  return random.next() < 0.3 ? all : [random.pick(all)]
}

const cutConnections: Fault = {
  name: 'cut connections to Redis',
  of: 'network',
  async happen(deployment, random) {
    const hit = network(deployment, random)
    for (let i = random.between(1, 4); i > 0; i--) {
      for (const { redis } of hit) redis.cut()
      await sleep(random.between(0, 300))
    }
  },
}

const delayConnections: Fault = {
  name: 'delay connections to Redis',
  of: 'network',
  async happen(deployment, random) {
    const hit = network(deployment, random)
    for (const { redis } of hit) redis.delay(random.between(20, 300))
    await sleep(random.between(500, 2500))
    for (const { redis } of hit) redis.delay(0)
  },
}

const forgetConnections: Fault = {
  name: 'forget connections to Redis',
  of: 'network',
  async happen(deployment, random) {
    for (const { redis } of network(deployment, random)) redis.blackhole()
  },
}

/** No more may be written; what is there is kept. */
const fillRedis: Fault = {
  name: 'fill the memory of Redis',
  of: 'redis',
  async happen(deployment, random) {
    await deployment.setRedis('maxmemory', '1mb')
    await sleep(random.between(200, 1500))
    await deployment.setRedis('maxmemory', '0')
  },
}

const stopDynamo: Fault = {
  name: 'stop DynamoDB',
  of: 'dynamo',
  async happen(deployment, random) {
    await deployment.stopDynamo()
    await sleep(random.between(200, 2000))
    await deployment.startDynamo()
  },
}

const throttleDynamo: Fault = {
  name: 'throttle DynamoDB',
  of: 'dynamo',
  async happen(deployment, random) {
    deployment.dynamo.throttle(0.7)
    await sleep(random.between(500, 3000))
    deployment.dynamo.throttle(0)
  },
}

/** A tool that computes for longer than the lock lasts: its worker can neither renew it nor hear of anything. */
const holdEventLoop: Fault = {
  name: 'hold the event loop of a worker',
  of: 'loop',
  async happen({ lockMs }, random, load) {
    const ms = lockMs * 2 + random.between(0, 1500)
    load.start({ plan: 'busy', input: { ms }, expected: { output: { written: 'after' }, writes: 1, onces: 0 } })
    await sleep(ms)
  },
}

/** The clock of one worker is set, forward or back, and set right again. */
const jumpClock: Fault = {
  name: 'set the clock of a worker',
  of: 'clock',
  async happen(deployment, random) {
    const worker = someone(deployment, random)
    if (!worker) return
    worker.child.tell({ clockAheadMs: random.pick([-1, 1]) * random.between(1000, CLOCK_SKEW_MS) })
    await sleep(random.between(500, 3000))
    worker.child.tell({ clockAheadMs: 0 })
  },
}

/** A worker's clock is wrong by so much at most, ms. */
export const CLOCK_SKEW_MS = 10_000

/** Stopped and lifted by an operator, who tries again where the server does not answer. */
const stopSomething: Fault = {
  name: 'stop a tool or model and lift it',
  of: 'stop',
  async happen({ muster }, random) {
    const name = random.pick(['tool:look', 'tool:write', 'tool:pay', 'model:default'])
    await untilDone(() => muster.stops.set(name, { reason: 'a fault' }))
    await sleep(random.between(0, 2500))
    await untilDone(() =>
      muster.stops.lift(name).catch((error) => {
        // It was lifted, and the answer lost.
        if (toMusterError(error).code !== 'stop.not_found') throw error
      }),
    )
  },
}

async function untilDone(act: () => Promise<unknown>): Promise<void> {
  for (let tries = 1; ; tries++) {
    try {
      await act()
      return
    } catch (error) {
      if (tries === STARTS_MAX) throw error
      await sleep(500)
    }
  }
}

export const faults: readonly Fault[] = [
  killWorker,
  killWorkers,
  killServer,
  pauseWorker,
  restartRedis,
  cutConnections,
  delayConnections,
  forgetConnections,
  fillRedis,
  stopDynamo,
  throttleDynamo,
  holdEventLoop,
  jumpClock,
  stopSomething,
  sealAtOnce,
]

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { newId } from '@muster/protocol'
import { type RedisService, startRedis } from '@muster/stack'
import { Worker } from 'bullmq'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type Activation, QUEUE } from './feeder.ts'
import { Intake } from './intake.ts'
import { Journal } from './journal.ts'

const dir = mkdtempSync(join(tmpdir(), 'muster-activations-'))
let redis: RedisService
let journal: Journal
let namespaces = 0
const open: Intake[] = []

beforeAll(async () => {
  redis = await startRedis({ dir })
})
afterAll(async () => {
  await redis.stop()
  rmSync(dir, { recursive: true })
})
beforeEach(async () => {
  journal = await Journal.open({ url: redis.url, namespace: `activations${namespaces++}` })
})
afterEach(async () => {
  for (const activations of open.splice(0)) await activations.close()
  await journal.close()
})

async function queue(count: number, version = '1.0.0'): Promise<string[]> {
  const requests = Array.from({ length: count }, () => ({
    run: {
      run: newId(),
      tenant: 'a',
      definition: { kind: 'plan' as const, name: 'p', version, hash: 'a'.repeat(64) },
      by: { key: 'k', user: 'u' },
      labels: [],
      limits: {},
    },
    content: { input: 1 },
  }))
  await journal.createMany(requests, { offload: async () => {} })
  return requests.map(({ run }) => run.run)
}

interface Call {
  run: string
  job: string
  /** Ends the call. */
  end: (error?: Error) => void
}

/** A worker whose calls the test ends. */
function worker(concurrency: number, { lockMs = 30_000 } = {}) {
  const calls: Call[] = []
  const errors: Error[] = []
  const lost: string[] = []
  const activations = new Intake(journal, {
    concurrency,
    lockMs,
    process: (run, _definition, job) =>
      new Promise((resolve, reject) => {
        const call: Call = {
          run,
          job,
          end: (error) => {
            under.delete(call)
            if (error) reject(error)
            else resolve()
          },
        }
        under.add(call)
        calls.push(call)
      }),
    onMail: () => {},
    onMailLost: () => {},
    onLost: (runs) => lost.push(...runs),
    onError: (error) => errors.push(error),
  })
  const under = new Set<Call>()
  open.push(activations)
  return { activations, calls, under, errors, lost }
}

async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await holds())) await new Promise((resolve) => setTimeout(resolve, 2))
}

const jobs = () => journal.partitions[0].queue.getJobCountByTypes('waiting', 'active', 'delayed')

describe('activations', () => {
  it('gives each of many runs once to workers that come and go under load, and none more than its places', async () => {
    const queued = await queue(300)
    const workers = [worker(16), worker(16)]
    const [first, second] = workers
    let most = 0
    const given: string[] = []
    const endSome = () => {
      for (const { under } of workers) {
        most = Math.max(most, under.size)
        for (const call of [...under].slice(0, 3)) {
          given.push(call.run)
          call.end()
        }
      }
    }
    await until(() => {
      endSome()
      return given.length > 100
    })
    const closed = first?.activations.close()
    const before = first?.calls.length
    await until(() => {
      endSome()
      return given.length >= 300
    })
    await closed
    expect(first?.calls.length).toBe(before)
    expect(given.sort()).toEqual(queued.sort())
    // Jobs have 2 runs where there are 16 places.
    expect(most).toBeLessThanOrEqual(17)
    await until(async () => (await jobs()) === 0)
    expect([...(first?.errors ?? []), ...(second?.errors ?? [])]).toEqual([])
  })

  it('lets runs of one definition share a job, and tries one that fails again while others hold the job', async () => {
    const runs = await queue(4)
    const [other = ''] = await queue(1, '2.0.0')
    const { calls, under } = worker(32)
    await until(() => calls.length === 5)
    expect(new Set(calls.filter(({ run }) => runs.includes(run)).map(({ job }) => job)).size).toBe(1)
    expect(calls.find(({ run }) => run === other)?.job).toBe(`${other}-1`)
    const [failing, ...rest] = [...under]
    failing?.end(new Error('not now'))
    await until(() => calls.length === 6)
    expect(calls[5]).toMatchObject({ run: failing?.run, job: failing?.job })
    for (const call of [...rest, calls[5]]) call?.end()
    await until(async () => (await jobs()) === 0)
    expect(calls).toHaveLength(6)
  })

  it('leaves a job with a run that failed to whoever takes it next', async () => {
    await queue(2)
    const { calls, under } = worker(16)
    await until(() => calls.length === 2)
    for (const call of [...under]) call.end(new Error('not here'))
    await until(() => calls.length === 4)
    for (const call of [...under]) call.end()
    await until(async () => (await jobs()) === 0)
  })

  it('takes up what a worker that died held, as the same job', async () => {
    const runs = await queue(3)
    await journal.partitions[0].feeder.feed(32)
    const dead = new Worker<Activation>(QUEUE, null, {
      prefix: journal.partitions[0].keys.tag,
      connection: journal.redis,
      lockDuration: 100,
      skipVersionCheck: true,
    })
    const job = await dead.getNextJob('dead', { block: false })
    await dead.close(true)
    expect(job?.data.runs).toEqual(runs)
    for (const run of runs) expect((await journal.activate(run, job?.id))?.epoch).toBe(1)
    const { calls, under } = worker(32, { lockMs: 500 })
    await until(() => calls.length === 3)
    for (const call of [...under]) {
      expect(call.job).toBe(job?.id)
      expect((await journal.activate(call.run, call.job))?.epoch).toBe(2)
      call.end()
    }
    await until(async () => (await jobs()) === 0)
  })

  it('gives a run that is held to no other job', async () => {
    const [run = ''] = await queue(1)
    expect((await journal.activate(run, 'one'))?.epoch).toBe(1)
    expect(await journal.activate(run, 'two')).toBe(undefined)
    expect((await journal.activate(run, 'one'))?.epoch).toBe(2)
  })

  it('keeps its lock on a job that it lost and took again when the first hold of it ends', async () => {
    const [run = ''] = await queue(1)
    // Longer than a loaded machine may stall: a lock that is lost once more would be taken once more.
    const { calls, errors, lost } = worker(8, { lockMs: 3000 })
    await until(() => calls.length === 1)
    const lock = `${journal.partitions[0].keys.tag}:${QUEUE}:${run}-1:lock`
    await journal.redis.del(lock)
    await until(() => calls.length === 2)
    expect(lost).toEqual([run])
    calls[0]?.end()
    // It is renewed: its time grows again.
    let left = await journal.redis.pttl(lock)
    await until(async () => {
      const before = left
      left = await journal.redis.pttl(lock)
      return left > before
    })
    calls[1]?.end()
    await until(async () => (await jobs()) === 0)
    expect(calls).toHaveLength(2)
    // It is nobody's fault, and nothing to alarm anybody with.
    expect(errors).toEqual([])
  })

  it('closes at once while it waits for a job', async () => {
    const { activations } = worker(8)
    await activations.ready()
    await activations.close()
    open.length = 0
  })
})

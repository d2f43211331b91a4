import { afterEach, expect, it, vi } from 'vitest'
import { journalsOf } from './fixture.ts'
import type { Journal } from './journal.ts'
import { type HandleRecords, Outbox } from './outbox.ts'

const journals = journalsOf('outbox', 1)
const started: Outbox[] = []

/** An outbox on a stream of the journal's own, emptied before. */
async function open(handle: HandleRecords, consumer = 'one') {
  const outbox = new Outbox(theJournal(), 'ended', 'archiver', consumer)
  started.push(outbox)
  const errors: [string | undefined, unknown][] = []
  outbox.start(handle, (error, run) => errors.push([run, error]))
  return errors
}

function theJournal(): Journal {
  const [journal] = journals
  if (!journal) throw new Error('no journal')
  return journal
}

const stream = () => theJournal().partitions[0].keys.ended

async function add(...runs: string[]): Promise<void> {
  for (const run of runs) await theJournal().redis.xadd(stream(), '*', 'run', run, 'seq', '7')
}

async function isEmpty(): Promise<void> {
  await vi.waitFor(async () => expect(await theJournal().redis.xlen(stream())).toBe(0), { timeout: 10_000 })
}

/** How many records somebody took and did not finish. */
async function taken(): Promise<number> {
  const [count] = (await theJournal().redis.xpending(stream(), 'archiver')) as [number]
  return count
}

const done = (records: readonly unknown[]): PromiseSettledResult<void>[] =>
  records.map(() => ({ status: 'fulfilled', value: undefined }))

afterEach(async () => {
  await Promise.all(started.splice(0).map((outbox) => outbox.close()))
  await theJournal().redis.del(stream())
})

it('gives many records at once, in their order, and removes what is done', async () => {
  const names = Array.from({ length: 100 }, (_, i) => `run-${i}`)
  await add(...names)
  const batches: string[][] = []
  const errors = await open(async (records) => {
    batches.push(records.map(({ run, seq }) => `${run}:${seq}`))
    return done(records)
  })
  await isEmpty()
  expect(batches.flat()).toEqual(names.map((name) => `${name}:7`))
  expect(batches.length).toBeLessThan(10)
  expect(await taken()).toBe(0)
  expect(errors).toEqual([])
})

it('goes on with others while some cannot be handled, and gives these again', async () => {
  const bad = Array.from({ length: 40 }, (_, i) => `bad-${i}`)
  await add(...bad)
  let isMended = false
  const handled = new Set<string>()
  const errors = await open(async (records) =>
    records.map(({ run }) => {
      if (run.startsWith('bad') && !isMended) return { status: 'rejected', reason: new Error(`no ${run}`) }
      handled.add(run)
      return { status: 'fulfilled', value: undefined }
    }),
  )
  await vi.waitFor(() => expect(errors.length).toBeGreaterThan(0))
  await add('good-1', 'good-2')
  await vi.waitFor(() => expect([...handled]).toEqual(['good-1', 'good-2']), { timeout: 20_000 })
  expect(errors.every(([run, error]) => run?.startsWith('bad') && String(error) === `Error: no ${run}`)).toBe(true)
  isMended = true
  await isEmpty()
  expect([...handled].sort()).toEqual([...bad, 'good-1', 'good-2'].sort())
}, 60_000)

it('is told of a handler that fails as a whole, and goes on', async () => {
  await add('a', 'b')
  let calls = 0
  const errors = await open(async (records) => {
    if (calls++ === 0) throw new Error('all of it')
    return done(records)
  })
  await isEmpty()
  expect(errors.map(([run, error]) => `${run}: ${error}`)).toEqual(['a: Error: all of it', 'b: Error: all of it'])
})

it('takes up what its consumer had taken before it died, and forgets what is gone', async () => {
  await add('a', 'b', 'c')
  const { redis } = theJournal()
  await redis.xgroup('CREATE', stream(), 'archiver', '0')
  await redis.xreadgroup('GROUP', 'archiver', 'one', 'COUNT', 10, 'STREAMS', stream(), '>')
  const [first] = await redis.xrange(stream(), '-', '+', 'COUNT', 1)
  await redis.xdel(stream(), first?.[0] ?? '')
  expect(await taken()).toBe(3)
  const runs: string[] = []
  await open(async (records) => {
    runs.push(...records.map(({ run }) => run))
    return done(records)
  })
  await isEmpty()
  await vi.waitFor(async () => expect(await taken()).toBe(0))
  expect(runs).toEqual(['b', 'c'])
})

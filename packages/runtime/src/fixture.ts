import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { loadPolicies } from '@muster/governance'
import { Journal, type NewRun } from '@muster/journal'
import { type Memory, type MemoryOptions, openMemory } from '@muster/memory'
import type { Models } from '@muster/models'
import { type CostLine, type Entry, type Json, newId, ofOne, type Run, type StoredEntry } from '@muster/protocol'
import { type App, tool } from '@muster/sdk'
import { type DynamoService, type RedisService, startDynamo, startRedis } from '@muster/stack'
import { z } from 'zod'
import { startWorker, type WorkerOptions } from './worker.ts'

let started: { redis: Promise<RedisService>; dir: string } | undefined
let stored: { dynamo: DynamoService; memory: Memory } | undefined
let namespaces = 0

/** One Redis for the tests of a file. */
export async function theRedis(): Promise<RedisService> {
  if (!started) {
    const dir = mkdtempSync(join(tmpdir(), 'muster-runtime-'))
    started = { redis: startRedis({ dir }), dir }
  }
  return started.redis
}

export async function stopRedis(): Promise<void> {
  if (!started) return
  const redis = await started.redis
  await redis.stop()
  rmSync(started.dir, { recursive: true })
}

/** A memory on a DynamoDB of its own for the tests of a file. */
export async function theMemory(options: Pick<MemoryOptions, 'clock' | 'keyCacheMs'> = {}): Promise<Memory> {
  const dynamo = await startDynamo({})
  const memory = await openMemory({ table: 'muster', endpoint: dynamo.endpoint ?? '', ...options })
  stored = { dynamo, memory }
  return memory
}

export async function stopMemory(): Promise<void> {
  stored?.memory.close()
  await stored?.dynamo.stop()
}

export const any = z.record(z.string(), z.json())

/** Gives what its callback brings. */
export const book = tool({
  name: 'book',
  effect: 'once',
  input: any,
  output: any,
  run: async (_, { callback }) => (await callback()).later,
})

/** Creates a run of a plan that the worker carries, or of one as data. */
export type Start = (plan: string | { steps: Json; rollback?: boolean }, extra?: Partial<NewRun>) => Promise<string>

/** A worker and its journal in a namespace of their own, where every step is permitted. */
export async function withWorker<T>(
  app: App,
  extra: Partial<WorkerOptions>,
  work: (journal: Journal, start: Start, options: WorkerOptions) => Promise<T>,
): Promise<T> {
  const redis = await theRedis()
  const namespace = `runtime${namespaces++}`
  const journal = await Journal.open({ url: redis.url, namespace })
  const options: WorkerOptions = {
    redisUrl: redis.url,
    namespace,
    app,
    policy: loadPolicies([{ file: 'all', text: 'permit (principal, action, resource);' }], app.manifest),
    // Neither is reached by most plans: no model, no large content, no archive.
    models: {} as Models,
    memory: { blobs: {} } as Memory,
    concurrency: 4,
    lockMs: 5000,
    journalTtlS: 60,
    archive: false,
    ...extra,
  }
  const worker = await startWorker(options)
  const start: Start = async (plan, more = {}) => {
    const definition =
      typeof plan === 'string'
        ? { kind: 'plan' as const, name: plan, version: '1', hash: '' }
        : { kind: 'plan' as const, name: 'inline', version: 'inline', hash: '' }
    const run = { run: newId(), tenant: 't', definition, by: { key: 'k', user: 'u' }, labels: [], limits: {}, ...more }
    await journal.create(run, typeof plan === 'string' ? { input: {} } : { input: {}, plan }, {
      offload: async () => {},
    })
    return run.run
  }
  try {
    return await work(journal, start, options)
  } finally {
    await worker.close(0)
    await journal.close()
  }
}

/** A run's entries, up to its end. */
export async function entries(journal: Journal, run: string): Promise<Entry[]> {
  const all: Entry[] = []
  for await (const { bytes } of journal.follow(run, 0, AbortSignal.timeout(30_000))) {
    const entry: Entry = JSON.parse(bytes)
    all.push(entry)
    if (entry.type === 'run.ended') break
  }
  return all
}

export async function ended(journal: Journal, run: string): Promise<Entry | undefined> {
  return (await entries(journal, run)).at(-1)
}

/** Archives one run. @throws what kept it from being archived */
export async function putRun(
  { archive }: Memory,
  run: Run,
  entries: readonly StoredEntry[],
  costs?: readonly CostLine[],
): Promise<void> {
  ofOne(await archive.putMany([{ tenant: run.tenant, run, entries, costs }]))
}

import { setTimeout as sleep } from 'node:timers/promises'
import { loadPolicies } from '@muster/governance'
import { Heads, Journal } from '@muster/journal'
import { type Memory, openMemory } from '@muster/memory'
import { createModels } from '@muster/models'
import { newId, redactRules } from '@muster/protocol'
import { createRedaction } from '@muster/redaction'
import { type LedgerOptions, startWorker, type Worker, type WorkerOptions } from '@muster/runtime'
import type { App } from '@muster/sdk'
import { Redis } from 'ioredis'
import { newSigner } from '../../../src/export-fixture.ts'
import { Gaps } from '../gaps.ts'
import { load, type System } from '../load.ts'
import type { Meter, Place, Subject, Task } from '../subject.ts'
import { benchApp, manyPolicies, type PlanName, policyText, stepsOf } from './app.ts'

/** Budgets that are never used up. */
const PLENTY = { usd: 1e6, tokens: 1e12, steps: 1e12 }

export type Outcomes = NonNullable<WorkerOptions['outcomes']>

export interface MusterOptions extends Place {
  plan: PlanName
  /** Runs under way at once. */
  inFlight: number
  outcomes: Outcomes
  /** With 53 policies, labels, budgets of money, tokens and steps, and redaction of everything. */
  governed?: boolean
  /** With a ledger: the heads of its runs are sealed by the same worker, into DynamoDB. */
  sealed?: boolean
}

/** Puts runs into the backlog, durable when it resolves. */
export async function enqueue(
  journal: Journal,
  memory: Memory,
  app: App,
  plan: PlanName,
  n: number,
  labels: string[] = [],
): Promise<void> {
  const definition = app.plans.get(plan)?.manifest
  if (!definition) throw new Error(`the app has no plan ${plan}`)
  const { kind, name, version, hash } = definition
  const common = {
    tenant: 'bench',
    definition: { kind, name, version, hash },
    by: { key: 'bench', user: 'bench' },
    labels,
    limits: {},
  }
  const requests = Array.from({ length: n }, () => ({ run: { run: newId(), ...common }, content: { input: { n: 0 } } }))
  const results = await journal.createMany(requests, { offload: memory.blobs.put })
  for (const result of results) if (result.status === 'rejected') throw result.reason
}

/** A journal, the memory of its workers, and how to start one. */
export async function openMuster({ redisUrl, dynamo }: Place, namespace: string, app: App, governed = false) {
  const memory = await openMemory({ table: 'bench', endpoint: dynamo })
  const journal = await Journal.open({ url: redisUrl, namespace })
  const text = governed ? policyText + manyPolicies : policyText
  const policy = loadPolicies([{ file: 'bench.cedar', text }], app.manifest)
  const governance = governed
    ? { redaction: createRedaction(redactRules.parse({})), budgets: { 'tenant:*': { day: PLENTY } } }
    : {}
  const models = createModels({ routes: { default: { model: 'none', apiKey: 'none', free: true } } })
  return {
    journal,
    memory,
    start(concurrency: number, outcomes: Outcomes, ledger?: LedgerOptions): Promise<Worker> {
      const options = { redisUrl, namespace, app, policy, models, memory, concurrency, outcomes, archive: false }
      return startWorker({ ...options, ...governance, lockMs: 30_000, journalTtlS: 3600, ledger })
    },
    async close() {
      await journal.close()
      memory.close()
    },
  }
}

/** Calls `onEnded` with the ids of runs as they end, from the stream that the archiver reads too. */
export function followEnds(journal: Journal, onEnded: (runs: string[]) => void): { close(): void } {
  const redis = new Redis(journal.url)
  redis.on('error', () => {})
  let closed = false
  const follow = async () => {
    for (let last = '0'; !closed; ) {
      const reply = await redis.xread('COUNT', 1000, 'BLOCK', 1000, 'STREAMS', journal.partitions[0].keys.ended, last)
      const records = reply?.[0]?.[1] ?? []
      if (records.length === 0) continue
      last = records.at(-1)?.[0] ?? last
      onEnded(records.map(([, fields]) => fields[fields.indexOf('run') + 1] ?? ''))
    }
  }
  follow().catch((error) => {
    if (!closed) throw error
  })
  return {
    close() {
      closed = true
      redis.disconnect()
    },
  }
}

/**
 * Waits until a worker has told how many runs may wait in BullMQ, which it does every second: who empties Redis between
 * two samples takes that away, and runs that are enqueued before it is told again would wait for it.
 */
async function windowTold({ redis, partitions }: Journal): Promise<void> {
  while (!(await redis.hexists(partitions[0].keys.feed, 'window'))) await sleep(20)
}

/** @throws Error when a run did not do what the benchmark counts it for */
export async function checkRuns(journal: Journal, runs: readonly string[], steps: number): Promise<void> {
  for (let from = 0; from < runs.length; from += 500) {
    const records = await Promise.all(runs.slice(from, from + 500).map((run) => journal.get(run)))
    for (const record of records) {
      const { summary } = record ?? {}
      const took = summary !== null && typeof summary === 'object' && 'steps' in summary ? summary.steps : 0
      if (record?.status !== 'succeeded' || took !== steps)
        throw new Error(`run ${record?.id}: ${record?.status} after ${took} steps instead of ${steps}`)
    }
  }
}

/** Muster's worker on runs of one plan; the client that starts them and hears of their ends is in the same process. */
export async function muster(options: MusterOptions): Promise<Subject> {
  const { plan, inFlight, outcomes, governed, sealed } = options
  const gaps = new Gaps<string>()
  const app = benchApp((run) => gaps.step(run))
  const { journal, memory, start, close } = await openMuster(
    options,
    `bench-${plan}-${outcomes}${governed ? '-governed' : ''}${sealed ? '-sealed' : ''}`,
    app,
    governed,
  )
  const seal = { signers: [newSigner()], origin: 'log.example' }
  const worker = await start(Math.max(inFlight, 100), outcomes, sealed ? { headsMs: 30_000, seal } : undefined)
  const heads = new Heads(journal)
  let runs: string[] = []
  const system: System = {
    onEnded: () => {},
    async start(n) {
      await enqueue(journal, memory, app, plan, n, governed ? ['untrusted', 'pii'] : [])
    },
  }
  const ends = followEnds(journal, (ended) => {
    runs.push(...ended)
    system.onEnded(ended.length)
  })
  return {
    async run(task: Task, meter: Meter) {
      await windowTold(journal)
      meter.begin()
      runs = []
      gaps.reset(task)
      const { units, elapsedMs } = await load(system, inFlight, task)
      // All that sealing costs is part of the sample's CPU time.
      while (sealed && (await heads.tenants()).length > 0) await sleep(200)
      meter.end()
      return { units: units * stepsOf[plan], elapsedMs, ...gaps.figures() }
    },
    check: () => checkRuns(journal, runs, stepsOf[plan]),
    async close() {
      ends.close()
      await worker.close()
      await close()
    },
  }
}

import { setTimeout as sleep } from 'node:timers/promises'
import { isEnded, type Run, toMusterError } from '@muster/protocol'
import type { Muster } from '@muster/sdk'
import { Used } from './budgets.ts'
import { checkChild, checkOutside, checkRun, childrenOf, readEffects, runOf } from './checker.ts'
import { Deployment, type DeploymentOptions } from './deployment.ts'
import type { Effect } from './effect.ts'
import { CLOCK_SKEW_MS, type Fault } from './faults.ts'
import { GatewayClients } from './gateway-clients.ts'
import { readJournal } from './journal.ts'
import { countUnarchived, findLeaks } from './leaks.ts'
import { checkLedger, Onlooker } from './ledger.ts'
import { type Accepted, Load } from './load.ts'
import { Random } from './random.ts'
import { findWords } from './secrets.ts'
import { CONTENT, type Work } from './work.ts'

/** How long a child run has to end after its parent, ms. */
const CHILD_MS = 20_000

/** Every second campaign has all of governance on: the default policies, redaction, and budgets that suffice. */
const GOVERNED = {
  MUSTER_POLICY: 'default',
  MUSTER_REDACT: '{}',
  MUSTER_BUDGETS: JSON.stringify({
    'tenant:*': { day: { usd: 1e6, steps: 1e12 }, month: { tokens: 1e12 } },
  }),
}

export interface CampaignOptions extends Partial<DeploymentOptions> {
  seed: number
  /** How long faults happen under load, ms; longer where there are not `faultsMin` by then. */
  forMs: number
  /** So many happen at least, however slow the machine is; 1 unless given. */
  faultsMin?: number
  faults: readonly Fault[]
  /** Pause between the beginnings of two faults at most, ms. */
  pauseMs?: number
  /** How long runs have to end once nothing goes wrong any more, ms. */
  graceMs?: number
  /**
   * How long ended runs have to come into the archive, ms; 0 does not look. What a worker that died was about to
   * archive is left to it for half a minute.
   */
  archiveMs?: number
  /** A run is started so often, ms. */
  everyMs?: number
  /** What the runs do; of every kind unless given. */
  work?: (random: Random) => Work
  log?: (line: string) => void
}

export interface Report {
  seed: number
  runs: number
  /** Requests that clients of the gateway got a whole answer to. */
  answers: number
  faults: number
  effects: number
  /** Checkpoints of the ledger that were seen. */
  checkpoints: number
  violations: string[]
  /** What models have cost, by the journals. */
  usedUsd: number
  /** How often each fault happened, and how the runs ended. */
  byFault: Record<string, number>
  byStatus: Record<string, number>
}

/** Everything under load while things go wrong in an order that the seed gives; then the account of it. */
export async function runCampaign(options: CampaignOptions): Promise<Report> {
  const { seed, forMs, faults, log = () => {} } = options
  const { graceMs = 30_000, archiveMs = 0, pauseMs = 1000, everyMs = 60, faultsMin = 1 } = options
  const governed = seed % 2 === 1 ? { env: GOVERNED } : {}
  const clients = new GatewayClients(new Random(seed + 2))
  const deployment = await Deployment.start({ workers: 3, partitions: 2, ...governed, ...options, clients })
  const onlooker = new Onlooker(deployment.muster)
  try {
    const load = new Load(deployment.muster, new Random(seed), options.work)
    const over = new AbortController()
    const loading = load.run(over.signal, { everyMs, openMax: 200 })
    const asking = clients.run(over.signal, deployment)
    const random = new Random(seed + 1)
    const byFault = await disturb(deployment, load, { random, forMs, faults, faultsMin, pauseMs, log })
    over.abort()
    await Promise.all([loading, asking])
    log(`${load.accepted.size} runs were acknowledged; nothing goes wrong any more`)
    await load.finish(graceMs)
    const runs = await settle(deployment, [...load.accepted.values()], graceMs)
    const effects = readEffects(deployment.effectsFile)
    const violations = [...load.violations, ...deployment.deaths]
    const used = new Used()
    violations.push(...(await account(deployment, load.accepted, runs, { effects, used })))
    await onlooker.close()
    const { seen } = onlooker
    violations.push(...(await checkLedger(deployment, { seen, runs: runs.keys(), withinMs: graceMs })))
    if (archiveMs > 0) violations.push(...(await archived(deployment, archiveMs)))
    const isArchived = archiveMs > 0
    violations.push(...(await clients.account(deployment.muster, { withinMs: graceMs, isArchived, used })))
    await deployment.drainWorkers()
    violations.push(...(await used.wrong(deployment.muster, killedBy(byFault))))
    violations.push(...(await findLeaks(deployment.redisUrl, deployment)))
    violations.push(...findWords(deployment.dir, deployment.secrets))
    violations.push(...findWords(deployment.logs, { 'content of runs': CONTENT }))
    return {
      seed,
      runs: load.accepted.size,
      answers: clients.answered,
      faults: Object.values(byFault).reduce((sum, count) => sum + count, 0),
      effects: effects.length,
      checkpoints: seen.size,
      violations,
      usedUsd: used.usd,
      byFault,
      byStatus: countBy([...runs.values()].map(({ status }) => status)),
    }
  } finally {
    await onlooker.close()
    await deployment.close()
  }
}

/** One fault after the other, sometimes two at once; resolves when all is right again. */
async function disturb(
  deployment: Deployment,
  load: Load,
  {
    random,
    forMs,
    faults,
    faultsMin,
    pauseMs,
    log,
  }: Required<Pick<CampaignOptions, 'forMs' | 'faults' | 'faultsMin' | 'pauseMs' | 'log'>> & { random: Random },
): Promise<Record<string, number>> {
  const happened: string[] = []
  const underWay = new Map<string, Promise<void>>()
  const end = performance.now() + forMs
  while (performance.now() < end || (faults.length > 0 && happened.length < faultsMin)) {
    await sleep(random.between(0, pauseMs))
    if (faults.length === 0) continue
    const fault = random.pick(faults)
    // The same part is not broken twice at a time, and two faults at once are enough.
    if (underWay.has(fault.of) || underWay.size >= 2) continue
    log(`  ${fault.name}`)
    happened.push(fault.name)
    const over = fault.happen(deployment, random, load).finally(() => underWay.delete(fault.of))
    underWay.set(fault.of, over)
  }
  await Promise.all(underWay.values())
  return countBy(happened)
}

/** Waits until every run has ended, and lets a person who looks outside first decide what is in doubt. */
async function settle(
  { muster, happened }: Deployment,
  accepted: readonly Accepted[],
  graceMs: number,
): Promise<Map<string, Run>> {
  const runs = new Map<string, Run>()
  const end = performance.now() + graceMs
  for (let open = accepted.map(({ id }) => id); open.length > 0; ) {
    for (const id of open) {
      const run = await muster.runs.get(id)
      runs.set(id, run)
      for (const { step, digest = '', for: why } of run.status === 'waiting' ? run.waiting : []) {
        if (why !== 'doubt') continue
        const verdict = (await happened(`${id}/${step}`, run.epoch)) ? 'deny' : 'approve'
        await muster.runs.approve(id, { step, verdict, digest })
      }
    }
    open = open.filter((id) => !isEnded(runs.get(id)?.status ?? 'queued'))
    if (performance.now() > end) break
    if (open.length > 0) await sleep(200)
  }
  return runs
}

async function archived({ redisUrl, namespace, partitions }: Deployment, withinMs: number): Promise<string[]> {
  const end = performance.now() + withinMs
  for (;;) {
    const left = await countUnarchived(redisUrl, { namespace, partitions })
    if (left === 0) return []
    if (performance.now() > end) return [`${left} ended runs were not archived within ${withinMs} ms`]
    await sleep(500)
  }
}

async function account(
  { muster }: Deployment,
  accepted: ReadonlyMap<string, Accepted>,
  runs: ReadonlyMap<string, Run>,
  { effects, used }: { effects: readonly Effect[]; used: Used },
): Promise<string[]> {
  const byRun = Map.groupBy(effects, runOf)
  const known = new Set(accepted.keys())
  const violations: string[] = []
  const tolerance = { clockSkewMs: CLOCK_SKEW_MS }
  for (const one of accepted.values()) {
    const run = runs.get(one.id)
    if (!run) {
      violations.push(`run ${one.id} (${one.plan}) was acknowledged and is gone`)
      continue
    }
    const journal = await readJournal(muster, one.id)
    used.add(journal.entries)
    const own = byRun.get(one.id) ?? []
    const all = [...own]
    for (const child of childrenOf(one.id, journal)) {
      const ended = await endOf(muster, child)
      if (!ended) continue
      known.add(child)
      const done = byRun.get(child) ?? []
      all.push(...done)
      const itsJournal = await readJournal(muster, child)
      used.add(itsJournal.entries)
      violations.push(...checkChild(ended, itsJournal, done, tolerance))
    }
    violations.push(...checkRun(one, run, journal, { effects: own, all }, tolerance))
  }
  return [...violations, ...checkOutside(effects, known)]
}

/** A child of a run that was cancelled hears of it a little later. Undefined where there is none. */
async function endOf(muster: Muster, id: string): Promise<Run | undefined> {
  for (const end = performance.now() + CHILD_MS; ; ) {
    const run = await muster.runs.get(id).catch((error) => {
      if (toMusterError(error).code !== 'run.not_found') throw error
    })
    if (!run) return undefined
    if (isEnded(run.status) || performance.now() > end) return run
    await sleep(200)
  }
}

/** Processes that were, at most. */
function killedBy(byFault: Record<string, number>): number {
  return Object.entries(byFault).reduce((sum, [name, times]) => sum + (name.startsWith('kill -9') ? 4 * times : 0), 0)
}

function countBy(names: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const name of names) counts[name] = (counts[name] ?? 0) + 1
  return counts
}

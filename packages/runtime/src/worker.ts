import { randomUUID } from 'node:crypto'
import { hostname } from 'node:os'
import type { PolicySet } from '@muster/governance'
import { ANNOUNCE_MS, Controls, Heads, Intake, Journal, Live, type ReplicationOptions } from '@muster/journal'
import type { Memory } from '@muster/memory'
import type { Models } from '@muster/models'
import { astrayText, type BudgetsByName, type LimitsByName, type RetentionRule, toMusterError } from '@muster/protocol'
import type { Redaction } from '@muster/redaction'
import type { App } from '@muster/sdk'
import type { ToolLock } from '@muster/tools'
import { type Logger, pino } from 'pino'
import { startArchiver } from './archive/archiver.ts'
import { Eraser } from './archive/erasing.ts'
import { Indexer } from './archive/indexer.ts'
import { PolicyUse } from './archive/policy-use.ts'
import { RecordBook } from './archive/record-book.ts'
import { Refusals } from './archive/refusals.ts'
import { Retention } from './archive/retention.ts'
import { Engine } from './engine.ts'
import { type LedgerOptions, startLedger } from './ledger/start.ts'
import { pollSchedules } from './outside/schedule-poll.ts'
import { startWebhooks, type WebhookOptions } from './outside/webhook-delivery.ts'
import { Failures } from './run/failures.ts'
import type { Outcomes } from './services.ts'
import type { CallbackTokens } from './step/callback-token.ts'
import { type DestinationsByTenant, ToolFlow } from './step/tool-flow.ts'
import { noTelemetry, type Telemetry } from './telemetry.ts'

/** Runs astray that a worker names. */
const ASTRAY_MAX = 100

/** How often runs that go on are looked at for audit search. */
const INDEX_MS = 30_000

/** How long at least a worker that has let go of its runs may take to tell Redis so, and to end what goes on beside them, ms. */
const LEAVE_MS = 5000

export interface WorkerOptions {
  redisUrl: string
  namespace: string
  /** Parts that the runs are spread over; see `JournalOptions`. */
  partitions?: number | undefined
  app: App
  policy: PolicySet
  /** Tools that a person has approved; without it all are. */
  toolLock?: ToolLock | undefined
  /** Where tenants' data may go besides what tools declare, by tenant; `*` for all. */
  destinations?: DestinationsByTenant | undefined
  models: Models
  memory: Memory
  /** Runs that the worker holds at once. */
  concurrency: number
  /** A worker that has not renewed its locks for this long has lost its runs, ms. */
  lockMs: number
  /** How long an archived run stays in Redis, seconds. */
  journalTtlS: number
  /**
   * `ahead` (the default): a `pure` step goes on from an outcome that is not durable yet, since its own
   * cannot become durable before; effects wait. `strict`: every step waits for the outcomes before it.
   */
  outcomes?: Outcomes
  /** Whether this worker archives ended runs; true unless given. Some worker must. */
  archive?: boolean
  /** Shares of tenants, above 0 and at most 1000; 1 for those not named. They replace those that Redis has; without them it keeps its own. */
  weights?: Readonly<Record<string, number>> | undefined
  /** Replicas that must have a write before it counts as durable; see `JournalOptions`. */
  replication?: ReplicationOptions | undefined
  /** What tenants, definitions, tools and models let through at once and per minute, over all workers that are told the same. */
  limits?: LimitsByName | undefined
  /** What tenants, agents and plans may use in a day or month, over all workers that are told the same. */
  budgets?: BudgetsByName | undefined
  /** How long what is kept of ended runs; for ever without it. The same for all workers. */
  retention?: readonly RetentionRule[] | undefined
  /** Signs the tokens of callbacks; without it no tool can ask for one. */
  callbacks?: CallbackTokens | undefined
  /** Takes personal data and secrets out of what is stored and sent to models. */
  redaction?: Redaction | undefined
  /** Events of runs are delivered to webhooks by this worker. */
  webhooks?: WebhookOptions | undefined
  /** Heads of runs enter the ledger of their tenant. The same for all workers, but for who seals. */
  ledger?: LedgerOptions | undefined
  /** Opens the journal, of which Redis may not be there yet; at once or not at all unless given. */
  reach?: ((open: () => Promise<Journal>) => Promise<Journal>) | undefined
  telemetry?: Telemetry
  log?: Logger
  clock?: () => number
}

export interface Worker {
  readonly name: string
  /** Runs held at this moment. */
  held(): number
  /** Decides by these from now on. They are published first, so that no decision names a set that nobody can read. */
  usePolicies(policy: PolicySet): Promise<void>
  /**
   * Takes no new runs and begins no step; leaves each run to other workers when what is under way has ended, and all
   * of them after `graceMs`.
   */
  close(graceMs?: number): Promise<void>
}

/** Starts a worker: publishes what it carries, takes activations, drives runs, archives ended ones. */
export async function startWorker(options: WorkerOptions): Promise<Worker> {
  const { app, memory, policy, models } = options
  const log = options.log ?? pino({ level: 'silent' })
  const clock = options.clock ?? Date.now
  const name = `${hostname()}-${process.pid}-${randomUUID().slice(0, 8)}`
  const { redisUrl: url, namespace, partitions, replication } = options
  const open = async () => {
    const journal = await Journal.open({ url, namespace, partitions, replication, clock })
    try {
      await journal.publish(app.manifest)
      return journal
    } catch (error) {
      await journal.abandon()
      throw error
    }
  }
  const journal = await (options.reach ?? ((at) => at()))(open)
  const { safe, text } = await journal.durability()
  log[safe ? 'info' : 'warn'](`durability: ${text}`)
  if (options.weights) await journal.setWeights(options.weights)
  await journal.publishPolicies(policy.published)
  const book = new RecordBook(new Heads(journal), memory.records, clock)
  const policyUse = new PolicyUse(policy.published, {
    ...{ book, memory, worker: name, log, clock },
    budgets: options.budgets ?? {},
  })
  const indexer = new Indexer({ journal, memory, log })
  const controls = new Controls(journal, {
    onChange: () => engine.heedControls(),
    onError: (error) => log.warn({ err: error }, 'stops, budgets and limits not read; those known before hold'),
  })
  const engine = new Engine({
    app,
    journal,
    controls,
    memory,
    models,
    policy,
    policyUse,
    indexer,
    toolFlow: new ToolFlow(app.manifest.tools, options.toolLock, options.destinations),
    telemetry: options.telemetry ?? noTelemetry,
    log,
    callbacks: options.callbacks,
    redaction: options.redaction,
    live: new Live(journal),
    exchanges: new Map(),
    clock,
    random: Math.random,
    outcomes: options.outcomes ?? 'ahead',
    worker: name,
    weights: options.weights ?? {},
    limits: options.limits ?? {},
    budgets: options.budgets ?? {},
    ledger: options.ledger !== undefined,
    lockMs: options.lockMs,
    // A run is mostly waiting for models and tools: several steps each, and no more than the pool can feel.
    concurrency: options.concurrency * 4,
  })
  await controls.start()
  /** Definitions that runs came for and that are not carried here. */
  const absent = new Set<string>()
  const failures = new Failures(clock, Math.random)
  const intake = new Intake(journal, {
    concurrency: options.concurrency,
    lockMs: options.lockMs,
    process: async (run, definition, job) => {
      try {
        await engine.process(run, definition, job)
        failures.clear(run)
      } catch (error) {
        if (toMusterError(error).code === 'journal.fenced') {
          failures.clear(run)
          log.info({ run, reason: toMusterError(error).message }, 'run let go')
        } else if (toMusterError(error).code !== 'definition.absent') {
          const { count, pauseMs } = failures.note(run, error)
          log.warn(
            { run, definition, failures: count, pauseMs, err: error },
            'activation given back; it is tried again after a pause',
          )
        } else if (!absent.has(definition)) {
          // Every second, for as long as its runs wait.
          absent.add(definition)
          log.warn({ run, definition }, 'runs wait for a worker that carries their definition')
        }
        throw error
      }
    },
    pauseMs: (run) => failures.pauseMs(run),
    onMail: (run) => engine.mail(run),
    onMailLost: () => engine.mailLost(),
    onLost: (runs) => engine.lose(runs),
    onError: (error) => log.warn({ err: error }, 'no runs are taken for now; it is tried again'),
  })
  await intake.ready()
  const startedAt = clock()
  const { concurrency } = options
  const definitions = [...engine.carried]
  options.telemetry?.worker({
    concurrency,
    held: () => engine.held,
    lost: () => engine.fenced,
    waitedMs: () => engine.waitedMs(),
    backlog: () => journal.backlog(),
    lags: () => journal.lags(),
  })
  let decidesBy = policy
  /** Redis may have lost what it was told, by hand or by a failover, and may have been set to lose more. */
  const look = async () => {
    if (await journal.restore(app.manifest)) {
      log.error('Redis has lost its data: runs that it held are gone; this worker has made itself known again')
      await journal.publishPolicies(decidesBy.published)
      if (options.weights) await journal.setWeights(options.weights)
    }
    await journal.checkSafe()
  }
  let astray = new Set<string>()
  const announce = () => {
    const runs = engine.astray()
    for (const { id, created } of runs)
      if (!astray.has(id)) log.warn({ run: id, plan: created.definition.name }, astrayText(created.definition))
    astray = new Set(runs.map(({ id }) => id))
    return journal
      .announce({
        name,
        seenAt: clock(),
        startedAt,
        held: engine.held,
        fenced: engine.fenced,
        concurrency,
        definitions,
        astray: [...astray].slice(0, ASTRAY_MAX),
        failing: failures.told().filter(({ run }) => !engine.holds(run)),
      })
      .catch((error) => log.warn({ err: error }, 'worker not announced'))
  }
  await announce()
  const announcing = setInterval(() => {
    look().catch((error) => log.error({ err: error }, 'Redis is not as it must be'))
    void announce()
  }, ANNOUNCE_MS)
  const schedules = pollSchedules(journal, memory.blobs.put, new Refusals(memory), (error) =>
    log.warn({ err: error }, 'schedule'),
  )
  const archiver =
    options.archive === false
      ? undefined
      : startArchiver({
          ...{ journal, memory, worker: name, ttlS: options.journalTtlS, log },
          providerOf: models.providerOf,
        })
  const eraser =
    options.archive === false
      ? undefined
      : new Eraser({ journal, memory, book, clock, log, providerOf: models.providerOf })
  eraser?.start()
  const retention =
    options.archive === false
      ? undefined
      : new Retention({ journal, memory, book, rules: options.retention ?? [], clock, log })
  retention?.start()
  const webhooks = options.webhooks && startWebhooks({ journal, worker: name, log, webhooks: options.webhooks })
  const ledger =
    options.ledger &&
    startLedger({ journal, memory, book, worker: name, log, clock, runs: () => engine.runs(), ledger: options.ledger })
  const indexing = setInterval(() => indexer.goOn(engine.runs()), INDEX_MS)
  return {
    name,
    held: () => engine.held,
    async usePolicies(set) {
      await journal.publishPolicies(set.published)
      decidesBy = set
      policyUse.use(set.published)
      engine.usePolicies(set)
    },
    async close(graceMs = 10_000) {
      const delivered = webhooks?.close().catch(() => {})
      await schedules.close()
      const drained = intake.close()
      engine.drain()
      const grace = new Promise((resolve) => setTimeout(resolve, graceMs).unref())
      await Promise.race([drained, grace])
      controls.close()
      await engine.close()
      const leave = async () => {
        await drained
        await archiver?.close()
        await eraser?.close()
        await retention?.close()
        // One that does not answer is not waited for: what is under way another goes on with.
        await Promise.race([ledger?.close(), grace])
        // One that does not answer is not waited for: what was sent to it is sent again.
        await Promise.race([delivered, grace])
        clearInterval(announcing)
        clearInterval(indexing)
        await Promise.race([indexer.close(), grace])
        await Promise.race([policyUse.close(), grace])
        await journal.leave(name).catch(() => {})
        await journal.close()
      }
      // Where Redis is away it is never told: others take up what is left, as after a crash.
      const late = new Promise((resolve) => setTimeout(resolve, LEAVE_MS).unref())
      await Promise.race([leave(), Promise.all([grace, late])])
    },
  }
}

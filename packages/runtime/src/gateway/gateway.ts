import { randomUUID } from 'node:crypto'
import { hostname } from 'node:os'
import { loadPolicies, refusedTargets } from '@muster/governance'
import { type Controls, Heads, Holder, type Journal, Live, MailBell, type NewRun, ShortLived } from '@muster/journal'
import type { Memory } from '@muster/memory'
import type { Models } from '@muster/models'
import {
  type Actor,
  type BudgetsByName,
  GATEWAY,
  type Json,
  type Label,
  type LimitsByName,
  MusterError,
  type PolicySource,
  type RedactCounts,
} from '@muster/protocol'
import type { Redaction } from '@muster/redaction'
import { collect } from '@muster/sdk'
import { type Logger, pino } from 'pino'
import { Indexer } from '../archive/indexer.ts'
import { PolicyUse } from '../archive/policy-use.ts'
import { RecordBook } from '../archive/record-book.ts'
import { Engine } from '../engine.ts'
import type { ActiveRun, Closed } from '../run/active-run.ts'
import { redactWords } from '../step/redacting.ts'
import { ToolFlow } from '../step/tool-flow.ts'
import { noTelemetry, type Telemetry } from '../telemetry.ts'
import { denialOf } from './denial.ts'
import { type ClientRequest, Exchange } from './exchange.ts'
import { GatewayPolicies } from './gateway-policies.ts'
import { LaterTurns } from './later-turns.ts'
import { Places } from './places.ts'

/** Requests that are under way at once, of which a tenant has its part; more are told to come again. */
const PLACES = 10_000
/** A request whose turn has not come by then is told to come again: clients wait better than a connection does, ms. */
const TURN_MS = 5000
const NO_LIMITS: ReadonlyMap<string, number> = new Map()
const LOOK_MS = 500
/** What is cut off has this long to be written down, ms. */
const LAST_MS = 5000

export interface GatewayOptions {
  /** The server's own; they outlive the gateway. */
  journal: Journal
  memory: Memory
  controls: Controls
  models: Models
  /** The policies as they are now. */
  policies: () => readonly PolicySource[]
  redaction?: Redaction | undefined
  limits?: LimitsByName | undefined
  budgets?: BudgetsByName | undefined
  /** Heads of runs enter the ledger of their tenant; some worker must take them there. */
  ledger?: boolean | undefined
  /** Requests that are under way at once, of all tenants. */
  places?: number | undefined
  /** A process that has not said for this long that it lives has lost its requests, ms. */
  lockMs: number
  telemetry?: Telemetry | undefined
  log?: Logger | undefined
}

/** A client's request, and the run that it is. */
export interface HeldRequest {
  run: string
  exchange: Exchange
  /** How it ended here: durable, when it is `ended`. */
  closed: Promise<Closed>
  /** The client, or somebody for it, wants it no more. */
  cancel(by: Actor): void
}

/**
 * Requests of clients, each a run of its own that does not queue: this process creates it, holds it and executes its one
 * step, with the same decisions, budgets and journal as a worker's.
 */
export class Gateway {
  readonly models: Models
  readonly #options: GatewayOptions
  readonly #engine: Engine
  readonly #holder: Holder
  readonly #bell: MailBell
  readonly #policies: GatewayPolicies
  readonly #policyUse: PolicyUse
  readonly #indexer: Indexer
  readonly #exchanges = new ShortLived<string, Exchange>()
  readonly #places: Places
  readonly #turns = new LaterTurns(Date.now, TURN_MS)
  readonly #held = new ShortLived<string, { active: ActiveRun; closed: Promise<Closed> }>()
  readonly #looking: NodeJS.Timeout
  #closing = false

  private constructor(options: GatewayOptions) {
    const { journal, memory, controls, models, lockMs, places = PLACES } = options
    const log = options.log ?? pino({ level: 'silent' })
    const name = `${hostname()}-${process.pid}-${randomUUID().slice(0, 8)}`
    const app = collect({})
    // Denies everything until there are others.
    const nothing = loadPolicies([], app.manifest)
    const book = new RecordBook(new Heads(journal), memory.records)
    const policyUse = new PolicyUse(nothing.published, {
      ...{ book, memory, worker: name, log, clock: Date.now },
      budgets: options.budgets ?? {},
    })
    this.#options = options
    this.#policyUse = policyUse
    this.models = models
    this.#places = new Places(places)
    this.#indexer = new Indexer({ journal, memory, log })
    this.#holder = new Holder(journal, {
      name,
      leaseMs: lockMs,
      onError: (error) => log.warn({ err: error }, 'requests that are held not told of; it is tried again'),
    })
    this.#engine = new Engine({
      ...{ app, journal, controls, memory, models, policy: nothing, policyUse, indexer: this.#indexer, log, lockMs },
      toolFlow: new ToolFlow([], undefined, undefined),
      telemetry: options.telemetry ?? noTelemetry,
      callbacks: undefined,
      redaction: options.redaction,
      live: new Live(journal),
      exchanges: this.#exchanges,
      clock: Date.now,
      random: Math.random,
      outcomes: 'ahead',
      worker: name,
      holder: name,
      weights: {},
      limits: options.limits ?? {},
      budgets: options.budgets ?? {},
      ledger: options.ledger ?? false,
      // A request and the calls of tools that are decided beside it.
      concurrency: 2 * places,
    })
    this.#bell = new MailBell(journal, {
      onMail: (run) => this.#engine.mail(run),
      onMailLost: () => this.#engine.mailLost(),
      onError: (error) => log.warn({ err: error }, 'messages are not heard'),
    })
    this.#policies = new GatewayPolicies({
      ...{ journal, sources: options.policies, log },
      use: (set) => {
        policyUse.use(set.published)
        this.#engine.usePolicies(set)
      },
    })
    this.#looking = setInterval(() => this.#refuseLate(), LOOK_MS)
  }

  static async open(options: GatewayOptions): Promise<Gateway> {
    const gateway = new Gateway(options)
    await gateway.#holder.beat()
    await gateway.#policies.start()
    return gateway
  }

  /** What is stored and sent of a request. */
  redact(tenant: string, words: Json): { value: Json; redacted?: RedactCounts } {
    const redactor = this.#options.redaction?.of(tenant)
    const { value, found } = redactor ? redactWords(redactor, words) : { value: words, found: undefined }
    return { value, ...(found ? { redacted: found } : {}) }
  }

  /** Whether a tenant's request may be taken now. @throws MusterError `gateway.closing`, `gateway.not_ready`, `rate.limited` */
  check(tenant: string): void {
    if (this.#closing) throw new MusterError('gateway.closing', 'The server is shutting down')
    this.#policies.check()
    this.#places.check(tenant)
  }

  /**
   * Why what is asked of a route, and is no run, may not go to some of its targets, by their places there.
   *
   * @throws MusterError `policy.denied` where it may go to none
   */
  refusedTargets(
    { key, user, team }: Actor,
    { tenant, route, labels }: { tenant: string; route: string; labels: readonly Label[] },
  ): ReadonlyMap<number, string> {
    const { policies } = this.#engine
    const decision = policies.decide({
      ...{ tenant, action: 'model:invoke', resource: { type: 'Model', name: route }, labels, approvals: [] },
      principal: { type: 'Plan', name: GATEWAY.name },
      ...{ user, key, team, spentUsd: 0, targets: this.models.targetsOf(route) },
    })
    if (decision.effect !== 'allow') throw new MusterError('policy.denied', denialOf(route, decision, policies))
    return refusedTargets(decision)
  }

  /**
   * Creates the run of a request and begins with it. `input.body` may be that of the request, and is then encoded once.
   *
   * @throws MusterError `rate.limited` where others have taken the places since they were looked at
   */
  begin(created: NewRun, input: { [name: string]: Json }, request: ClientRequest): HeldRequest {
    const { run } = created
    const exchange = new Exchange(request, Date.now())
    // What cannot be written is not under way.
    const content = contentOf(input, exchange)
    this.#places.take(created.tenant)
    this.#exchanges.set(run, exchange)
    const { run: active, closed } = this.#engine.begin(created, content)
    const over = this.#end(active, exchange, closed)
    this.#held.set(run, { active, closed: over })
    return {
      run,
      exchange,
      closed: over,
      cancel(by) {
        if (!active.over) active.requestCancel(by)
      },
    }
  }

  /** Resolves when this process holds the run no more: at once where it does not. */
  async settled(run: string): Promise<void> {
    await this.#held.get(run)?.closed
  }

  async #end(active: ActiveRun, exchange: Exchange, closed: Promise<Closed>): Promise<Closed> {
    const { id: run } = active
    let how: Closed = 'gap'
    try {
      how = await closed
    } catch {
      // What its journal has is for whoever takes it up.
    }
    this.#places.leave(active.created.tenant)
    this.#exchanges.delete(run)
    this.#held.delete(run)
    if (how === 'ended') {
      this.#holder.over(run)
      if (exchange.isOpen) exchange.failed(new MusterError('run.cancelled', `Run ${run} was cancelled`))
      exchange.ended()
    } else if (how === 'parked') {
      // Nobody waits for it any more: whoever takes it up ends it.
      this.#holder.over(run)
      this.#options.journal.post(run, { type: 'cancel', by: active.created.by }).catch(() => {})
      exchange.lost(new MusterError('run.paused', `Run ${run} was paused`))
    } else {
      this.#holder.leave(run)
      exchange.lost(new MusterError('journal.fenced', `Run ${run} is no longer held here (${how})`))
    }
    return how
  }

  /** Stops or limits have been set or lifted. */
  heedControls(): void {
    this.#engine.heedControls()
  }

  #refuseLate(): void {
    const late = Date.now() - TURN_MS
    this.#turns.pass()
    for (const [run, exchange] of this.#exchanges) {
      if (exchange.hasBegun || exchange.at > late) continue
      const active = this.#held.get(run)?.active
      const { limits, opensAt } = active ? this.#engine.heldBy(active) : { limits: NO_LIMITS, opensAt: 0 }
      const retryAfterMs = active && limits.size > 0 ? this.#turns.next(active.tenant, limits, opensAt) : TURN_MS
      const why =
        limits.size > 0
          ? `the limits of ${[...limits.keys()].join(' and ')} let no more through`
          : `too much is asked of "${exchange.request.route}"`
      const message = `no turn within ${TURN_MS} ms: ${why} at present`
      exchange.failed(new MusterError('rate.limited', message, { retryAfterMs }))
      active?.fail({ code: 'rate.limited', message })
    }
  }

  /** Takes no new requests, and waits for those under way; what is left after `graceMs` is cut off. */
  async close(graceMs: number): Promise<void> {
    this.#closing = true
    await this.#within(graceMs)
    const error = { code: 'gateway.interrupted', message: 'the server was stopped before the answer was whole' }
    for (const { active } of this.#held.values()) active.fail(error)
    await this.#within(LAST_MS)
    clearInterval(this.#looking)
    this.#policies.close()
    this.#bell.close()
    await this.#engine.close()
    await this.#holder.close().catch(() => {})
    await this.#indexer.close()
    await within(LAST_MS, this.#policyUse.close())
  }

  async #within(ms: number): Promise<void> {
    await within(ms, Promise.all([...this.#held.values()].map(({ closed }) => closed)))
  }
}

/** Waits for what may take too long. */
async function within(ms: number, what: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise((resolve) => {
    timer = setTimeout(resolve, ms)
  })
  await Promise.race([what, late])
  clearTimeout(timer)
}

function contentOf(input: { [name: string]: Json }, exchange: Exchange): string {
  const { body, ...about } = input
  if (body !== exchange.request.body) return JSON.stringify({ input })
  return `${JSON.stringify({ input: about }).slice(0, -2)},"body":${exchange.text}}}`
}

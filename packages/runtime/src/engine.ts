import type { PolicySet } from '@muster/governance'
import { type Hold, type Journal, lostError, type NewRun, newHold, ShortLived, Spend, Writer } from '@muster/journal'
import {
  type BudgetsByName,
  carriedPin,
  isCarried,
  isGateway,
  type LimitsByName,
  MusterError,
  planData,
  zodIssues,
} from '@muster/protocol'
import { type Join, Scheduler, type StepHandle, slotOf } from '@muster/scheduler'
import type { Plan } from '@muster/sdk'
import { agentDriver } from './drivers/agent-driver.ts'
import { planCodeDriver } from './drivers/plan-code-driver.ts'
import { planDataDriver } from './drivers/plan-data-driver.ts'
import { gatewayDriver } from './gateway/gateway-driver.ts'
import { Slices } from './limits/slices.ts'
import { Spending } from './limits/spending.ts'
import { ActiveRun, type Closed, type Driver } from './run/active-run.ts'
import type { Services } from './services.ts'
import { Kinds } from './step/kinds.ts'
import type { StepState } from './step/step.ts'
import { expireStep } from './step/step-life.ts'
import { endWait } from './step/waits.ts'
import { allocateYoung } from './young.ts'

/** Steps that may begin before the network has its turn: about the work of ten milliseconds. */
const BURST = 1000

/** Different definitions that are asked for before what is known of them is forgotten. */
const CARRIED_MAX = 10_000

/** Version that a plan which came with its run has. */
export const INLINE = 'inline'

export type EngineOptions = Omit<
  Services,
  'scheduler' | 'kinds' | 'spending' | 'writer' | 'schedule' | 'settle' | 'expire' | 'pump'
> & {
  /** Steps that this worker has under way at once. */
  concurrency: number
  /** Tenants' shares of the turns; 1 for those not named. */
  weights: Readonly<Record<string, number>>
  /** What they let through over all workers together. */
  limits: LimitsByName
  budgets: BudgetsByName
  /** Heads of runs that end or park are left for the ledger. */
  ledger: boolean
  /** Under which name it holds runs that it creates itself; none unless given. */
  holder?: string
}

/** A worker's engine: every run that it holds, one scheduler over all their steps, one group commit. */
export class Engine {
  readonly #services: Services
  readonly #journal: Journal
  readonly #writer: Writer
  readonly #slices: Slices
  readonly #scheduler: Scheduler
  readonly #runs = new ShortLived<string, ActiveRun>()
  /** By the scheduler's slot, in step: whose it is. */
  readonly #runOf: (ActiveRun | undefined)[] = []
  readonly #stepOf: (StepState | undefined)[] = []
  readonly #ready: StepHandle[] = []
  readonly #expired: StepHandle[] = []
  readonly #dropped: StepHandle[] = []
  /** What this worker carries; see `carriedPin`. */
  readonly carried: ReadonlySet<string>
  /** By what was asked for. */
  readonly #carried = new Map<string, boolean>()
  #fenced = 0
  #draining = false
  #pumping = false
  /** Steps begun since I/O had its turn. */
  #begun = 0
  #timer: NodeJS.Timeout | undefined
  #timerAt = Number.POSITIVE_INFINITY

  constructor(options: EngineOptions) {
    const { journal, memory, log } = options
    allocateYoung()
    this.#journal = journal
    options.telemetry.models(options.models)
    this.carried = new Set(options.app.manifest.definitions.map(carriedPin))
    this.#scheduler = new Scheduler({ concurrency: options.concurrency })
    for (const [tenant, weight] of Object.entries(options.weights)) this.#scheduler.setWeight(tenant, weight)
    this.#writer = new Writer({
      partitions: journal.partitions,
      clock: options.clock,
      offload: memory.blobs.put,
      onWake: (run) =>
        journal.wake(run).catch((error) => log.warn({ run, err: error }, 'parent not enqueued; the sweeper will')),
      onParentMail: (run) => {
        if (this.#runs.has(run)) this.mail(run)
        else
          journal
            .notifyMail(run)
            .catch((error) =>
              log.warn({ run, err: error }, 'parent not notified; it reads its inbox with its next append'),
            )
      },
      onError: (error) => log.error({ err: error }, 'journal not written'),
      onDrain: () => this.#pump(),
      ledger: options.ledger,
      holder: options.holder,
    })
    this.#slices = new Slices({
      journal,
      scheduler: this.#scheduler,
      worker: options.worker,
      leaseMs: options.lockMs,
      clock: options.clock,
      steady: () => performance.now(),
      log,
      onChange: () => this.#pump(),
    })
    const kinds = new Kinds(this.#scheduler, this.#slices, { configured: options.limits, controls: options.controls })
    this.#services = {
      ...options,
      scheduler: this.#scheduler,
      kinds,
      spending: new Spending({ ...options, spend: new Spend(journal) }),
      writer: this.#writer,
      schedule: (run, step) => {
        const of = kinds.of(step.spec.operation)
        const before = step.spec.after ? waitsFor(step.spec.after, step.spec.join) : NOTHING
        if (!before) {
          run.skip(step)
          return
        }
        const { kind, tokens } = of
        step.tokens = tokens
        step.handle = this.#scheduler.addStep(run.slot, before.after, kind, before.join, tokens)
        const slot = slotOf(step.handle)
        this.#runOf[slot] = run
        kinds.want(of, run.needs)
        this.#stepOf[slot] = step
        this.#pump()
      },
      settle: (step) => this.#settle(step),
      expire: (step, at) => {
        if (step.handle === undefined) return
        this.#scheduler.expire(step.handle, at)
        this.#setTimer(at)
      },
      pump: () => this.#pump(),
    }
  }

  get held(): number {
    return this.#runs.size
  }

  /**
   * The limits that hold back steps of a run, by name, with how long each takes to earn one; and when its steps may start
   * by all of theirs, Infinity where that cannot be told.
   */
  heldBy({ steps, needs }: ActiveRun): { limits: ReadonlyMap<string, number>; opensAt: number } {
    const { kinds } = this.#services
    const limits = new Map<string, number>()
    let opensAt = 0
    for (const { spec, tokens, outcome } of steps.values()) {
      if (outcome) continue
      const of = kinds.of(spec.operation)
      for (const { name, earnsMs } of kinds.awaited(of, needs, tokens)) limits.set(name, earnsMs)
      opensAt = Math.max(opensAt, kinds.opensAt(of, needs, tokens))
    }
    return { limits, opensAt }
  }

  /** Whether a run is held and gone on with. */
  holds(run: string): boolean {
    return this.#runs.has(run)
  }

  /** What decides now. */
  get policies(): PolicySet {
    return this.#services.policy
  }

  /** Decides by these from now on. */
  usePolicies(policy: PolicySet): void {
    const { history: before } = this.#services.policy
    this.#services.policy = policy
    // What others ask of the past was not kept: the runs go on by the old set until they are taken up anew.
    if (before?.key !== policy.history?.key) for (const run of this.#runs.values()) run.drain()
  }

  /** The runs that are held. */
  runs(): { run: string; tenant: string; seq: number }[] {
    return [...this.#runs.values()].map(({ id, tenant, seq }) => ({ run: id, tenant, seq }))
  }

  /** Runs whose plan's code waits for what is none of its steps, as far as can be told; see `ActiveRun.isAstray`. */
  astray(): ActiveRun[] {
    return [...this.#runs.values()].filter((run) => run.isAstray())
  }

  /** Whether this worker goes on with runs that are pinned to this; see `pinOf`. */
  carries(pinned: string): boolean {
    if (pinned.endsWith(`@${INLINE}`)) return true
    let carried = this.#carried.get(pinned)
    if (carried === undefined) {
      carried = isCarried(pinned, this.carried)
      if (this.#carried.size >= CARRIED_MAX) this.#carried.clear()
      this.#carried.set(pinned, carried)
    }
    return carried
  }

  /**
   * Drives one run, for the job named, until it ends or parks.
   *
   * @throws MusterError `definition.absent` when this worker does not carry it, `journal.fenced` when
   * it was lost, `journal.corrupt` when its journal was altered
   */
  async process(id: string, definition: string, job?: string): Promise<void> {
    if (!this.carries(definition))
      throw new MusterError('definition.absent', `this worker does not carry ${definition}`)
    for (;;) {
      const hold = await this.#journal.activate(id, job)
      if (!hold) return
      const run = this.#take(hold)
      const how = await this.#drive(run, hold)
      // A message came while it was about to park: take it again at once.
      if (how === 'mail') continue
      if (how === 'parked') this.#services.indexer.note(id, run.tenant)
      if (how === 'ended' || how === 'parked') return
      if (how === 'left') throw new MusterError('journal.fenced', `run ${id} is left to another worker`)
      if (how === 'fenced' || how === 'missing') this.#fenced++
      throw lostError(id, how)
    }
  }

  /**
   * Creates a run and drives it: nobody else is told of it while its holder lives.
   *
   * @param content JSON
   */
  begin(created: NewRun, content: string): { run: ActiveRun; closed: Promise<Closed> } {
    const hold = newHold(created, content, this.#services.clock())
    const run = this.#take(hold)
    return { run, closed: this.#drive(run, hold) }
  }

  #take(hold: Hold): ActiveRun {
    const run = new ActiveRun(this.#services, hold)
    this.#services.policyUse.seen(run.tenant)
    this.#runs.set(run.id, run)
    if (this.#draining) run.drain()
    return run
  }

  /** Nothing of a run stays here once it is over; a slot may be another step's already. */
  #forget(run: ActiveRun): void {
    if (this.#runs.get(run.id) === run) this.#runs.delete(run.id)
    for (const step of run.steps.values()) {
      if (step.handle === undefined) continue
      const slot = slotOf(step.handle)
      if (this.#stepOf[slot] !== step) continue
      this.#stepOf[slot] = undefined
      this.#runOf[slot] = undefined
    }
  }

  async #drive(run: ActiveRun, hold: Hold): Promise<Closed> {
    try {
      await run.open(hold, driverOf)
      return await run.closed
    } catch (error) {
      run.abandon()
      throw error
    } finally {
      this.#forget(run)
    }
  }

  /** Runs that were held here and are another worker's. */
  get fenced(): number {
    return this.#fenced
  }

  /** How long steps have waited for a place here and for limits, all together. */
  waitedMs(): Readonly<Record<string, number>> {
    return { ...this.#scheduler.waitedMs(this.#services.clock()) }
  }

  /** Messages for runs that are held here may have been missed. */
  mailLost(): void {
    for (const run of this.#runs.values()) run.inbox.come()
  }

  /** Stops or limits have been set or lifted. */
  heedControls(): void {
    this.#services.kinds.heed(this.#runs.values())
    this.#pump()
    for (const run of this.#runs.values()) run.heedStops()
  }

  /** Others have these runs, or will. */
  lose(runs: readonly string[]): void {
    for (const run of runs) this.#runs.get(run)?.lose()
  }

  /** There is a message for a run: heeded when it is held here. */
  mail(run: string): void {
    this.#runs.get(run)?.inbox.come()
  }

  /** Gives every run to another worker as soon as nothing of it is under way. */
  drain(): void {
    this.#draining = true
    for (const run of this.#runs.values()) run.drain()
  }

  /** Gives up every run that is held: another worker takes each up from its journal. */
  async close(): Promise<void> {
    clearTimeout(this.#timer)
    await this.#writer.idle()
    for (const run of this.#runs.values()) run.abandon()
    await this.#slices.close()
    await this.#services.spending.close()
  }

  #pump(): void {
    if (this.#pumping) return
    this.#pumping = true
    // Steps that end at once would keep the promises' queue busy for ever; now and then it is the network's turn.
    if (this.#begun < BURST) queueMicrotask(this.#start)
    else setImmediate(this.#start)
  }

  readonly #start = (): void => {
    this.#pumping = false
    if (this.#begun === 0) {
      this.#begun = 1
      setImmediate(() => {
        this.#begun = 0
      })
    }
    const now = this.#services.clock()
    this.#expire(now)
    // What waits for the journal goes on when that has caught up.
    if (this.#writer.full) return
    const ready = this.#ready
    this.#scheduler.poll(now, ready)
    this.#begun += ready.length
    for (const handle of ready) {
      const slot = slotOf(handle)
      const step = this.#stepOf[slot]
      // A step before it may have ended its run.
      if (step?.handle === handle) this.#runOf[slot]?.begin(step)
    }
    ready.length = 0
    this.#setTimer(this.#scheduler.nextTimer)
  }

  #settle(step: StepState): readonly StepState[] {
    if (step.handle === undefined) return NONE
    const dropped = this.#dropped
    this.#scheduler.settle(step.handle, step.outcome?.status === 'ok', dropped)
    if (dropped.length === 0) return NONE
    // A dropped step is over for the scheduler, and its slot is nobody else's before the next is added.
    const steps = dropped.flatMap((handle) => this.#stepOf[slotOf(handle)] ?? [])
    dropped.length = 0
    return steps
  }

  #expire(now: number): void {
    const expired = this.#expired
    if (this.#scheduler.expired(now, expired) === 0) return
    for (const handle of expired) {
      const step = this.#stepOf[slotOf(handle)]
      const run = this.#runOf[slotOf(handle)]
      if (!run || step?.handle !== handle) continue
      if (step.waiting) endWait(run, step, now)
      else expireStep(step, now)
    }
    expired.length = 0
  }

  /** One timer for all. One that has become too early is left: it finds nothing to do and looks when the next is. */
  #setTimer(next: number): void {
    if (next >= this.#timerAt) return
    clearTimeout(this.#timer)
    this.#timerAt = next
    this.#timer = setTimeout(
      () => {
        this.#timerAt = Number.POSITIVE_INFINITY
        this.#pump()
      },
      Math.min(Math.max(next - this.#services.clock(), 1), 2 ** 31 - 1),
    )
  }
}

interface Before {
  after: readonly StepHandle[]
  join: Join
}

const NOTHING: Before = { after: [], join: 'all' }
const NONE: readonly StepState[] = []

/** What of the steps before it a step still waits for, since some may be over; undefined when it can start no more. */
function waitsFor(before: readonly StepState[], join: Join = 'all'): Before | undefined {
  const after: StepHandle[] = []
  let good = 0
  for (const { outcome, handle } of before) {
    if (outcome?.status === 'ok') good++
    else if (!outcome && handle !== undefined) after.push(handle)
  }
  if (join === 'settled') return { after, join }
  const needed = (join === 'all' ? before.length : join === 'any' ? Math.min(1, before.length) : join) - good
  if (needed <= 0) return NOTHING
  return needed > after.length ? undefined : { after, join: needed }
}

function driverOf(run: ActiveRun): Driver {
  const { definition } = run.created
  const { app } = run.services
  const key = `${definition.name}@${definition.version}`
  if (definition.kind === 'agent') {
    const agent = app.agents.get(key)
    if (!agent) throw new MusterError('definition.absent', `this worker does not carry ${key}`)
    return agentDriver(run, agent)
  }
  if (isGateway(definition)) return gatewayDriver(run, run.services.exchanges.get(run.id))
  if (definition.version === INLINE) {
    const parsed = planData.safeParse(run.plan)
    if (!parsed.success)
      throw new MusterError('plan.invalid', 'the plan is not valid', { issues: zodIssues(parsed.error, '/plan') })
    return planDataDriver(run, parsed.data)
  }
  const plan = app.plans.get(key)
  if (!plan) throw new MusterError('definition.absent', `this worker does not carry ${key}`)
  return 'data' in plan.body
    ? planDataDriver(run, plan.body.data, plan.rollback)
    : planCodeDriver(run, plan as Plan & { body: { run: never } })
}

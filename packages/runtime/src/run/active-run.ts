import { type History, joinLabels, type PolicySet } from '@muster/governance'
import { type Closing, type Hold, type LostReason, RunWriter } from '@muster/journal'
import {
  type Actor,
  type EntryOf,
  type EntryVersion,
  isForPerson,
  type Json,
  type Label,
  type Limits,
  MusterError,
  type NewEntry,
  type StepError,
  toMusterError,
} from '@muster/protocol'
import type { Redactor } from '@muster/redaction'
import type { RunHandle } from '@muster/scheduler'
import { isOffloaded, withBlobs } from '../archive/content.ts'
import { readOrigin } from '../archive/fork.ts'
import { NOTHING, settleFunds } from '../limits/afford.ts'
import { RunFunds } from '../limits/run-funds.ts'
import { HeldByStops } from '../limits/stops.ts'
import type { Services } from '../services.ts'
import { dueAt } from '../step/approval.ts'
import { endedText, versionOf } from '../step/entry-text.ts'
import type { Needs } from '../step/kinds.ts'
import { redactError } from '../step/redacting.ts'
import { Outcome, type StepSpec, type StepState, type Waiting } from '../step/step.ts'
import { abortStep, beginStep } from '../step/step-life.ts'
import { awaitSignal, type Mailbox } from '../step/waits.ts'
import { cancelChild } from './child.ts'
import { type Ending, writeCancelled, writeEnd, writePark } from './closing.ts'
import { Inbox } from './inbox.ts'
import { openPast } from './past.ts'
import {
  type Checkpoint,
  justCreated,
  type Recorded,
  readFrom,
  readRecorded,
  readRecordedNow,
  record,
  type Summary,
} from './recorded.ts'
import { Replay } from './replay.ts'
import { Rollback } from './rollback.ts'
import type { SessionPast } from './session-past.ts'

/** How an activation ended: the run ended or parked, or its journal is no longer ours to continue. */
export type Closed = 'ended' | 'parked' | 'left' | LostReason

/** What grows a run's graph: an agent's turns, a plan as data, a plan as code. */
export interface Driver {
  start(): void
  /** A step has ended; called in the order of the journal, when live and on replay alike. */
  ended(step: StepState): void
  /** Reacts to an outcome in promises, so that replay must let them run before the next. */
  readonly asynchronous: boolean
  /** A failed run undoes what its steps did. */
  readonly rollback: boolean
}

/** What a run has used, from its journal. */
export interface Totals {
  steps: number
  costUsd: number
  inputTokens: number
  outputTokens: number
  cachedTokens: number
}

/**
 * One run while this worker holds it: rebuilds its graph from the journal, grows it as the driver
 * says, and ends or parks it. What happens to one step is in `step-life.ts`.
 */
export class ActiveRun {
  readonly id: string
  readonly tenant: string
  readonly created: EntryOf<'run.created'>
  readonly services: Services
  /** Takes personal data and secrets out of what it stores and sends, where that is wanted. */
  readonly redactor: Redactor | undefined
  readonly slot: RunHandle
  /** What limits its steps. */
  needs: Needs
  /** How it ended for this worker; never rejects. */
  readonly closed: Promise<Closed>
  readonly steps = new Map<string, StepState>()
  /** Steps that can be undone, in the order in which they ended. */
  readonly ended: StepState[] = []
  /** Signals by name. */
  readonly mailboxes = new Map<string, Mailbox>()
  readonly totals: Totals = { steps: 0, costUsd: 0, inputTokens: 0, outputTokens: 0, cachedTokens: 0 }
  input: Json = null
  /** A plan that came with the run. */
  plan: Json | undefined
  /** The conversation that it goes on with, where it was handed one. */
  history: readonly Json[] = []
  /** What it and its session have done, where policies ask. */
  past: History | undefined
  /** Its part in the session's, where they ask of that. */
  sessionPast: SessionPast | undefined
  /** What its plan goes on from. */
  checkpointed: Checkpoint | undefined
  /** Salt of digests of requests that are not kept. */
  salt = ''
  startedAt: number
  over = false
  readonly #writer: RunWriter
  readonly replay = new Replay(this)
  #stopped = false
  #driver: Driver | undefined
  #rollback: Rollback | undefined
  #paused = false
  /** It is to go to another worker as soon as nothing is under way. */
  #draining = false
  /** Steps whose turn came meanwhile. */
  readonly #heldBack = new Set<StepState>()
  #policy: PolicySet
  readonly #stops = new HeldByStops(this)
  readonly inbox = new Inbox(this)
  readonly funds = new RunFunds(this)
  /** False while the journal is replayed: steps are taken up and not yet scheduled. */
  #live = false
  /** What is to be done when the replay is over. */
  readonly #onceLive: (() => void)[] = []
  /** Since when the run runs, and how long it was parked; see `Recorded`. */
  #clockedIn: Pick<Summary, 'startedAt' | 'parkedMs'> = { startedAt: undefined, parkedMs: 0 }
  #waiting = 0
  /** It stands among the runs that ask people something. */
  #asking = false
  /** Steps whose outcome is there and waits to be durable before it is handed on. */
  #undelivered = 0
  #parkScheduled = false
  /** Where its journal stood when it was asked last whether it is astray. */
  #seqAsked = -1
  #deadline: NodeJS.Timeout | undefined
  #close: (how: Closed) => void = () => {}

  constructor(services: Services, hold: Hold) {
    this.services = services
    this.created = hold.created
    this.id = hold.created.run
    this.tenant = hold.created.tenant
    this.redactor = services.redaction?.of(this.tenant)
    this.startedAt = services.clock()
    this.#policy = services.policy
    this.#writer = new RunWriter(
      {
        ...{ run: this.id, tenant: this.tenant, subject: hold.created.subject },
        ...{ epoch: hold.epoch, seq: hold.seq, head: hold.head },
      },
      { mail: () => this.inbox.come(), lost: (reason) => this.#stop(reason) },
    )
    if (hold.first) services.writer.create(this.#writer, hold.first)
    ;({ slot: this.slot, needs: this.needs } = services.kinds.open(hold.created))
    this.closed = new Promise((resolve) => {
      this.#close = resolve
    })
  }

  get epoch(): number {
    return this.#writer.epoch
  }

  get limits(): Limits {
    return this.created.limits
  }

  /** What decides: the worker's policies of now, unless they ask of the past what this run has not kept. */
  get policy(): PolicySet {
    const { policy } = this.services
    if (policy.history?.key === this.#policy.history?.key) this.#policy = policy
    return this.#policy
  }

  /** Replays the journal and goes on from there. */
  async open(hold: Hold, makeDriver: (run: ActiveRun) => Driver): Promise<void> {
    const { clock, worker, app } = this.services
    const isNew = hold.first !== undefined
    const recorded = hold.first ? justCreated(hold.first, this.policy.history !== undefined) : await this.#read(hold)
    if (this.policy.history) await openPast(this, recorded)
    if (this.over) return
    this.#restore(recorded)
    this.inbox.found(hold.mail)
    this.append({ type: 'run.activated', at: clock(), epoch: this.epoch, worker, app: app.manifest.hash })
    try {
      if (this.created.origin && !recorded.copied) await this.#copy(this.created.origin, recorded)
      if (this.over) return
      this.#driver = makeDriver(this)
      this.#driver.start()
      if (!isNew)
        await this.replay.play(recorded, {
          find: (id) => this.steps.get(id) ?? this.#rollback?.replayed(id),
          tell: (step) => this.#tell(step),
          cancel: (by) => this.#fail(cancelledBy(by)),
          asynchronous: this.#driver.asynchronous,
        })
    } catch (error) {
      this.fail(toMusterError(error, 'plan.failed'))
    }
    this.replay.end()
    if (this.over) return
    this.#live = true
    this.#watchDeadline()
    for (const then of this.#onceLive.splice(0)) then()
    // Those at hand: what the driver adds from now on is scheduled as it comes.
    for (const step of [...this.steps.values()]) {
      if (step.outcome) continue
      if (step.unwanted) this.#cancelStep(step)
      else this.#schedule(step)
      if (this.over) return
    }
    this.#stops.takeUp(recorded.stops ?? [])
    this.#rollBack()
    if (this.over) return
    this.inbox.open()
  }

  async #read({ entries }: Hold): Promise<Recorded> {
    const { journal, memory } = this.services
    const { id, tenant } = this
    const { head } = this.#writer
    const asksPast = this.policy.history !== undefined
    if (entries && !entries.some(isOffloaded)) return readRecordedNow(id, entries, head, asksPast)
    // A long journal is read from its last checkpoint on.
    const from = entries ? undefined : await journal.snapshot(id)
    const stored = withBlobs(entries ?? readFrom(journal, id, from), { tenant, run: id }, memory)
    return readRecorded(id, stored, head, from, asksPast)
  }

  /** What it was, as its journal tells; its steps are taken up as the driver adds them. */
  #restore(recorded: Recorded): void {
    const { clock, telemetry } = this.services
    this.input = recorded.input
    this.plan = recorded.plan
    this.history = recorded.history ?? []
    this.checkpointed = recorded.checkpoint
    this.salt = recorded.salt
    this.funds.children = recorded.children ?? 0
    for (const { kind, ended, waiting, verdicts } of recorded.steps.values()) {
      if (verdicts.length > 0 || (waiting && isForPerson(waiting))) this.#asking = true
      // One that was intended and is not known to have started is counted when it is started again.
      if (kind === 'agent' && (ended || waiting)) this.funds.children++
    }
    // Waiting for a person or a child is not the run's own time: its clock stands while it is parked.
    const startedAt = recorded.startedAt ?? clock()
    const parkedMs = recorded.parkedMs + (recorded.parkedAt === undefined ? 0 : clock() - recorded.parkedAt)
    this.#clockedIn = { startedAt, parkedMs }
    if (recorded.startedAt === undefined) telemetry.waited('queue', startedAt - this.created.at)
    this.startedAt = startedAt + parkedMs
    this.replay.begin(recorded)
    this.#paused = recorded.paused
    for (const [name, early] of recorded.signals) this.mailboxes.set(name, { early, waiting: [] })
    Object.assign(this.totals, recorded.totals)
  }

  /** Takes over what the run begins with from the one that it was begun from: part of one append, so all or nothing. */
  async #copy(origin: NonNullable<EntryOf<'run.created'>['origin']>, recorded: Recorded): Promise<void> {
    const { journal, memory, writer, clock } = this.services
    const copies = await readOrigin(journal, memory, this.tenant, origin)
    if (this.over) return
    /** Where copied signals stand here, by where they stood. */
    const places = new Map<number, number>()
    for (const { entry, from, salted = '' } of copies) {
      if (entry.type === 'step.ended' && entry.signal !== undefined) entry.signal = places.get(entry.signal)
      const fields = JSON.stringify(entry).slice(1, -1)
      const v = versionOf(entry, salted !== '')
      const seq = writer.appendSalted(this.#writer, fields, salted, v)
      places.set(from, seq)
      record(recorded, { ...entry, v, seq }, salted === '' ? undefined : salted)
    }
    this.append({ type: 'run.copied', at: clock(), entries: copies.length })
    Object.assign(this.totals, recorded.totals)
  }

  /**
   * Adds a step to the graph. On replay it takes up what the journal tells of it.
   *
   * @param undoes the step that it undoes
   * @throws MusterError `plan.non_deterministic` where the journal has another step of this name
   */
  step(spec: StepSpec, undoes?: string): StepState {
    if (this.steps.has(spec.id)) throw new MusterError('plan.failed', `two steps have the name "${spec.id}"`)
    const recorded = this.replay.take(spec)
    const step: StepState = {
      spec,
      handle: undefined,
      tokens: 0,
      attempt: recorded?.attempt ?? 0,
      outcome: undefined,
      waiting: recorded?.waiting,
      signal: undefined,
      undoes,
      unwanted: false,
      verdicts: recorded?.verdicts ?? [],
      edited: recorded?.edited,
      calledBack: recorded?.calledBack,
      inDoubt: recorded?.inDoubt ?? false,
      recordedInput: recorded?.inputText,
      decision: undefined,
      funds: undefined,
      refused: undefined,
      decidedBy: recorded?.decidedBy,
      redacted: undefined,
      intended: false,
      beganAt: recorded?.beganAt ?? 0,
      firstAt: recorded?.firstAt ?? 0,
      call: undefined,
      abort: undefined,
      pending: undefined,
    }
    this.steps.set(spec.id, step)
    this.#rollback?.added(step)
    if (this.#live && !this.over) this.#schedule(step)
    return step
  }

  #schedule(step: StepState): void {
    if (step.waiting) this.#waiting++
    this.services.schedule(this, step)
  }

  /** Its turn has come. */
  begin(step: StepState): void {
    if (this.over) return
    // What may have happened must be known before it can be undone.
    if (this.#rollback && step.undoes === undefined && !step.inDoubt) this.#cancelStep(step)
    else if (!step.waiting && (this.#isHeldUp(step) || this.#stops.hold(step))) {
      this.#heldBack.add(step)
      if (step.handle !== undefined) this.services.scheduler.wait(step.handle)
      this.considerPark()
    } else if (step.waiting) {
      this.#leave(step, step.waiting)
      if (step.waiting.for === 'signal') awaitSignal(this, step)
    } else beginStep(this, step)
  }

  #isHeldUp({ spec }: StepState): boolean {
    // A client's request is no other worker's to go on with.
    return this.#paused || this.inbox.isUnread || (this.#draining && !spec.operation.ofClient)
  }

  append(entry: NewEntry, content?: Json): number {
    return this.appendEncoded(entry, content === undefined ? undefined : JSON.stringify(content))
  }

  /** The same with its content as JSON text. */
  appendEncoded(entry: NewEntry, content: string | undefined): number {
    return this.appendText(JSON.stringify(entry).slice(1, -1), content, versionOf(entry))
  }

  /** Appends an entry that is JSON text already: its fields without the braces, and its content. */
  appendText(fields: string, content?: string, v?: EntryVersion): number {
    return this.services.writer.append(this.#writer, fields, content, v)
  }

  /** Digest of the content of the entry appended last. */
  get lastDigest(): string | undefined {
    return this.#writer.digest
  }

  /** The next batch takes so many messages out of the inbox. */
  takeMail(count: number): void {
    this.services.writer.take(this.#writer, count)
  }

  /** Place of the last entry written. */
  get seq(): number {
    return this.#writer.seq
  }

  whenDurable(seq: number, then: () => void): void {
    this.#writer.whenDurable(seq, then)
  }

  /** The step leaves the worker's hands until something comes from outside. */
  wait(step: StepState, waiting: NonNullable<StepState['waiting']>): void {
    this.#waiting++
    this.waitOn(step, waiting)
    this.services.pump()
  }

  /** One of its steps asks people something: part of the append that says so. */
  noteAsked(): void {
    this.#asking = true
    this.services.writer.ask(this.#writer, true)
  }

  /** None of its steps asks people anything any more: part of the next append. */
  noteAnswered(): void {
    if (this.#asking) this.services.writer.ask(this.#writer, false)
    this.#asking = false
  }

  /** It waits, and the wait is another than before. */
  waitOn(step: StepState, waiting: Waiting): void {
    step.waiting = waiting
    this.#leave(step, waiting)
  }

  #leave(step: StepState, waiting: Waiting): void {
    if (step.handle !== undefined) this.services.scheduler.wait(step.handle)
    const due = dueAt(waiting)
    if (due !== undefined) this.services.expire(step, due)
    this.considerPark()
  }

  /** What the step waited for has come. */
  resume(step: StepState): void {
    this.#endWaiting(step)
    if (step.handle !== undefined) this.services.scheduler.resume(step.handle)
    this.services.pump()
  }

  #endWaiting(step: StepState): void {
    if (!step.waiting) return
    const { telemetry, clock } = this.services
    telemetry.waited(step.waiting.for, clock() - step.beganAt)
    step.waiting = undefined
    this.#waiting--
  }

  /** The step has its outcome, which is journaled already: what depends on it goes on. */
  settle(step: StepState, outcome: Outcome): void {
    this.#endWaiting(step)
    step.outcome = outcome
    if (this.services.outcomes === 'ahead') this.#handOn(step)
    else {
      this.#undelivered++
      this.whenDurable(this.#writer.seq, () => {
        this.#undelivered--
        if (!this.over) this.#handOn(step)
      })
    }
  }

  /** Gives an outcome to what depends on it. */
  #handOn(step: StepState): void {
    const dropped = this.services.settle(step)
    this.#tell(step)
    for (const step of dropped) this.skip(step)
    this.services.pump()
    this.considerPark()
  }

  #tell(step: StepState): void {
    if (step.outcome?.status === 'ok' && step.spec.operation.undo) this.ended.push(step)
    this.#rollback?.ended(step)
    try {
      if (step.undoes === undefined) this.#driver?.ended(step)
    } catch (error) {
      this.fail(toMusterError(error, 'plan.failed'))
    }
    this.#rollBack()
  }

  /** Goes on undoing. */
  #rollBack(): void {
    if (!this.#rollback || !this.#live || this.over) return
    const error = this.#rollback.next()
    if (error) this.#endFailed(error)
  }

  /** The step can start no more, since too many of those before it have not ended well. */
  skip(step: StepState): void {
    if (this.over || step.outcome) return
    this.appendText(endedText(step, this.services.clock(), [], 'skipped'))
    step.outcome = new Outcome('skipped', 'null', [])
    this.#tell(step)
  }

  /** Cancels steps whose names begin so; nobody waits for them any more. */
  cancelSteps(prefix: string): void {
    // Those at hand: the driver may add others as it hears of each.
    for (const step of [...this.steps.values()]) {
      if (step.outcome || !step.spec.id.startsWith(prefix)) continue
      // On replay the journal may tell yet how it ended.
      if (this.#live) this.#cancelStep(step)
      else step.unwanted = true
    }
  }

  #cancelStep(step: StepState): void {
    const { scheduler } = this.services
    if (step.attempt > 0) cancelChild(this, step)
    settleFunds(this, step, step.pending ? 'all' : NOTHING)
    writeCancelled(this, step)
    abortStep(step, new MusterError('run.cancelled', `step "${step.spec.id}" is not needed any more`))
    if (step.waiting) {
      step.waiting = undefined
      this.#waiting--
    }
    this.totals.steps++
    step.outcome = new Outcome('cancelled', 'null', [])
    if (step.handle !== undefined) scheduler.cancel(step.handle)
    this.#tell(step)
    this.services.pump()
    this.considerPark()
  }

  /** Goes on once the session knows what it has done; the run is over for this worker already. */
  #whenTold(then: () => void): void {
    this.replay.recall()
    const rest = this.sessionPast?.rest
    if (!rest) then()
    else
      void rest.then(() => {
        if (!this.#stopped) then()
      })
  }

  /**
   * Writes down what the plan goes on from, and forgets the steps before: they are replayed no more. `done` is called when
   * that is durable.
   *
   * @throws MusterError `plan.failed` where a step has not ended, or would have to be undone
   */
  checkpoint({ state, names, labels }: Checkpoint, done: (error?: MusterError) => void): void {
    if (!this.#live) {
      this.#onceLive.push(() => this.checkpoint({ state, names, labels }, done))
      return
    }
    if (this.over) return
    // What it does not hold, the session has.
    const rest = this.sessionPast?.rest
    if (rest) {
      void rest.then(() => this.checkpoint({ state, names, labels }, done))
      return
    }
    const open = [...this.steps.values()].find((step) => !step.outcome)
    if (open) {
      done(new MusterError('plan.failed', `step.checkpoint: step "${open.spec.id}" has not ended`))
      return
    }
    if (this.#driver?.rollback && this.ended.length > 0) {
      const id = this.ended[0]?.spec.id
      done(new MusterError('plan.failed', `step.checkpoint: step "${id}" could not be undone after it`))
      return
    }
    const summary: Summary = {
      ...this.#clockedIn,
      totals: this.totals,
      children: this.funds.children,
      patches: [...this.replay.patches],
      signals: [...this.mailboxes].map(([name, { early }]) => [name, early]),
      paused: this.#paused,
      ...(this.past ? { past: this.past.state(this.sessionPast !== undefined) } : {}),
    }
    const { services } = this
    const { head: previous } = this.#writer
    const fields = JSON.stringify({ type: 'run.checkpoint', at: services.clock(), labels }).slice(1, -1)
    const kept = this.redactor?.redact(state).value ?? state
    const seq = this.appendText(fields, JSON.stringify({ state: kept, names, summary }), 2)
    this.steps.clear()
    this.whenDurable(seq, () => {
      // Should it not be known, the replay begins at the one before.
      services.journal.setSnapshot(this.id, { seq, previous }).catch((error) => {
        services.log.warn({ run: this.id, err: error }, 'checkpoint not noted')
      })
      done()
    })
  }

  /**
   * Whether a step of this name would find a signal that came already. On replay: whether it did then, so that a driver
   * takes the same way again.
   */
  hasSignal(name: string, step: string): boolean {
    return this.replay.takes(step, () => (this.mailboxes.get(name)?.early.length ?? 0) > 0)
  }

  /** It gives what a step gave. */
  finishWith({ text, labels }: Outcome): void {
    if (!this.#rollback) this.#end({ status: 'succeeded', labels, output: text })
  }

  finish(output: Json, labels: readonly Label[]): void {
    if (this.#rollback) return
    if (!this.redactor) {
      this.#end({ status: 'succeeded', labels, output: JSON.stringify(output) })
      return
    }
    try {
      // A plan's code may have put together what was in no step.
      const { value, found } = this.redactor.redact(output)
      this.#end({ status: 'succeeded', labels, output: JSON.stringify(value), redacted: found })
    } catch (error) {
      this.#fail(toMusterError(error))
    }
  }

  fail(error: StepError): void {
    this.#fail(error)
  }

  #fail(error: StepError): void {
    if (this.over) return
    // Code that does not fit its journal is not trusted to undo anything either.
    const isTrusted = error.code !== 'plan.non_deterministic'
    if (this.#rollback && isTrusted) return
    if (!this.#driver?.rollback || !isTrusted) {
      this.#endFailed(error)
      return
    }
    this.#rollback = new Rollback(this, error)
    if (!this.#live) return
    for (const step of this.steps.values()) {
      const isUnderWay = step.decision !== undefined && !step.waiting
      if (!step.outcome && !isUnderWay && !step.inDoubt && step.undoes === undefined) this.#cancelStep(step)
    }
    this.#rollBack()
  }

  #endFailed(error: StepError): void {
    const labels = joinLabels(
      this.created.labels,
      ...[...this.steps.values()].map((step) => step.outcome?.labels ?? []),
    )
    const status = error.code === 'run.cancelled' ? 'cancelled' : 'failed'
    const told = this.redactor ? redactError(this.redactor, error) : { error, redacted: undefined }
    const { code, message } = told.error
    this.#end({ status, labels, error: { code, message: message.slice(0, 4096) }, redacted: told.redacted })
  }

  /** Ends the run; at once, or after it has undone what it did where it is one that does. */
  requestCancel(by: Actor, now = false): void {
    this.append({ type: 'run.cancel_requested', at: this.services.clock(), by })
    if (now) this.#endFailed(cancelledBy(by))
    else this.#fail(cancelledBy(by))
  }

  pause(by: Actor): void {
    const at = this.services.clock()
    if (this.#paused) this.append({ type: 'message.ignored', at, about: 'pause', by })
    else this.append({ type: 'run.paused', at, by })
    this.#paused = true
    this.considerPark()
  }

  unpause(by: Actor): void {
    const { clock } = this.services
    if (!this.#paused) {
      this.append({ type: 'message.ignored', at: clock(), about: 'resume', by })
      return
    }
    this.append({ type: 'run.resumed', at: clock(), by })
    this.#paused = false
    this.goOn()
  }

  /** Stops may have been set or lifted. What is under way and may be repeated is cut off. */
  heedStops(): void {
    if (!this.over && this.#live) this.#stops.heed()
  }

  /** A stop that it waited for was lifted; it may have been set again since. */
  takeLifted(): void {
    const before = this.#writer.seq
    this.#stops.heedLift()
    if (this.#writer.seq === before) this.append({ type: 'message.ignored', at: this.services.clock(), about: 'lift' })
  }

  /** What was held back begins, unless something else holds it. */
  goOn(): void {
    if (!this.over && !this.#paused && !this.#draining && !this.inbox.isUnread) this.#release()
  }

  /** What was held back begins. */
  #release(): void {
    const { scheduler, pump } = this.services
    for (const step of this.#heldBack) if (step.handle !== undefined) scheduler.resume(step.handle)
    this.#heldBack.clear()
    pump()
  }

  #end(ending: Ending): void {
    if (this.over) return
    this.over = true
    this.#whenTold(() => writeEnd(this, ending))
  }

  /** What was appended last closes this activation, once it is durable. */
  close(closing: Closing): void {
    this.services.writer.close(this.#writer, closing)
    this.whenDurable(this.#writer.seq, () => this.#stop(closing.op === 'end' ? 'ended' : 'parked'))
  }

  /** Parks the run once nothing is left but what waits, and what comes after that; later in the tick, so that a plan's promises may add steps first. */
  considerPark(): void {
    if (this.#parkScheduled || !this.#mayPark) return
    this.#parkScheduled = true
    setImmediate(() => {
      this.#parkScheduled = false
      this.#park()
    })
  }

  get #mayPark(): boolean {
    return this.#waiting > 0 || this.#paused || this.#draining || this.#stops.some
  }

  #park(): void {
    if (this.over || !this.#live || this.inbox.isReading || this.#undelivered > 0) return
    if (!this.#mayPark) return
    if (!this.#stops.areAwaited && !this.#draining) return
    const { clock } = this.services
    const waiting: StepState[] = []
    let wakeAt = Number.POSITIVE_INFINITY
    for (const step of this.steps.values()) {
      if (step.waiting) {
        waiting.push(step)
        // Time passes while it is paused; what is due then is heeded when it goes on.
        if (!this.#paused) wakeAt = Math.min(wakeAt, dueAt(step.waiting) ?? wakeAt)
      } else if (!step.outcome && !this.#heldBack.has(step) && !this.#isBlocked(step)) return
    }
    if (this.#draining && (this.#heldBack.size > 0 || waiting.length === 0)) {
      this.whenDurable(this.#writer.seq, () => this.#stop('left'))
      return
    }
    // Its timer wakes it here, for less than taking it up again costs.
    if (wakeAt - clock() < HELD_MS && !this.#draining) return
    this.over = true
    this.#whenTold(() => writePark(this, waiting, wakeAt))
  }

  #isBlocked({ handle }: StepState): boolean {
    return handle !== undefined && this.services.scheduler.isBlocked(handle)
  }

  /**
   * Whether its plan's code waits for something that is none of its steps: since it was asked last nothing was journaled,
   * nothing is under way, and nothing is waited for.
   */
  isAstray(): boolean {
    const { seq, durable } = this.#writer
    const before = this.#seqAsked
    this.#seqAsked = seq
    if (seq !== before || durable !== seq || !this.#live || this.over || !this.#driver?.asynchronous) return false
    if (this.#mayPark || this.#rollback || this.#undelivered > 0 || this.inbox.isReading) return false
    if (this.sessionPast?.rest) return false
    for (const step of this.steps.values()) if (!step.outcome) return false
    return true
  }

  /** Begins no step any more, and leaves the run to another worker once those under way have ended. */
  drain(): void {
    this.#draining = true
    this.considerPark()
  }

  /** Leaves the run to another activation, as its journal has it. */
  abandon(): void {
    this.#stop('left')
  }

  /** Another worker has taken it. */
  lose(): void {
    this.#stop('fenced')
  }

  #watchDeadline(): void {
    const { wallTimeMs } = this.limits
    if (wallTimeMs === undefined) return
    const left = this.startedAt + wallTimeMs - this.services.clock()
    const error = new MusterError('run.deadline', `the run has taken longer than ${wallTimeMs} ms`)
    this.#deadline = setTimeout(() => this.fail(error), Math.min(Math.max(left, 0), 2 ** 31 - 1))
  }

  #stop(how: Closed): void {
    this.over = true
    this.#stopped = true
    this.sessionPast?.stop()
    clearTimeout(this.#deadline)
    let reason: MusterError | undefined
    for (const step of this.steps.values()) {
      if (step.outcome) continue
      // Whoever takes the run up sets aside anew: others would wait for what nobody gives back.
      settleFunds(this, step, step.pending || step.waiting ? 'all' : NOTHING)
      if (step.decision === undefined) continue
      reason ??= new MusterError('run.cancelled', `the run has ${how === 'ended' ? 'ended' : 'left this worker'}`)
      abortStep(step, reason)
    }
    this.services.kinds.closeRun(this)
    this.services.pump()
    this.#close(how)
  }
}

/** A run that is to go on within this time is not parked, ms. */
const HELD_MS = 2000

function cancelledBy({ user }: Actor): StepError {
  return { code: 'run.cancelled', message: `cancelled by ${user}` }
}

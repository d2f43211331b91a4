import {
  type Answer,
  type ErrorCode,
  errorCatalog,
  isEnded,
  type Json,
  type ModelDelta,
  MusterError,
  type PlanData,
  type Priority,
  type Problem,
  type Prompt,
  type Run,
  type RunEvent,
  type RunStatus,
  type RunSummary,
  type StartRun,
  toMusterError,
} from '@muster/protocol'
import type { InputOf, OutputOf } from '@muster/tools'
import { createParser, type EventSourceMessage } from 'eventsource-parser'
import type { Agent } from './agent.ts'
import { type ApprovalsClient, approvalsClient } from './approvals.ts'
import { type AuditClient, auditClient } from './audit.ts'
import { type BatchAnswer, batches } from './batches.ts'
import {
  type ErasuresClient,
  erasuresClient,
  type HoldsClient,
  holdsClient,
  type RetentionClient,
  retentionClient,
} from './erasures.ts'
import { type KeysClient, keysClient } from './keys.ts'
import { type LedgerClient, ledgerClient } from './ledger.ts'
import {
  type BudgetsClient,
  budgetsClient,
  type CostsClient,
  costsClient,
  type LimitsClient,
  limitsClient,
  type StopsClient,
  stopsClient,
} from './operations.ts'
import type { Plan } from './plan.ts'
import { type PoliciesClient, policiesClient } from './policies.ts'
import type { Request } from './request.ts'
import { type SchedulesClient, schedulesClient } from './schedules.ts'
import { type WebhooksClient, webhooksClient } from './webhooks.ts'

export interface ClientOptions {
  /** Address of the server; `MUSTER_URL`, else http://127.0.0.1:7420. */
  url?: string
  /** API key; `MUSTER_KEY` unless given. */
  key?: string
  fetch?: typeof fetch
}

/** What became of one run of many: its handle, or why it was not started. */
export type Started<Output> = { run: RunHandle<Output>; error?: undefined } | { run?: undefined; error: MusterError }

export interface StartOptions {
  /** The same key and request give the same run, however often it is sent. A new one unless given, so that our own retries start one run. */
  idempotencyKey?: string
  session?: string
  /** Whom its content is about: a pseudonym, by which it can be erased. */
  subject?: string
  labels?: string[]
  /** Before what else that waits the run is taken up; `normal` unless given. */
  priority?: Priority
}

type ResultOf<T> = T extends Agent ? OutputOf<T> : T extends Plan<string, infer _I, infer Output> ? Output : Json
type StartInput<T> = T extends Agent | Plan ? InputOf<T> : Json

export interface SignalOptions {
  /** The same key sends the signal once, however often it is sent; a new one unless given. */
  idempotencyKey?: string
  /** Labels of the payload. */
  labels?: string[]
}

export interface EventOptions {
  /** Begins after the entry of this place. */
  after?: number
  signal?: AbortSignal
}

/** One run, by its id. */
export interface RunHandle<Output> {
  readonly id: string
  get(): Promise<Run>
  /** The journal's entries from the first, or after `after`, as they become durable; ends when the run has ended. Reconnects by itself. */
  events(options?: EventOptions): AsyncGenerator<RunEvent>
  /** The same, and between them what models write as they write it, and tools tell: provisional, until the step's outcome comes. */
  events(options: EventOptions & { deltas: true }): AsyncGenerator<RunEvent | { delta: ModelDelta }>
  /** What the run gives, when it has ended. Throws a MusterError with the run's error when it failed. */
  result(options?: { signal?: AbortSignal }): Promise<Output>
  /** Sends a signal that the run's plan declares. Our own retries send it once. */
  signal(name: string, payload?: Json, options?: SignalOptions): Promise<void>
  /** Says something to a running agent, as text or with images and files; with `interrupt` what it has under way is cancelled first. */
  say(what: Prompt, options?: SignalOptions & { interrupt?: boolean }): Promise<void>
  /** Ends it; one of a plan with `rollback` undoes first what it did. */
  cancel(): Promise<void>
  /** Ends it, and undoes nothing. */
  terminate(): Promise<void>
  /** No step begins any more, until it is resumed. */
  pause(): Promise<void>
  resume(): Promise<void>
  /** Begins a new run from one of its steps, which is done anew with all that comes after; from its start unless given. */
  fork(from?: ForkOptions): Promise<RunHandle<Output>>
  /** Begins it anew from where it failed or was cancelled, as a new run. The same key begins one. */
  restart(options?: { idempotencyKey?: string }): Promise<RunHandle<Output>>
}

export interface ForkOptions {
  step?: string
  input?: Json
  version?: string
  idempotencyKey?: string
}

/** Which runs an action is meant for, and whether to do it. */
export interface ActionOptions {
  status?: RunStatus
  /** Of the agent or plan. */
  name?: string
  /** Code of the error with which they ended. */
  error?: string
  /** Tells which runs it would touch, and does nothing. */
  dryRun?: boolean
}

/** What became of one run of many: the run that was begun from it, or why nothing was done. */
export interface Acted {
  run: RunSummary
  begun?: string
  error?: Problem
}

export type RunAction = 'cancel' | 'terminate' | 'pause' | 'resume' | 'restart'

export interface Muster {
  runs: {
    start<T extends Agent | Plan | string | PlanData>(
      what: T,
      input: StartInput<T>,
      options?: StartOptions,
    ): Promise<RunHandle<ResultOf<T>>>
    /**
     * Starts many runs of one agent or plan, up to 1,000 with a request, and says of each what became of it, in
     * their order. One that the server cannot take for now is sent again, under the same key.
     */
    startMany<T extends Agent | Plan | string | PlanData>(
      what: T,
      runs: readonly ({ input: StartInput<T> } & StartOptions)[],
    ): Promise<Started<ResultOf<T>>[]>
    /** The run with this id; nothing is sent until it is asked for something. */
    of<Output = Json>(id: string): RunHandle<Output>
    get(id: string): Promise<Run>
    list(filter?: {
      status?: RunStatus
      name?: string
      error?: string
      session?: string
      limit?: number
      cursor?: string
    }): Promise<{ runs: RunSummary[]; cursor?: string }>
    stream(id: string, options?: EventOptions): AsyncGenerator<RunEvent>
    cancel(id: string): Promise<void>
    /** Acts on all runs that a filter lets through, newest first, and says of each what became of it. */
    act(action: RunAction, options?: ActionOptions): AsyncGenerator<Acted>
    signal(id: string, name: string, payload?: Json, options?: SignalOptions): Promise<void>
    /** Answers an approval; `digest` is what `run.waiting` shows, so that nothing else is approved by mistake. */
    approve(id: string, answer: Answer): Promise<void>
  }
  approvals: ApprovalsClient
  budgets: BudgetsClient
  limits: LimitsClient
  costs: CostsClient
  stops: StopsClient
  keys: KeysClient
  schedules: SchedulesClient
  webhooks: WebhooksClient
  policies: PoliciesClient
  ledger: LedgerClient
  audit: AuditClient
  erasures: ErasuresClient
  holds: HoldsClient
  retention: RetentionClient
  /** For the outside: ends a step by the token that its tool was given. No API key is needed. */
  callbacks: {
    /** The step ends with this output. */
    complete(token: string, output: Json): Promise<void>
    /** The step fails with `tool.failed`, and is not tried again. */
    fail(token: string, message: string): Promise<void>
  }
  /** Any path of the API; throws the server's problem as a MusterError. */
  request: Request
  /** The same, for an answer that is not one JSON value. */
  open(method: string, path: string): Promise<Response>
}

/** How often what may be repeated is sent again while the server is away or answers 503: about 8 s in all. */
const RETRIES = 5

async function patiently<T>(send: () => Promise<T>): Promise<T> {
  for (let failures = 0; ; ) {
    try {
      return await send()
    } catch (error) {
      if (!(error instanceof MusterError) || error.status !== 503 || ++failures > RETRIES) throw error
      await new Promise((resolve) => setTimeout(resolve, 125 * 2 ** failures))
    }
  }
}

/** A client of the HTTP API. */
export function createMuster(options: ClientOptions = {}): Muster {
  const base = (options.url ?? process.env.MUSTER_URL ?? 'http://127.0.0.1:7420').replace(/\/$/, '')
  const key = options.key ?? process.env.MUSTER_KEY
  const send = options.fetch ?? fetch

  async function open(
    method: string,
    path: string,
    body?: unknown,
    headers: Record<string, string> = {},
    signal?: AbortSignal,
  ): Promise<Response> {
    let response: Response
    try {
      response = await send(base + path, {
        method,
        headers: {
          ...(key === undefined ? {} : { authorization: `Bearer ${key}` }),
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
          ...headers,
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        ...(signal ? { signal } : {}),
      })
    } catch (error) {
      if (signal?.aborted) throw error
      throw new MusterError(
        'server.unavailable',
        `No Muster server answers at ${base}: start one with \`npx pnpm@12 dev\`, or set MUSTER_URL`,
        { cause: error },
      )
    }
    if (!response.ok) throw await problem(response)
    return response
  }

  async function request<T>(
    method: string,
    path: string,
    body?: unknown,
    headers: Record<string, string> = {},
  ): Promise<T> {
    const ask = () => open(method, path, body, headers)
    const response = await (method === 'GET' ? patiently(ask) : ask())
    // The server's answers follow its OpenAPI document, from which the callers' types come.
    return (response.status === 204 ? undefined : await response.json()) as T
  }

  async function* stream(id: string, options?: EventOptions): AsyncGenerator<RunEvent> {
    for await (const event of follow(id, options)) if ('entry' in event) yield event
  }

  async function* follow(
    id: string,
    { after = 0, signal }: EventOptions = {},
    deltas = false,
  ): AsyncGenerator<RunEvent | { delta: ModelDelta }> {
    let place = String(after)
    for (let failures = 0; ; ) {
      try {
        const response = await open(
          'GET',
          `/v1/runs/${encodeURIComponent(id)}/events${deltas ? '?deltas=true' : ''}`,
          undefined,
          { accept: 'text/event-stream', 'last-event-id': place },
          signal,
        )
        failures = 0
        for await (const event of sse(response)) {
          if (event.event === 'end') return
          if (event.id !== undefined) place = event.id
          if (event.event === 'delta') {
            yield { delta: JSON.parse(event.data) }
            continue
          }
          const run: RunEvent = JSON.parse(event.data)
          yield run
          if (run.entry.type === 'run.ended') return
        }
      } catch (error) {
        if (signal?.aborted) return
        if (error instanceof MusterError && error.status < 500) throw error
        if (++failures > 20) throw error
      }
      // The connection ended before the run did: go on where it stopped.
      await new Promise((resolve) => setTimeout(resolve, Math.min(100 * 2 ** failures, 5000)))
    }
  }

  async function result<Output>(id: string, signal?: AbortSignal): Promise<Output> {
    for (;;) {
      const run = await request<Run>('GET', `/v1/runs/${encodeURIComponent(id)}`)
      if (run.status === 'succeeded') return run.output as Output // checked against the definition's schema by the worker
      if (isEnded(run.status)) {
        const code = run.error?.code ?? 'internal'
        throw new MusterError(
          Object.hasOwn(errorCatalog, code) ? (code as ErrorCode) : 'tool.failed',
          run.error?.message ?? `run ${id} ${run.status}`,
        )
      }
      for await (const event of stream(id, { after: run.entries, ...(signal ? { signal } : {}) }))
        if (event.entry.type === 'run.ended') break
      signal?.throwIfAborted()
    }
  }

  const of = <Output>(id: string): RunHandle<Output> => ({
    id,
    get: () => request('GET', `/v1/runs/${encodeURIComponent(id)}`),
    // Which of the two comes is told by the same option.
    events: ((options?: EventOptions & { deltas?: boolean }) =>
      follow(id, options, options?.deltas)) as RunHandle<Output>['events'],
    result: (options) => result(id, options?.signal),
    signal: (name, payload, options) => signal(id, name, payload, options),
    say: (what, options) => say(id, what, options),
    cancel: () => control(id, 'cancel'),
    terminate: () => control(id, 'terminate'),
    pause: () => control(id, 'pause'),
    resume: () => control(id, 'resume'),
    fork: ({ idempotencyKey = crypto.randomUUID(), ...from } = {}) => begin(id, 'fork', from, idempotencyKey),
    restart: ({ idempotencyKey = crypto.randomUUID() } = {}) => begin(id, 'restart', undefined, idempotencyKey),
  })

  async function begin<Output>(
    id: string,
    how: 'fork' | 'restart',
    body: object | undefined,
    key: string,
  ): Promise<RunHandle<Output>> {
    const path = `/v1/runs/${encodeURIComponent(id)}/${how}`
    const run = await patiently(() => request<Run>('POST', path, body, { 'idempotency-key': key }))
    return of<Output>(run.id)
  }

  /** Page by page, as the server gives them. */
  async function* act(action: RunAction, options: ActionOptions = {}): AsyncGenerator<Acted> {
    for (let cursor: string | undefined; ; ) {
      const body = { action, ...options, cursor }
      const page = await request<{ results: Acted[]; cursor?: string }>('POST', '/v1/runs/actions', body)
      yield* page.results
      cursor = page.cursor
      if (cursor === undefined) return
    }
  }

  function control(id: string, what: 'cancel' | 'terminate' | 'pause' | 'resume'): Promise<void> {
    return request('POST', `/v1/runs/${encodeURIComponent(id)}/${what}`)
  }

  async function say(
    id: string,
    what: Prompt,
    {
      idempotencyKey = crypto.randomUUID(),
      labels = [],
      interrupt = false,
    }: SignalOptions & { interrupt?: boolean } = {},
  ): Promise<void> {
    const path = `/v1/runs/${encodeURIComponent(id)}/messages`
    const said = typeof what === 'string' ? { text: what } : { parts: what }
    const body = { ...said, interrupt, labels }
    await patiently(() => request('POST', path, body, { 'idempotency-key': idempotencyKey }))
  }

  async function signal(
    id: string,
    name: string,
    payload: Json = null,
    { idempotencyKey = crypto.randomUUID(), labels = [] }: SignalOptions = {},
  ): Promise<void> {
    const path = `/v1/runs/${encodeURIComponent(id)}/signals/${encodeURIComponent(name)}`
    await patiently(() => request('POST', path, { payload, labels }, { 'idempotency-key': idempotencyKey }))
  }

  async function callBack(token: string, told: { output: Json } | { error: { message: string } }): Promise<void> {
    await patiently(() => request('POST', '/v1/callbacks', told, { authorization: `Bearer ${token}` }))
  }

  return {
    request,
    open: (method, path) => (method === 'GET' ? patiently(() => open(method, path)) : open(method, path)),
    approvals: approvalsClient(request, errorOf),
    budgets: budgetsClient(request),
    limits: limitsClient(request),
    costs: costsClient(request),
    stops: stopsClient(request),
    keys: keysClient(request),
    schedules: schedulesClient(request),
    webhooks: webhooksClient(request),
    policies: policiesClient(request),
    ledger: ledgerClient(request),
    audit: auditClient(request),
    erasures: erasuresClient(request),
    holds: holdsClient(request),
    retention: retentionClient(request),
    callbacks: {
      complete: (token, output) => callBack(token, { output }),
      fail: (token, message) => callBack(token, { error: { message } }),
    },
    runs: {
      of,
      async start(what, input, { idempotencyKey = crypto.randomUUID(), session, subject, labels, priority } = {}) {
        const body = { ...(await targetOf(what)), input, session, subject, labels, priority }
        const run = await patiently(() => request<Run>('POST', '/v1/runs', body, { 'idempotency-key': idempotencyKey }))
        return of(run.id)
      },
      async startMany(what, runs) {
        const target = await targetOf(what)
        const bodies = runs.map(({ idempotencyKey = crypto.randomUUID(), ...run }) => ({
          ...target,
          ...run,
          idempotencyKey,
        }))
        const answers: BatchAnswer[] = []
        for (const batch of batches(bodies)) answers.push(...(await startBatch(batch)))
        return answers.map((answer) => ('id' in answer ? { run: of(answer.id) } : { error: errorOf(answer.error) }))
      },
      get: (id) => request('GET', `/v1/runs/${encodeURIComponent(id)}`),
      list: (filter = {}) =>
        request(
          'GET',
          `/v1/runs?${new URLSearchParams(Object.entries(filter).flatMap(([name, value]): [string, string][] => (value === undefined ? [] : [[name, String(value)]])))}`,
        ),
      stream,
      act,
      signal,
      cancel: (id) => control(id, 'cancel'),
      approve: (id, answer) => request('POST', `/v1/runs/${encodeURIComponent(id)}/approvals`, answer),
    },
  }

  /** Starts the runs of one request; those that the server could not take for now are sent again. */
  async function startBatch(runs: readonly object[]): Promise<BatchAnswer[]> {
    const answers = new Map<number, BatchAnswer>()
    let left = [...runs.keys()]
    const send = async () => {
      const body = { runs: left.map((i) => runs[i]) }
      const { results } = await request<{ results: BatchAnswer[] }>('POST', '/v1/runs/batch', body)
      const again: number[] = []
      let busy: Problem | undefined
      for (const [n, answer] of results.entries()) {
        const i = left[n] ?? 0
        answers.set(i, answer)
        if ('id' in answer || answer.error.status !== 503) continue
        again.push(i)
        busy = answer.error
      }
      left = again
      if (busy) throw errorOf(busy)
    }
    await patiently(send).catch((error) => {
      // Other requests may have started runs: who asked is told of them, and of these by this error.
      const { code, message } = toMusterError(error)
      for (const i of left) answers.set(i, { error: new MusterError(code, message).toProblem() })
    })
    return [...runs.keys()].flatMap((i) => answers.get(i) ?? [])
  }

  async function targetOf(
    what: Agent | Plan | string | PlanData,
  ): Promise<Pick<StartRun, 'agent' | 'plan' | 'version'>> {
    if (typeof what === 'string') return byName(what)
    if (!('kind' in what)) return { plan: what }
    return what.kind === 'agent'
      ? { agent: what.name, version: what.version }
      : { plan: what.name, version: what.version }
  }

  /** A bare name is an agent or a plan: the server knows which. */
  async function byName(name: string): Promise<{ agent: string } | { plan: string }> {
    const { definitions } = await request<{ definitions: { kind: 'agent' | 'plan'; name: string }[] }>(
      'GET',
      '/v1/definitions',
    )
    const found = definitions.find((definition) => definition.name === name)
    if (found) return found.kind === 'agent' ? { agent: name } : { plan: name }
    const names = definitions.map((definition) => definition.name).join(', ') || 'none: no worker has started yet'
    throw new MusterError('definition.not_found', `There is no agent or plan "${name}". Known: ${names}`)
  }
}

function errorOf({ code, detail, errors }: Partial<Problem> & { code: ErrorCode }): MusterError {
  return new MusterError(code, detail ?? '', errors ? { issues: errors } : {})
}

async function problem(response: Response): Promise<MusterError> {
  const text = await response.text()
  try {
    const body: Partial<Problem> & { error?: { code?: unknown; message?: unknown } } = JSON.parse(text)
    if (body.code !== undefined && Object.hasOwn(errorCatalog, body.code)) return errorOf({ ...body, code: body.code })
    // The gateway's routes say it as OpenAI does, with our code where there is none of theirs.
    const { code, message } = body.error ?? {}
    const own = code === 'invalid_api_key' ? 'auth.invalid_key' : String(code).replace('_', '.')
    if (Object.hasOwn(errorCatalog, own)) return new MusterError(own as ErrorCode, String(message)) // as it has it
  } catch {
    // Not a problem document: a proxy's page, say.
  }
  return new MusterError('internal', `HTTP ${response.status}: ${text.slice(0, 200)}`)
}

async function* sse(response: Response): AsyncGenerator<EventSourceMessage> {
  const events: EventSourceMessage[] = []
  const parser = createParser({ onEvent: (event) => events.push(event) })
  const decoder = new TextDecoder()
  for await (const chunk of response.body ?? []) {
    parser.feed(decoder.decode(chunk, { stream: true }))
    yield* events.splice(0)
  }
}

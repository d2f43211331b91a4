import swagger from '@fastify/swagger'
import { Controls, Heads, Journal, type ReplicationOptions } from '@muster/journal'
import type { Ledgers, Memory } from '@muster/memory'
import type { Dialect } from '@muster/models'
import {
  BODY_BYTES_MAX,
  type BudgetsByName,
  type Commitments,
  definitionManifest,
  MusterError,
  outboxLag,
  type RetentionRule,
  toolManifest,
  workerSummary,
} from '@muster/protocol'
import type { Redaction } from '@muster/redaction'
import {
  CallbackTokens,
  Gateway,
  type GatewayOptions,
  LedgerReader,
  RecordBook,
  Refusals,
  RunReader,
} from '@muster/runtime'
import reference from '@scalar/fastify-api-reference'
import fastify, { type FastifyBaseLogger, type FastifyRequest, LogController } from 'fastify'
import { serializerCompiler, validatorCompiler } from 'fastify-type-provider-zod'
import type { Logger } from 'pino'
import { z } from 'zod'
import { accessGate, needAccess } from './access.ts'
import { Admission } from './admission.ts'
import { keyRoutes } from './api-keys.ts'
import { approvalRoutes } from './approvals.ts'
import { auditRoutes } from './audit.ts'
import { budgetRoutes } from './budget-routes.ts'
import { Budgets } from './budgets.ts'
import { callbackRoute } from './callbacks.ts'
import { registerConsole } from './console.ts'
import type { Context, Server } from './context.ts'
import { costRoutes } from './cost-routes.ts'
import { CostBook } from './costs.ts'
import { erasureRoutes } from './erasures.ts'
import { gatewayRoutes } from './gateway/gateway-routes.ts'
import { KeyRing } from './key-ring.ts'
import { type ApiKey, hasRole } from './keys.ts'
import { ledgerRoutes } from './ledger.ts'
import { limitRoutes } from './limits.ts'
import { checkNesting } from './nesting.ts'
import { openApi } from './openapi.ts'
import { policyRoutes } from './policies.ts'
import { problemsOf, sendProblems } from './problems.ts'
import { recordRoutes } from './record-routes.ts'
import { ServerRecords } from './records.ts'
import { isRoleless } from './roleless.ts'
import { runActionRoutes } from './run-actions.ts'
import { runRoutes } from './runs.ts'
import { batchRoute } from './runs-batch.ts'
import { scheduleRoutes } from './schedules.ts'
import { checkNotStopped, stopRoutes } from './stops.ts'
import { webhookRoutes } from './webhooks.ts'

export interface ServerOptions {
  redisUrl: string
  namespace: string
  /** Parts that the runs are spread over; see `JournalOptions`. */
  partitions?: number | undefined
  memory: Memory
  keys: readonly ApiKey[]
  /** Tenants' shares of the backlog; see `WorkerOptions.weights`. */
  weights?: Readonly<Record<string, number>> | undefined
  /** Replicas that must have a write before it counts as durable; see `JournalOptions`. */
  replication?: ReplicationOptions | undefined
  /** What tenants, agents and plans may use in a day or month; the same as the workers'. */
  budgets?: BudgetsByName | undefined
  /** Amounts that are promised to providers. */
  commitments?: Commitments | undefined
  /** How long what is kept of ended runs; the same as the workers'. */
  retention?: readonly RetentionRule[] | undefined
  /** Signs callbacks and webhooks; without it there are none. */
  secret?: string | undefined
  /** Allows webhooks by http and to addresses that are not public; see `WebhookOptions`. */
  webhooksAnywhere?: boolean | undefined
  /** Takes personal data and secrets out of what comes, before it is written; the same as the workers'. */
  redaction?: Redaction | undefined
  /** Where tenants' ledgers are, as workers write them; in the memory's own table unless given. */
  ledgers?: Ledgers | undefined
  /** Whether reads of content are recorded; true unless given. */
  recordReads?: boolean | undefined
  /** Serves clients that speak as OpenAI or Anthropic do; there is no gateway without it. */
  gateway?:
    | Pick<GatewayOptions, 'models' | 'policies' | 'limits' | 'ledger' | 'lockMs' | 'telemetry' | 'places'>
    | undefined
  /** Opens the journal, of which Redis may not be there yet; at once or not at all unless given. */
  reach?: ((open: () => Promise<Journal>) => Promise<Journal>) | undefined
  log?: Logger | undefined
}

/** How long requests of the gateway have to end when the server closes, ms. */
const GRACE_MS = 10_000

/** Characters of a part of a path, where names stand: as many as a name may have, each of which may be nine. */
const PARAM_MAX = 256 * 9

/** A client may take this long to send a request, ms: what waits for the rest of one is not held for ever. */
const REQUEST_MS = 300_000

/** Builds the HTTP API; `listen` opens it. Throws `redis.unavailable` when Redis does not answer. */
export async function createServer(
  options: ServerOptions,
): Promise<{ listen(host: string, port: number): Promise<string>; close(): Promise<void> }> {
  const { memory } = options
  const { redisUrl: url, namespace, partitions, replication, log } = options
  const open = () => Journal.open({ url, namespace, partitions, replication, failFast: true })
  const journal = await (options.reach ?? ((at) => at()))(open)
  const { safe, text } = await journal.durability()
  log?.[safe ? 'info' : 'warn'](`durability: ${text}`)
  if (options.weights) await journal.setWeights(options.weights)
  let gateway: Gateway | undefined
  const controls = new Controls(journal, {
    onChange: () => gateway?.heedControls(),
    onError: (error) => log?.warn({ err: error }, 'stops, budgets and limits not read'),
  })
  await controls.start()
  const budgets = new Budgets(journal, controls, options.budgets ?? {})
  const refusals = new Refusals(memory)
  gateway =
    options.gateway &&
    (await Gateway.open({
      ...{ journal, memory, controls, log, redaction: options.redaction, budgets: options.budgets },
      ...options.gateway,
    }))
  const ring = await KeyRing.open({
    ...{ file: options.keys, store: memory.apiKeys, journal },
    onError: (error, what) => log?.warn({ err: error }, what),
  })
  const reader = new RunReader(journal, memory)
  const context: Context = {
    journal,
    memory,
    reader,
    ledger: new LedgerReader(options.ledgers ?? memory.ledgers),
    records: new ServerRecords(new RecordBook(new Heads(journal), memory.records), options.recordReads ?? true),
    admission: new Admission(journal, options.redaction),
    controls,
    budgets,
    costBook: new CostBook({
      ...{ journal, memory, commitments: options.commitments ?? {} },
      tenants: options.keys.map(({ tenant }) => tenant),
      providerOf: options.gateway?.models.providerOf ?? (() => 'unknown'),
    }),
    retention: options.retention ?? [],
    refusals,
    gateway,
    enter(run) {
      checkNotStopped(controls, run)
      const checked = refusals.check(run)
      return checked ? checked.then(() => budgets.takeRun(run)) : budgets.takeRun(run)
    },
    redact(tenant, value) {
      const { value: kept, found } = options.redaction?.of(tenant).redact(value) ?? { value, found: undefined }
      // The shape stays.
      return { value: kept as typeof value, ...(found ? { redacted: found } : {}) }
    },
    secret: options.secret,
    webhooksAnywhere: options.webhooksAnywhere ?? false,
    ring,
    callbacks: options.secret === undefined ? undefined : new CallbackTokens(options.secret),
    keyOf(request) {
      const { apiKey: key } = request
      if (!key) throw new MusterError('auth.missing_key', 'The request has no API key')
      return key
    },
  }
  // What fastify logs by need be no more than it asks for.
  const logger: FastifyBaseLogger | undefined = log
  const app = fastify({
    bodyLimit: BODY_BYTES_MAX,
    routerOptions: { maxParamLength: PARAM_MAX },
    ...(logger ? { loggerInstance: logger } : { logger: false }),
    forceCloseConnections: true,
    requestTimeout: REQUEST_MS,
    // A line for every poll of every client tells nobody anything; failures are logged where they are answered.
    logController: new LogController({ disableRequestLogging: true }),
  })
  // Else a text would be looked at as if it were the JSON that is asked for.
  app.removeContentTypeParser('text/plain')
  app.setValidatorCompiler(validatorCompiler)
  app.setSerializerCompiler(serializerCompiler)
  sendProblems(app)
  await app.register(swagger, openApi)
  app.decorateRequest('apiKey', null)
  app.addHook('onRoute', needAccess)
  const letIn = accessGate(reader)
  // Hooks that all requests pass call back where they need not wait: a promise each costs more than they do.
  app.addHook('onRequest', (request, { raw }, done) => {
    // The route's own address: what was sent may be written in other ways, `/%761/runs`.
    const { url = request.url, config } = request.routeOptions
    const { access } = config
    if (access === 'token' || (access === undefined && !url.startsWith('/v1/'))) {
      done()
      return
    }
    const take = (key: ApiKey) => {
      request.apiKey = key
      // What takes long does not go on under a key that is good no more.
      if (config.follows || config.dialect !== undefined)
        raw.on(
          'close',
          ring.hold(key, () => raw.destroy(), config.follows && !isRoleless(key)),
        )
      letIn(request, access, key, done)
    }
    const found = ring.find(authorizationOf(request, config.dialect))
    if (found instanceof Promise) found.then(take, done)
    else take(found)
  })
  app.addHook('preParsing', ({ headers }, _reply, _payload, done) => {
    checkPlain(headers['content-encoding'])
    done()
  })
  app.addHook('preValidation', ({ body }, _reply, done) => {
    checkNesting(body)
    done()
  })
  await app.register(async (scope) => gatewayRoutes(scope as unknown as Server, context)) // as below
  await app.register(async (scope) => routes(scope as unknown as Server, context)) // the zod type provider is a matter of types only
  await app.register(reference, { routePrefix: '/reference', configuration: { url: '/openapi.json' } })
  return {
    async listen(host, port) {
      try {
        return await app.listen({ host, port })
      } catch (error) {
        if (error instanceof Error && 'code' in error && error.code === 'EADDRINUSE') {
          throw new MusterError('port.taken', `Port ${port} on ${host} is taken`, { cause: error })
        }
        throw error
      }
    },
    async close() {
      await gateway?.close(GRACE_MS)
      controls.close()
      ring.close()
      await app.close()
      await journal.close()
    },
  }
}

/** Of what is packed nobody knows how large it is. @throws MusterError `request.unsupported_media_type` */
function checkPlain(encoding = 'identity'): void {
  if (encoding === 'identity') return
  const message = `A body under Content-Encoding: ${encoding.slice(0, 64)} is not read: send it as it is`
  throw new MusterError('request.unsupported_media_type', message)
}

/** Anthropic's clients send their key in a header of its own. */
function authorizationOf({ headers }: FastifyRequest, dialect: Dialect | undefined): string | undefined {
  const key = headers['x-api-key']
  return headers.authorization ?? (dialect !== undefined && typeof key === 'string' ? `Bearer ${key}` : undefined)
}

function routes(server: Server, context: Context): void {
  runRoutes(server, context)
  batchRoute(server, context)
  runActionRoutes(server, context)
  approvalRoutes(server, context)
  budgetRoutes(server, context)
  keyRoutes(server, context)
  costRoutes(server, context)
  stopRoutes(server, context)
  limitRoutes(server, context)
  scheduleRoutes(server, context)
  callbackRoute(server, context)
  webhookRoutes(server, context)
  policyRoutes(server, context)
  ledgerRoutes(server, context)
  auditRoutes(server, context)
  recordRoutes(server, context)
  erasureRoutes(server, context)
  registerConsole(server)
  server.get(
    '/v1/definitions',
    {
      config: { access: 'open' },
      schema: {
        tags: ['definitions'],
        security: [{ key: [] }],
        summary: 'What the workers carry: agents, plans and tools',
        response: {
          200: z.object({ definitions: z.array(definitionManifest), tools: z.array(toolManifest) }),
          ...problemsOf(401, 503),
        },
      },
    },
    () => context.journal.manifest(),
  )
  server.get(
    '/v1/workers',
    {
      config: { access: 'any-role' },
      schema: {
        tags: ['workers'],
        security: [{ key: [] }],
        summary: 'The workers that live and what they carry; to the role "operator" what the background has not done',
        response: {
          200: z.object({ workers: z.array(workerSummary), outboxes: z.array(outboxLag).optional() }),
          ...problemsOf(401, 503),
        },
      },
    },
    async (request) => {
      const { journal } = context
      const workers = await journal.workers()
      // Sums over all tenants: who runs the installation needs them, others could learn of their neighbours' load.
      return hasRole(context.keyOf(request), 'operator') ? { workers, outboxes: await journal.lags() } : { workers }
    },
  )
  server.get('/openapi.json', { schema: { hide: true } }, async () => server.swagger())
  server.get(
    '/healthz',
    {
      schema: {
        tags: ['health'],
        security: [],
        summary: 'The process lives',
        response: { 200: z.object({ status: z.literal('ok') }) },
      },
    },
    async () => ({ status: 'ok' as const }),
  )
  server.get(
    '/readyz',
    {
      schema: {
        tags: ['health'],
        security: [],
        summary: 'Redis and DynamoDB answer, and Redis evicts nothing',
        response: { 200: z.object({ status: z.literal('ready') }), ...problemsOf(500, 503) },
      },
    },
    async () => {
      await context.journal.ping(1000)
      await context.journal.checkSafe()
      await context.memory.health()
      return { status: 'ready' as const }
    },
  )
}

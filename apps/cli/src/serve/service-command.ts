import { type Config, type ErrorCode, MusterError, toMusterError } from '@muster/protocol'
import { createServer, readKeys } from '@muster/server'
import {
  folderLedgers,
  openMemoryOf,
  patience,
  readModels,
  readRedaction,
  runWorker,
  startTelemetry,
  warnOfPrices,
} from '@muster/worker'
import { readPolicies } from '@muster/worker/settings'
import { describeError } from '../output.ts'
import { openLog } from './log.ts'

/** How long a worker has to end or park what it holds, ms. */
const GRACE_MS = 10_000

/** How long a start has to end that is told to stop, ms. */
const START_GRACE_MS = 2000

export interface Service {
  /** Where it listens, for a server. */
  url?: string
  close(): Promise<void>
}

/** `muster server`: the HTTP API. */
export async function serverCommand(config: Config, signal: AbortSignal): Promise<Service> {
  const { REDIS_URL: redisUrl, MUSTER_KEYS_FILE: keysFile } = config
  if (redisUrl === undefined) throw new MusterError('config.invalid', 'REDIS_URL: a server needs a Redis')
  if (keysFile === undefined) throw new MusterError('config.invalid', 'MUSTER_KEYS_FILE: a server needs API keys')
  const log = openLog(config.MUSTER_LOG, 'server', process.stdout.fd)
  const exported = config.MUSTER_GATEWAY === 'on' ? await startTelemetry(config, 'muster-server') : undefined
  // Read before the wait: what is wrong here is told at once.
  const settings = {
    keys: readKeys(keysFile),
    redaction: await readRedaction(config),
    gateway: gatewayOf(config, exported?.telemetry),
  }
  if (settings.gateway) warnOfPrices(settings.gateway.models, log)
  const reach = patience(config, log, signal)
  const memory = await reach(() => openMemoryOf(config))
  const server = await createServer({
    redisUrl,
    namespace: config.MUSTER_NAMESPACE,
    partitions: config.MUSTER_PARTITIONS,
    memory,
    reach,
    ...settings,
    weights: config.MUSTER_WEIGHTS,
    budgets: config.MUSTER_BUDGETS,
    commitments: config.MUSTER_COMMITMENTS,
    retention: config.MUSTER_RETENTION,
    replication: { replicas: config.MUSTER_REPLICAS, timeoutMs: config.MUSTER_REPLICA_TIMEOUT_MS },
    secret: config.MUSTER_SECRET,
    webhooksAnywhere: config.MUSTER_WEBHOOKS === 'anywhere',
    recordReads: config.MUSTER_RECORD_READS === 'on',
    ledgers: config.MUSTER_LEDGER_DIR === undefined ? undefined : folderLedgers(config.MUSTER_LEDGER_DIR),
    log,
  })
  const url = await server.listen(config.MUSTER_HOST, config.MUSTER_PORT)
  log.info({ url }, 'listening')
  return {
    url,
    async close() {
      log.info('closing: no new requests')
      await server.close()
      memory.close()
      await exported?.close()
    },
  }
}

type GatewayOptions = NonNullable<Parameters<typeof createServer>[0]['gateway']>

function gatewayOf(config: Config, telemetry: GatewayOptions['telemetry']): GatewayOptions | undefined {
  if (config.MUSTER_GATEWAY === 'off') return undefined
  if (config.MUSTER_POLICY === undefined)
    throw new MusterError('config.invalid', 'MUSTER_POLICY: without policies a gateway would deny every request')
  return {
    models: readModels(config),
    policies: () => readPolicies(config.MUSTER_POLICY),
    limits: config.MUSTER_LIMITS,
    telemetry,
    lockMs: config.MUSTER_LOCK_MS,
    ledger:
      config.MUSTER_LEDGER === 'heads' ||
      config.MUSTER_LEDGER_KEY_FILE !== undefined ||
      config.MUSTER_LEDGER_KMS_KEYS !== undefined,
  }
}

/** `muster worker`: takes runs and drives them. */
export async function workerCommand(config: Config, signal: AbortSignal): Promise<Service> {
  const log = openLog(config.MUSTER_LOG, 'worker', process.stdout.fd)
  const worker = await runWorker(config, log, signal)
  log.info({ worker: worker.name, app: config.MUSTER_APP }, 'taking runs')
  return {
    async close() {
      log.info({ runs: worker.held() }, `closing: no new runs; those at hand have ${GRACE_MS / 1000} s`)
      await worker.close(GRACE_MS)
      log.info('closed')
    },
  }
}

/** Tells a parent process that started this one, where there is one. */
export type ServiceMessage = { ready: true; url?: string } | { failed: ErrorCode; detail: string }

/** Runs a service until it is told to stop: by a signal, or by the end of the process that started it. */
export async function serve(start: (signal: AbortSignal) => Promise<Service>): Promise<void> {
  const tell = (message: ServiceMessage) => process.send?.(message)
  const stopped = new AbortController()
  let service: Service | undefined
  const stop = () => {
    if (stopped.signal.aborted) return
    stopped.abort()
    if (service)
      service.close().then(
        () => process.exit(0),
        () => process.exit(1),
      )
    // Whatever a start is at: it holds nothing yet that another would not take up.
    else setTimeout(() => process.exit(0), START_GRACE_MS)
  }
  process.on('SIGTERM', stop)
  // Ctrl-C reaches every process of the terminal; one that was started by another waits for its word.
  process.on('SIGINT', process.send ? () => {} : stop)
  process.on('disconnect', stop)
  try {
    service = await start(stopped.signal)
  } catch (error) {
    // Told to stop before it was there: nothing of it is left.
    if (stopped.signal.aborted) process.exit(0)
    const { code, message } = toMusterError(error)
    console.error(describeError(error))
    // What was opened before it failed would keep the process.
    const end = () => process.exit(1)
    if (process.send) process.send({ failed: code, detail: message } satisfies ServiceMessage, end)
    else end()
    return
  }
  if (stopped.signal.aborted) {
    await service.close().catch(() => {})
    process.exit(0)
  }
  tell({ ready: true, ...(service.url === undefined ? {} : { url: service.url }) })
}

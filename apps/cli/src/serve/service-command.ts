import { type Config, type ErrorCode, MusterError, toMusterError } from '@muster/protocol'
import { createServer, readKeys } from '@muster/server'
import { folderLedgers, openMemoryOf, readModels, readRedaction, runWorker, startTelemetry } from '@muster/worker'
import { readPolicies } from '@muster/worker/settings'
import { type Logger, pino } from 'pino'
import { describeError } from '../output.ts'

/** How long a worker has to end or park what it holds, ms. */
const GRACE_MS = 10_000

export interface Service {
  /** Where it listens, for a server. */
  url?: string
  close(): Promise<void>
}

/** `muster server`: the HTTP API. */
export async function serverCommand(config: Config): Promise<Service> {
  const { REDIS_URL: redisUrl, MUSTER_KEYS_FILE: keysFile } = config
  if (redisUrl === undefined) throw new MusterError('config.invalid', 'REDIS_URL: a server needs a Redis')
  if (keysFile === undefined) throw new MusterError('config.invalid', 'MUSTER_KEYS_FILE: a server needs API keys')
  const log = logger(config, 'server')
  const exported = config.MUSTER_GATEWAY === 'on' ? await startTelemetry(config, 'muster-server') : undefined
  const memory = await openMemoryOf(config)
  const server = await createServer({
    redisUrl,
    namespace: config.MUSTER_NAMESPACE,
    partitions: config.MUSTER_PARTITIONS,
    memory,
    keys: readKeys(keysFile),
    weights: config.MUSTER_WEIGHTS,
    budgets: config.MUSTER_BUDGETS,
    commitments: config.MUSTER_COMMITMENTS,
    retention: config.MUSTER_RETENTION,
    replication: { replicas: config.MUSTER_REPLICAS, timeoutMs: config.MUSTER_REPLICA_TIMEOUT_MS },
    secret: config.MUSTER_SECRET,
    webhooksAnywhere: config.MUSTER_WEBHOOKS === 'anywhere',
    redaction: await readRedaction(config),
    recordReads: config.MUSTER_RECORD_READS === 'on',
    ledgers: config.MUSTER_LEDGER_DIR === undefined ? undefined : folderLedgers(config.MUSTER_LEDGER_DIR),
    gateway: gatewayOf(config, exported?.telemetry),
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
export async function workerCommand(config: Config): Promise<Service> {
  const log = logger(config, 'worker')
  const worker = await runWorker(config, log)
  log.info({ worker: worker.name, app: config.MUSTER_APP }, 'taking runs')
  return {
    async close() {
      log.info({ runs: worker.held() }, `closing: no new runs; those at hand have ${GRACE_MS / 1000} s`)
      await worker.close(GRACE_MS)
      log.info('closed')
    },
  }
}

function logger(config: Config, name: string): Logger {
  return pino({ level: config.MUSTER_LOG, name })
}

/** Tells a parent process that started this one, where there is one. */
export type ServiceMessage = { ready: true; url?: string } | { failed: ErrorCode; detail: string }

/** Runs a service until it is told to stop: by a signal, or by the end of the process that started it. */
export async function serve(start: () => Promise<Service>): Promise<void> {
  const tell = (message: ServiceMessage) => process.send?.(message)
  let service: Service
  try {
    service = await start()
  } catch (error) {
    const { code, message } = toMusterError(error)
    tell({ failed: code, detail: message })
    console.error(describeError(error))
    process.exitCode = 1
    process.disconnect?.()
    return
  }
  let closing = false
  const stop = () => {
    if (closing) return
    closing = true
    service.close().then(
      () => process.exit(0),
      () => process.exit(1),
    )
  }
  process.on('SIGTERM', stop)
  // Ctrl-C reaches every process of the terminal; one that was started by another waits for its word.
  process.on('SIGINT', process.send ? () => {} : stop)
  process.on('disconnect', stop)
  tell({ ready: true, ...(service.url === undefined ? {} : { url: service.url }) })
}

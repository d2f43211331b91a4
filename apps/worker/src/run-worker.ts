import { loadPolicies, type PolicySet } from '@muster/governance'
import { type Config, MusterError } from '@muster/protocol'
import { CallbackTokens, noTelemetry, startWorker, type Worker } from '@muster/runtime'
import type { Logger } from 'pino'
import { loadApp } from './load-app.ts'
import { openMemoryOf } from './open-memory.ts'
import { patience } from './patience.ts'
import { readLedger } from './read-ledger.ts'
import { readModels, warnOfPrices } from './read-models.ts'
import { readPolicies, readToolLock } from './read-policies.ts'
import { readRedaction } from './read-redaction.ts'
import { startTelemetry } from './start-telemetry.ts'
import { watchPolicies } from './watch-policies.ts'

/**
 * Starts a worker as the configuration says.
 *
 * @param signal gives up the wait for Redis and DynamoDB
 * @throws MusterError naming what is missing or wrong
 */
export async function runWorker(config: Config, log: Logger, signal: AbortSignal): Promise<Worker> {
  if (config.REDIS_URL === undefined)
    throw new MusterError('config.invalid', 'REDIS_URL: a worker needs the Redis of its server')
  const app = await loadApp(config.MUSTER_APP)
  const exported = await startTelemetry(config, 'muster-worker')
  const telemetry = exported?.telemetry ?? noTelemetry
  const shadowed = (set: PolicySet) => {
    if (config.MUSTER_POLICY_SHADOW > 0) {
      set.shadow({
        rate: config.MUSTER_POLICY_SHADOW,
        random: Math.random,
        onDifference(difference) {
          telemetry.policyDifference(difference.action)
          log.error(difference, 'policies decide otherwise than cedar-wasm: please report it')
        },
      })
    }
    return set
  }
  const sources = readPolicies(config.MUSTER_POLICY)
  const policy = shadowed(loadPolicies(sources, app.manifest))
  if (config.MUSTER_POLICY === undefined) log.warn('MUSTER_POLICY is not set: every step will be denied')
  // Read before the wait: what is wrong here is told at once.
  const settings = {
    toolLock: readToolLock(config.MUSTER_TOOLS_LOCK),
    models: readModels(config),
    redaction: await readRedaction(config),
    ledger: await readLedger(config),
  }
  warnOfPrices(settings.models, log)
  const reach = patience(config, log, signal)
  const memory = await reach(() => openMemoryOf(config))
  const worker = await startWorker({
    redisUrl: config.REDIS_URL,
    namespace: config.MUSTER_NAMESPACE,
    partitions: config.MUSTER_PARTITIONS,
    app,
    policy,
    destinations: config.MUSTER_DESTINATIONS,
    memory,
    reach,
    ...settings,
    concurrency: config.MUSTER_CONCURRENCY,
    lockMs: config.MUSTER_LOCK_MS,
    journalTtlS: config.MUSTER_JOURNAL_TTL_S,
    weights: config.MUSTER_WEIGHTS,
    replication: { replicas: config.MUSTER_REPLICAS, timeoutMs: config.MUSTER_REPLICA_TIMEOUT_MS },
    limits: config.MUSTER_LIMITS,
    budgets: config.MUSTER_BUDGETS,
    retention: config.MUSTER_RETENTION,
    outcomes: config.MUSTER_OUTCOMES,
    archive: config.MUSTER_ARCHIVE === 'on',
    callbacks:
      config.MUSTER_SECRET === undefined
        ? undefined
        : new CallbackTokens(config.MUSTER_SECRET, config.MUSTER_PUBLIC_URL),
    webhooks:
      config.MUSTER_SECRET === undefined
        ? undefined
        : {
            secret: config.MUSTER_SECRET,
            anywhere: config.MUSTER_WEBHOOKS === 'anywhere',
            pausesMs: config.MUSTER_WEBHOOK_PAUSES_MS,
          },
    telemetry,
    log,
  })
  const watched = watchPolicies({
    paths: config.MUSTER_POLICY,
    app: app.manifest,
    sources,
    use: (set) => worker.usePolicies(shadowed(set)),
    log,
  })
  return {
    ...worker,
    async close(graceMs) {
      watched.close()
      await worker.close(graceMs)
      memory.close()
      await exported?.close()
    },
  }
}

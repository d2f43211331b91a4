import type { Config } from '@muster/protocol'
import { openTelemetry, type Telemetry } from '@muster/runtime'
import { requirePort } from './require-port.ts'

/**
 * Telemetry where it is configured. The SDK reads the standard OTEL_* variables; it is loaded only then.
 *
 * @throws MusterError `port.taken` where Prometheus is to find its metrics
 */
export async function startTelemetry(
  config: Config,
  serviceName: string,
): Promise<{ telemetry: Telemetry; close(): Promise<void> } | undefined> {
  const isSent = config.OTEL_EXPORTER_OTLP_ENDPOINT !== undefined
  const isScraped = isPrometheus(config)
  if (!isSent && !isScraped) return undefined
  if (isScraped) {
    const { OTEL_EXPORTER_PROMETHEUS_HOST: host, OTEL_EXPORTER_PROMETHEUS_PORT: port } = config
    // The SDK would go on without.
    await requirePort(host, port, 'OTEL_EXPORTER_PROMETHEUS_PORT')
  }
  const { NodeSDK } = await import('@opentelemetry/sdk-node')
  const sdk = new NodeSDK({
    serviceName: process.env.OTEL_SERVICE_NAME ?? serviceName,
    // Without a collector that was named the SDK would look for one on this machine.
    ...(isSent || process.env.OTEL_TRACES_EXPORTER ? {} : { spanProcessors: [] }),
    ...(isSent || process.env.OTEL_LOGS_EXPORTER ? {} : { logRecordProcessors: [] }),
  })
  sdk.start()
  return { telemetry: openTelemetry(), close: () => sdk.shutdown() }
}

/** Whether metrics are there to be scraped. */
export function isPrometheus({ OTEL_METRICS_EXPORTER: exporters = '' }: Config): boolean {
  return exporters.split(',').some((exporter) => exporter.trim() === 'prometheus')
}

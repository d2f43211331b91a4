import type { Config } from '@muster/protocol'
import { openTelemetry, type Telemetry } from '@muster/runtime'

/** Telemetry where it is configured. The SDK reads the standard OTEL_* variables; it is loaded only then. */
export async function startTelemetry(
  config: Config,
  serviceName: string,
): Promise<{ telemetry: Telemetry; close(): Promise<void> } | undefined> {
  if (config.OTEL_EXPORTER_OTLP_ENDPOINT === undefined) return undefined
  const { NodeSDK } = await import('@opentelemetry/sdk-node')
  const sdk = new NodeSDK({ serviceName: process.env.OTEL_SERVICE_NAME ?? serviceName })
  sdk.start()
  return { telemetry: openTelemetry(), close: () => sdk.shutdown() }
}

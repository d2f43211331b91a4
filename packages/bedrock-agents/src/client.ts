import { BedrockAgentRuntimeClient } from '@aws-sdk/client-bedrock-agent-runtime'
import { codeOf } from '@muster/models/bedrock-error'
import { MusterError } from '@muster/protocol'
import { NodeHttpHandler } from '@smithy/node-http-handler'

/** Where Bedrock is. Requests are signed with what the AWS SDK finds (environment, profile, role). */
export interface Place {
  region: string
  /** In place of the region's own, for a private link. */
  endpoint?: string
}

/** One client for each place, made when it is first needed. */
const clients = new Map<string, BedrockAgentRuntimeClient>()

export function clientOf({ region, endpoint }: Place): BedrockAgentRuntimeClient {
  const key = `${region} ${endpoint ?? ''}`
  let client = clients.get(key)
  if (!client) {
    client = new BedrockAgentRuntimeClient({
      region,
      // The step is tried again, so that the journal tells of each try.
      maxAttempts: 1,
      requestHandler: new NodeHttpHandler({ connectionTimeout: 10_000 }),
      ...(endpoint === undefined ? {} : { endpoint }),
    })
    clients.set(key, client)
  }
  return client
}

/**
 * What a call to Bedrock has failed with: `rate.limited` and `model.unavailable` may pass, `model.failed` does not. An
 * abort is nobody's failure and stays as it is.
 */
export function failureOf(what: string, error: unknown, signal: AbortSignal): unknown {
  if (signal.aborted || error instanceof MusterError) return error
  const message = error instanceof Error ? error.message : String(error)
  return new MusterError(codeOf(error), `${what}: ${message}`, { cause: error })
}

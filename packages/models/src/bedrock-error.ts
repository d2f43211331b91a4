import type { ErrorCode } from '@muster/protocol'
import { VendorError } from './relay/upstream.ts'

/** What may pass when it is tried again, whatever its status: some come in the middle of a stream and have none. */
const PASSING = new Set([
  'BadGatewayException',
  'DependencyFailedException',
  'InternalServerException',
  'ModelErrorException',
  'ModelNotReadyException',
  'ModelStreamErrorException',
  'ModelTimeoutException',
  'ServiceUnavailableException',
])

/** A stream that has not come to its end. */
export class Cut extends Error {}

/** What the clients of the AWS SDK throw, as far as it is read. */
interface SdkError {
  name?: string
  message?: string
  code?: unknown
  /** Whose fault it is: what a service has answered as AWS does has it. */
  $fault?: string
  $metadata?: { httpStatusCode?: number }
  $response?: unknown
}

/** A refusal as other vendors' are told, so that a client of the gateway gets its status; anything else as it is. */
export function refusalIn(error: unknown): unknown {
  const { name = '', message = '', $metadata } = error as SdkError
  const status = $metadata?.httpStatusCode ?? 0
  if (status < 400 || codeOf(error) !== 'model.failed') return error
  return new VendorError(status, message, { message, type: 'invalid_request_error', code: name })
}

/** An account has no more of something: no waiting brings it back. */
export function isQuota(error: unknown): boolean {
  return (error as SdkError).name === 'ServiceQuotaExceededException'
}

/** The code of what a call to Amazon Bedrock has failed with, to a model or an agent. */
export function codeOf(error: unknown): ErrorCode {
  if (error instanceof Cut) return 'model.unavailable'
  const { name = '', code, $fault, $metadata, $response } = error as SdkError
  if ($fault !== undefined) {
    if (PASSING.has(name)) return 'model.unavailable'
    // Told in the middle of a stream, it has none.
    const status = $metadata?.httpStatusCode ?? 0
    if (name === 'ThrottlingException' || status === 429) return 'rate.limited'
    return status >= 500 ? 'model.unavailable' : 'model.failed'
  }
  // A server has answered, but not as Bedrock does.
  if ($response !== undefined) return 'model.unavailable'
  const isNetwork = name === 'TimeoutError' || (name !== 'CredentialsProviderError' && typeof code === 'string')
  return isNetwork ? 'model.unavailable' : 'model.failed'
}

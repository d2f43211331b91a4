import { DynamoDBServiceException } from '@aws-sdk/client-dynamodb'
import { MusterError } from '@muster/protocol'

/**
 * What a failed request means to a caller. By the time that the SDK gives up it has retried throttling, 5xx answers and
 * network failures, so all of these are `memory.unavailable`, as are a missing table and refused credentials.
 */
export function failure(error: unknown, where: string): MusterError {
  if (error instanceof MusterError) return error
  const detail = detailOf(error)
  if (error instanceof DynamoDBServiceException && error.name === 'ValidationException') {
    // DynamoDB has no error of its own for an item over 400 KB or a key over its limit; it only says so.
    const tooLarge = /size.*exceeded|exceeded.*size|size limit/i.test(detail)
    return new MusterError(tooLarge ? 'memory.too_large' : 'internal', `DynamoDB refused: ${detail}`, { cause: error })
  }
  // These come from our own code, not from the network.
  if (error instanceof TypeError || error instanceof RangeError) {
    return new MusterError('internal', detail, { cause: error })
  }
  return new MusterError('memory.unavailable', `DynamoDB at ${where} cannot be used: ${detail}`, { cause: error })
}

/** The same at the start, where what no waiting mends is the configuration's: `config.invalid`. */
export function atStart(error: unknown, where: string): MusterError {
  const meant = failure(error, where)
  return meant.code === 'memory.unavailable' && isRefused(error)
    ? new MusterError('config.invalid', `${meant.message}. Check the credentials, the region and MUSTER_TABLE`, {
        cause: error,
      })
    : meant
}

/** There are no credentials, or the server has understood the request and does not want it. */
function isRefused(error: unknown): boolean {
  if (!(error instanceof Error)) return false
  if (error.name === 'CredentialsProviderError') return true
  if (!(error instanceof DynamoDBServiceException)) return false
  const status = error.$metadata.httpStatusCode ?? 500
  return status < 500 && status !== 429 && !/Throttling|Exceeded|TooManyRequests/.test(error.name)
}

/** Node's error for a host with several addresses, all of them refused, has no message but a code. */
function detailOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  // The SDK's word for an answer that DynamoDB would not give.
  if (error instanceof DynamoDBServiceException && error.message === 'UnknownError') {
    return `it answers HTTP ${error.$metadata.httpStatusCode ?? 'with no status'}`
  }
  if (error.message !== '') return error.message
  return 'code' in error ? String(error.code) : error.name
}

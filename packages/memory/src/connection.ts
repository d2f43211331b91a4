import { DynamoDBClient } from '@aws-sdk/client-dynamodb'
import { MusterError } from '@muster/protocol'
import { openGate } from './gate.ts'

export interface ConnectionOptions {
  endpoint?: string
  region?: string
}

/** A client with bounds on everything: attempts, connecting, and waiting for an answer. */
export interface Connection {
  client: DynamoDBClient
  /** The server's name for messages, without credentials. */
  where: string
}

const attemptsMax = 4
/** Requests on the wire at once, each on a connection of its own. */
const requestsMax = 64
const connectTimeoutMs = 3000
/** An answer holds up to 1 MB. */
const requestTimeoutMs = 5000

/** Any of these means that the user has set credentials for the SDK to find. */
const credentialVariables = [
  'AWS_ACCESS_KEY_ID',
  'AWS_PROFILE',
  'AWS_WEB_IDENTITY_TOKEN_FILE',
  'AWS_CONTAINER_CREDENTIALS_RELATIVE_URI',
  'AWS_CONTAINER_CREDENTIALS_FULL_URI',
]

/** @throws MusterError `config.invalid` where the endpoint is no address */
export function connect({ endpoint, region }: ConnectionOptions): Connection {
  if (endpoint !== undefined && !URL.canParse(endpoint)) {
    throw new MusterError('config.invalid', 'DYNAMODB_ENDPOINT: the endpoint of DynamoDB is not a URL')
  }
  const dummy = endpoint !== undefined && !credentialVariables.some((name) => process.env[name])
  const shownRegion = region ?? process.env.AWS_REGION ?? process.env.AWS_DEFAULT_REGION
  const client = new DynamoDBClient({
    ...(endpoint === undefined ? {} : { endpoint, region: shownRegion ?? 'local' }),
    ...(region === undefined ? {} : { region }),
    // DynamoDB Local keeps separate data for each access key, so that it must be the same at every start.
    ...(dummy ? { credentials: { accessKeyId: 'local', secretAccessKey: 'local' } } : {}),
    // What a request goes through is put together once for each command: it is a tenth of the work of one.
    cacheMiddleware: true,
    retryMode: 'standard',
    maxAttempts: attemptsMax,
    requestHandler: {
      httpAgent: { keepAlive: true, maxSockets: requestsMax },
      httpsAgent: { keepAlive: true, maxSockets: requestsMax },
      connectionTimeout: connectTimeoutMs,
      requestTimeout: requestTimeoutMs,
      throwOnRequestTimeout: true,
    },
  })
  // The SDK's timeouts run while a request waits for a free connection. Without the gate a burst of our own would look like a
  // server that does not answer. Inside the retries, so that who backs off holds no place.
  const gate = openGate(requestsMax)
  client.middlewareStack.add((next) => (args) => gate(() => next(args)), { step: 'finalizeRequest', priority: 'low' })
  const where = endpoint === undefined ? `AWS (${shownRegion ?? 'no region set'})` : new URL(endpoint).host
  return { client, where }
}

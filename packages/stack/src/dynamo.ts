// Not found by programs of other packages, which read this file but not our tsconfig.
/// <reference path="./dynalite.d.ts" />
import { mkdir } from 'node:fs/promises'
import type { IncomingMessage, Server } from 'node:http'
import { MusterError } from '@muster/protocol'
import { ClassicLevel } from 'classic-level'
import dynalite from 'dynalite'
import { shownAddress } from './address.ts'
import { portTaken, requireFreePort } from './port.ts'

export interface DynamoOptions {
  /** A server of the user's own, as in DYNAMODB_ENDPOINT. Without it and `aws` one is started in this process. */
  endpoint?: string
  /** Use DynamoDB of AWS, by the AWS configuration of the environment. */
  aws?: boolean
  /** Data folder of the started server; in memory without it. One process at a time. */
  dir?: string
  /** Port of the started server; default: a free one. */
  port?: number
  /** Hears of what is worth knowing. */
  log?: (line: string) => void
}

export interface DynamoService {
  /** For the SDK's `endpoint`; undefined means that of AWS. The embedded server takes any credentials and region. */
  endpoint: string | undefined
  source: 'external' | 'aws' | 'embedded'
  /** Stops the embedded server with all data on disk; does nothing to others. May be called again. */
  stop(): Promise<void>
}

const answerLimitMs = 3000
const stopGraceMs = 2000

/**
 * Gives a DynamoDB: the one at `endpoint`, else that of AWS if `aws` is set, else one embedded in this process.
 * As with AWS, a new table is to be awaited (`waitUntilTableExists`), though here it takes only a moment.
 *
 * @throws MusterError `memory.unavailable` or `port.taken`
 */
export async function startDynamo(options: DynamoOptions = {}): Promise<DynamoService> {
  const { endpoint, aws, dir, log } = options
  const nothing = async () => undefined
  if (endpoint !== undefined) {
    await requireAnswer(endpoint)
    return { endpoint, source: 'external', stop: nothing }
  }
  if (aws) return { endpoint: undefined, source: 'aws', stop: nothing }

  if (options.port !== undefined) await requireFreePort(options.port, 'DynamoDB')
  if (dir !== undefined) await requireUsableStore(dir)
  const store = dir === undefined ? {} : { path: dir }
  const server = dynalite({ ...store, createTableMs: 0, deleteTableMs: 0, updateTableMs: 0 })
  surviveClients(server)
  const port = await listen(server, options.port ?? 0)
  log?.(`DynamoDB is embedded on port ${port}, ${dir === undefined ? 'in memory' : `with its data in ${dir}`}`)
  let stopping: Promise<void> | undefined
  return {
    endpoint: `http://127.0.0.1:${port}`,
    source: 'embedded',
    stop() {
      stopping ??= close(server)
      return stopping
    },
  }
}

/** Any answer will do: DynamoDB Local and others answer a plain GET with an error. */
async function requireAnswer(endpoint: string): Promise<void> {
  try {
    // fetch refuses addresses with credentials, which no DynamoDB endpoint has.
    await fetch(endpoint, { signal: AbortSignal.timeout(answerLimitMs), redirect: 'manual' })
  } catch (error) {
    const code = error instanceof Error && error.cause instanceof Error ? error.cause.message : ''
    const why = code || `no answer within ${answerLimitMs} ms`
    throw new MusterError('memory.unavailable', `DynamoDB at ${shownAddress(endpoint)} does not answer: ${why}`)
  }
}

/**
 * Opens the store once before dynalite does. dynalite opens it in the background and throws from a request's callback when
 * that fails, which would end the process without saying why.
 */
async function requireUsableStore(dir: string): Promise<void> {
  await mkdir(dir, { recursive: true })
  const store = new ClassicLevel(dir)
  try {
    await store.open()
    await store.close()
  } catch (error) {
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error
    const locked = cause instanceof Error && 'code' in cause && cause.code === 'LEVEL_LOCKED'
    const why = locked
      ? 'another process uses it; end that, or give this one a folder of its own (MUSTER_HOME)'
      : cause instanceof Error
        ? cause.message
        : String(cause)
    throw new MusterError('memory.unavailable', `The embedded DynamoDB cannot open ${dir}: ${why}`, { cause: error })
  }
}

/**
 * dynalite throws when a client goes away before its answer, which would end our process with it. Its listener is added
 * while it handles the request, so that ours, which runs after it, can replace it.
 */
function surviveClients(server: Server): void {
  server.on('request', (request: IncomingMessage) => {
    request.removeAllListeners('error')
    request.on('error', () => undefined)
  })
}

/** The port that it got: `port`, or a free one for 0. */
function listen(server: Server, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', (error) => reject(portTaken(port, 'DynamoDB', error)))
    server.listen(port, '127.0.0.1', () => {
      const address = server.address()
      resolve(address === null || typeof address === 'string' ? port : address.port)
    })
  })
}

function close(server: Server): Promise<void> {
  return new Promise((resolve, reject) => {
    // A client that holds its connection with half a request would keep the server open.
    const cut = setTimeout(() => server.closeAllConnections(), stopGraceMs)
    server.close((error) => {
      clearTimeout(cut)
      if (error) reject(error)
      else resolve()
    })
  })
}

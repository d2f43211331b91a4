import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { createMuster, type Muster } from '@muster/sdk'
import { freePort } from '@muster/stack'
import { policy } from './test-app.ts'

const cli = fileURLToPath(new URL('../../cli/src/main.ts', import.meta.url))
const app = fileURLToPath(new URL('./test-app.ts', import.meta.url))

export interface TestStack {
  url: string
  key: string
  muster: Muster
  stop(): Promise<void>
}

/** What a user starts, `muster dev`, with an app of this package and a model that always says hello. */
export async function startTestStack(
  settings: (modelUrl: string) => Record<string, string> = () => ({}),
): Promise<TestStack> {
  const home = mkdtempSync(join(tmpdir(), 'muster-console-'))
  const policyFile = join(home, 'policy.cedar')
  writeFileSync(policyFile, policy)
  const model = await startModel()
  const port = await freePort()
  const url = `http://127.0.0.1:${port}`
  const dev = spawn(process.execPath, [cli, 'dev', '--app', app, '--policy', policyFile], {
    env: {
      PATH: process.env.PATH,
      HOME: process.env.HOME,
      MUSTER_HOME: home,
      MUSTER_PORT: String(port),
      MUSTER_MODEL: 'hello',
      MUSTER_MODEL_BASE_URL: model.url,
      MUSTER_MODEL_API_KEY: 'none',
      ...settings(model.url),
    },
  })
  const stop = async () => {
    await stopProcess(dev)
    model.close()
    rmSync(home, { recursive: true, force: true })
  }
  try {
    await untilReady(dev)
  } catch (error) {
    await stop()
    throw error
  }
  const key = readFileSync(join(home, 'dev-key'), 'utf8').trim()
  return { url, key, muster: createMuster({ url, key }), stop }
}

function untilReady(dev: ChildProcess): Promise<void> {
  return new Promise((resolve, reject) => {
    let output = ''
    const read = (chunk: Buffer) => {
      output += chunk
      if (output.includes('Ctrl-C')) resolve()
    }
    dev.stdout?.on('data', read)
    dev.stderr?.on('data', read)
    dev.once('exit', () => reject(new Error(`muster dev ended:\n${output}`)))
  })
}

async function stopProcess(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const ended = once(child, 'exit')
  child.kill('SIGTERM')
  const timer = setTimeout(() => child.kill('SIGKILL'), 20_000)
  await ended
  clearTimeout(timer)
}

async function startModel(): Promise<{ url: string; close(): void }> {
  const message = { role: 'assistant', content: 'hello' }
  const usage = { prompt_tokens: 10, completion_tokens: 1, total_tokens: 11 }
  const answer = {
    id: '1',
    object: 'chat.completion',
    created: 0,
    model: 'hello',
    choices: [{ index: 0, message, finish_reason: 'stop' }],
    usage,
  }
  const server = createServer((request, response) => {
    request.resume()
    response.setHeader('content-type', 'application/json').end(JSON.stringify(answer))
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}/v1`,
    close() {
      server.closeAllConnections()
      server.close()
    },
  }
}

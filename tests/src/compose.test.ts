import { type ChildProcess, fork } from 'node:child_process'
import { mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseEnv } from 'node:util'
import { freePort } from '@muster/stack'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { cli, type Harness, runCli, startHarness, stopProcess, until } from './harness.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const text = (file: string) => readFileSync(join(root, 'infra', file), 'utf8')

interface Compose {
  services: Record<'server' | 'worker', { command: string; environment: Record<string, string | number | null> }>
}
const { services }: Compose = parse(text('compose.yaml'), { merge: true })
/** What the image sets, one a line. */
const ofImage = parseEnv(text('Dockerfile').replaceAll(/^ENV |^ +| \\$/gm, ''))

let harness: Harness
const started: ChildProcess[] = []
beforeAll(async () => {
  harness = await startHarness()
})
afterAll(async () => {
  await Promise.all(started.map((child) => stopProcess(child)))
  await harness.close()
})

/** A service as Compose starts it with these lines in `infra/.env`, with the places of this test for those of containers. */
async function start(name: 'server' | 'worker', lines: Record<string, string>, port: number): Promise<string> {
  const { command, environment } = services[name]
  const places = {
    ...{ '/muster/': root, '/data': join(harness.dir, name), '/witness': join(harness.dir, 'witness') },
    ...{ '/run/secrets/keys': harness.env.MUSTER_KEYS_FILE, '/run/secrets/ledger': join(harness.dir, 'ledger.pem') },
    ...{ 'redis://valkey:6379': harness.redisUrl, 'http://dynamodb:8000': harness.dynamoEndpoint },
  }
  const env: Record<string, string> = {}
  for (const [key, value] of Object.entries({ ...ofImage, ...lines, ...environment, MUSTER_PORT: port }))
    if (value !== null)
      env[key] = Object.entries(places).reduce((now, [from, to]) => now.replaceAll(from, to ?? ''), String(value))
  const child = fork(cli, [command], {
    env: { PATH: process.env.PATH, ...env },
    stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
  })
  child.stdout?.resume()
  started.push(child)
  return new Promise((resolve, reject) => {
    child.once('message', ({ detail, url }: { detail?: string; url?: string }) =>
      detail === undefined ? resolve(url ?? '') : reject(new Error(detail)),
    )
    child.once('exit', (code) => reject(new Error(`${name} ended: ${code}`)))
  })
}

describe('compose.yaml', () => {
  it('with the lines for that is a gateway whose requests enter the ledger and are paid for', async () => {
    mkdirSync(join(harness.dir, 'witness'))
    const made = await runCli(['ledger', 'key', join(harness.dir, 'ledger.pem')], {})
    expect(made).toMatchObject({ code: 0 })
    // As infra/README.md has them.
    const [lines = ''] = text('README.md').match(/^MUSTER_GATEWAY=on\n[^`]*/m) ?? []
    const settings = { ...parseEnv(lines), MUSTER_MODEL_BASE_URL: `${harness.modelUrl}/v1`, MUSTER_MODEL: 'scripted' }
    const port = await freePort()
    await start('worker', settings, port)
    await start('server', settings, port)
    const url = `http://127.0.0.1:${port}`
    const answer = await fetch(`${url}/v1/chat/completions`, {
      method: 'POST',
      headers: { authorization: `Bearer ${harness.key}`, 'content-type': 'application/json' },
      body: JSON.stringify({ model: 'default', messages: [{ role: 'user', content: 'hello' }] }),
    })
    expect(await answer.json()).toMatchObject({ choices: [{ message: { content: 'a plain answer' } }] })
    const run = answer.headers.get('x-muster-run') ?? ''
    const env = { MUSTER_URL: url, MUSTER_KEY: harness.key, MUSTER_HOME: harness.dir }
    await until(
      () => runCli(['receipt', run], env),
      ({ code }) => code === 0,
    )
    expect((await runCli(['costs', '--json'], env)).out).toContain('scripted')
  })
})

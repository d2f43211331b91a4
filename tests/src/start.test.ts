import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, existsSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { freePort, type RedisService, startDynamo, startRedis } from '@muster/stack'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { runCli, until } from './harness.ts'

const cli = fileURLToPath(new URL('../../apps/cli/src/main.ts', import.meta.url))
const app = fileURLToPath(new URL('./fixtures/app.ts', import.meta.url))
const dir = mkdtempSync(join(tmpdir(), 'muster-start-'))
let redis: RedisService
let dynamo: Awaited<ReturnType<typeof startDynamo>>

/** Answers as DynamoDB does to a key that it does not know. */
const refuses = createServer((_, response) => {
  response.writeHead(400, { 'content-type': 'application/x-amz-json-1.0' })
  response.end('{"__type":"UnrecognizedClientException","message":"The security token is invalid"}')
})
const refusing = { url: '' }

beforeAll(async () => {
  await once(refuses.listen(0, '127.0.0.1'), 'listening')
  refusing.url = `http://127.0.0.1:${(refuses.address() as AddressInfo).port}`
  redis = await startRedis({ dir: join(dir, 'redis') })
  dynamo = await startDynamo({})
  writeFileSync(join(dir, 'broken.ts'), 'export const = 1')
  writeFileSync(join(dir, 'empty.ts'), 'export const nothing = 1')
  writeFileSync(
    join(dir, 'twice.ts'),
    `const tool = (hash) => ({ kind: 'tool', name: 'same', manifest: { name: 'same', hash } })
     export const one = tool('1')
     export const two = tool('2')`,
  )
  writeFileSync(
    join(dir, 'typo.cedar'),
    '@id("a")\npermit (principal, action, resource)\nwhen { context.lables.contains("x") };',
  )
  writeFileSync(join(dir, 'keys.json'), '[{"id": "k"}]')
  writeFileSync(join(dir, 'no-keys.json'), '[]')
})
afterAll(async () => {
  await redis.stop()
  await dynamo.stop()
  refuses.close()
  rmSync(dir, { recursive: true })
})

function environment(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const clean = Object.entries(process.env).filter(([name]) => !/^(MUSTER_|REDIS_|DYNAMODB_|OPENAI_|AWS_)/.test(name))
  return {
    ...Object.fromEntries(clean),
    NO_COLOR: '1',
    MUSTER_LOG: 'silent',
    MUSTER_START_WAIT_MS: '0',
    MUSTER_HOME: join(dir, 'home'),
    ...env,
  }
}

async function start(command: string, env: NodeJS.ProcessEnv): Promise<{ code: number; output: string }> {
  return promisify(execFile)(process.execPath, [cli, command], { env: environment(env), timeout: 25_000 }).then(
    ({ stdout, stderr }) => ({ code: 0, output: stdout + stderr }),
    ({ code, stdout, stderr }) => ({ code, output: stdout + stderr }),
  )
}

describe('a process that cannot start says why and what to do, and ends', () => {
  const model = { MUSTER_MODEL_BASE_URL: 'http://127.0.0.1:1/v1' }
  const parts = () => ({ REDIS_URL: redis.url, DYNAMODB_ENDPOINT: dynamo.endpoint, ...model })
  const cases: [what: string, command: string, env: () => NodeJS.ProcessEnv, says: RegExp][] = [
    [
      'dev, Redis down',
      'dev',
      () => ({ REDIS_URL: 'redis://me:hunter2@127.0.0.1:1', MUSTER_PORT: '7999' }),
      /redis\.unavailable.*127\.0\.0\.1:1/s,
    ],
    [
      'dev, DynamoDB down',
      'dev',
      () => ({ REDIS_URL: redis.url, DYNAMODB_ENDPOINT: 'http://127.0.0.1:1', MUSTER_PORT: '7999' }),
      /memory\.unavailable/,
    ],
    ['a bad setting', 'worker', () => ({ MUSTER_CONCURRENCY: 'many' }), /config\.invalid.*MUSTER_CONCURRENCY/s],
    ['a worker without Redis', 'worker', () => ({}), /config\.invalid.*REDIS_URL/s],
    [
      'a worker, Redis down',
      'worker',
      () => ({ ...parts(), REDIS_URL: 'redis://127.0.0.1:1', MUSTER_APP: app }),
      /redis\.unavailable/,
    ],
    ['a worker without an app', 'worker', parts, /config\.invalid.*--app/s],
    [
      'a worker whose app does not exist',
      'worker',
      () => ({ ...parts(), MUSTER_APP: join(dir, 'none.ts') }),
      /definition\.invalid.*none\.ts/s,
    ],
    [
      'a worker whose app is broken',
      'worker',
      () => ({ ...parts(), MUSTER_APP: join(dir, 'broken.ts') }),
      /definition\.invalid.*broken\.ts/s,
    ],
    [
      'a worker whose app defines nothing',
      'worker',
      () => ({ ...parts(), MUSTER_APP: join(dir, 'empty.ts') }),
      /definition\.invalid.*no agent/s,
    ],
    [
      'a worker with two tools of one name',
      'worker',
      () => ({ ...parts(), MUSTER_APP: join(dir, 'twice.ts') }),
      /definition\.invalid.*"same"/s,
    ],
    [
      'a worker with a policy that has a typo',
      'worker',
      () => ({ ...parts(), MUSTER_APP: app, MUSTER_POLICY: join(dir, 'typo.cedar') }),
      /policy\.invalid.*typo\.cedar:3:8.*labels/s,
    ],
    [
      'a worker with a policy that is not there',
      'worker',
      () => ({ ...parts(), MUSTER_APP: app, MUSTER_POLICY: join(dir, 'no.cedar') }),
      /config\.invalid.*no\.cedar/s,
    ],
    [
      'a worker without a model',
      'worker',
      () => ({ REDIS_URL: redis.url, DYNAMODB_ENDPOINT: dynamo.endpoint, MUSTER_APP: app }),
      /config\.invalid.*OPENAI_API_KEY/s,
    ],
    [
      'a worker whom DynamoDB refuses',
      'worker',
      () => ({ ...parts(), DYNAMODB_ENDPOINT: refusing.url, MUSTER_APP: app, MUSTER_START_WAIT_MS: '60000' }),
      /config\.invalid.*UnrecognizedClientException|config\.invalid.*The security token/s,
    ],
    [
      'a worker whom Redis refuses',
      'worker',
      () => ({
        ...parts(),
        REDIS_URL: redis.url.replace('//', '//me:hunter2@'),
        MUSTER_APP: app,
        MUSTER_START_WAIT_MS: '60000',
      }),
      /config\.invalid.*WRONGPASS/s,
    ],
    ['a server without keys', 'server', parts, /config\.invalid.*MUSTER_KEYS_FILE/s],
    [
      'a server with bad keys',
      'server',
      () => ({ ...parts(), MUSTER_KEYS_FILE: join(dir, 'keys.json') }),
      /config\.invalid.*sha256/s,
    ],
    [
      'a server, Redis down',
      'server',
      () => ({ ...parts(), REDIS_URL: 'redis://127.0.0.1:1', MUSTER_KEYS_FILE: join(dir, 'no-keys.json') }),
      /redis\.unavailable/,
    ],
  ]
  it.each(cases)('%s', async (_, command, env, says) => {
    const { code, output } = await start(command, env())
    expect(output).toMatch(says)
    expect(code).toBe(1)
    expect(output).not.toMatch(/\n\s+at |hunter2/)
  })
})

/** A worker or server, and what it has logged. */
function begin(command: string, env: NodeJS.ProcessEnv) {
  const child = spawn(process.execPath, [cli, command], {
    env: environment({ MUSTER_LOG: 'info', MUSTER_START_WAIT_MS: '60000', ...env }),
  })
  const output = { text: '' }
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (data) => {
      output.text += data
    })
  const exit = once(child, 'exit')
  return {
    child,
    output,
    exit,
    says: (text: RegExp) =>
      until(
        () => output.text,
        (all) => text.test(all),
      ),
  }
}

describe('a process that begins before what it needs', () => {
  it('waits for Redis and for DynamoDB, says so once each, and then takes runs', async () => {
    const [redisPort, dynamoPort] = [await freePort(), await freePort()]
    const { child, output, exit, says } = begin('worker', {
      ...{ REDIS_URL: `redis://127.0.0.1:${redisPort}`, DYNAMODB_ENDPOINT: `http://127.0.0.1:${dynamoPort}` },
      ...{ MUSTER_APP: app, MUSTER_MODEL_BASE_URL: 'http://127.0.0.1:1/v1' },
    })
    await says(/waiting for DynamoDB/)
    const late = { dynamo: await startDynamo({ port: dynamoPort }), redis: undefined as RedisService | undefined }
    try {
      await says(/waiting for Redis/)
      late.redis = await startRedis({ dir: join(dir, 'late'), port: redisPort })
      await says(/taking runs/)
      for (const store of ['DynamoDB', 'Redis'])
        expect(output.text.match(new RegExp(`waiting for ${store}`, 'g'))).toHaveLength(1)
      child.kill('SIGTERM')
      expect(await exit).toEqual([0, null])
    } finally {
      child.kill('SIGKILL')
      await late.dynamo.stop()
      await late.redis?.stop()
    }
  })

  it('ends when it is told to while it waits', async () => {
    const { child, exit, says } = begin('server', {
      ...{ REDIS_URL: 'redis://127.0.0.1:1', DYNAMODB_ENDPOINT: dynamo.endpoint },
      ...{ MUSTER_KEYS_FILE: join(dir, 'no-keys.json'), MUSTER_START_WAIT_MS: '60000' },
    })
    await says(/waiting for Redis/)
    child.kill('SIGTERM')
    expect(await exit).toEqual([0, null])
  })

  it('gives up in the end', async () => {
    const { code, output } = await start('server', {
      ...{ REDIS_URL: 'redis://127.0.0.1:1', DYNAMODB_ENDPOINT: dynamo.endpoint },
      ...{ MUSTER_KEYS_FILE: join(dir, 'no-keys.json'), MUSTER_START_WAIT_MS: '300' },
    })
    expect(output).toMatch(/redis\.unavailable.*ECONNREFUSED.*waited 0\.3 s/s)
    expect(code).toBe(1)
  })
})

it.each(['worker', 'server'])('a %s that is told to end while Redis is away ends', async (command) => {
  const own = await startRedis({ dir: join(dir, `away-${command}`) })
  const { child, exit, says } = begin(command, {
    ...{ REDIS_URL: own.url, DYNAMODB_ENDPOINT: dynamo.endpoint, MUSTER_PORT: String(await freePort()) },
    ...{ MUSTER_APP: app, MUSTER_MODEL_BASE_URL: 'http://127.0.0.1:1/v1', MUSTER_KEYS_FILE: join(dir, 'no-keys.json') },
  })
  try {
    await says(command === 'worker' ? /taking runs/ : /listening/)
    await own.stop()
    child.kill('SIGTERM')
    expect(await exit).toEqual([0, null])
  } finally {
    child.kill('SIGKILL')
    await own.stop()
  }
})

// A disk without room, as Linux has it at any time.
it.skipIf(!existsSync('/dev/full'))('a process whose log finds no room goes on without', async () => {
  const port = await freePort()
  const full = openSync('/dev/full', 'w')
  const env = { REDIS_URL: redis.url, DYNAMODB_ENDPOINT: dynamo.endpoint, MUSTER_PORT: String(port) }
  const child = spawn(process.execPath, [cli, 'server'], {
    env: environment({ ...env, MUSTER_KEYS_FILE: join(dir, 'no-keys.json'), MUSTER_LOG: 'debug' }),
    stdio: ['ignore', full, full],
  })
  closeSync(full)
  const exit = once(child, 'exit')
  const isReady = () =>
    fetch(`http://127.0.0.1:${port}/readyz`).then(
      ({ ok }) => ok,
      () => false,
    )
  try {
    await until(isReady, (is) => is || child.exitCode !== null, 30_000)
    for (let i = 0; i < 3; i++) expect(await isReady()).toBe(true)
    child.kill('SIGTERM')
    expect(await exit).toEqual([0, null])
  } finally {
    child.kill('SIGKILL')
  }
})

it('a command that is sent again while no server answers says so, and in the end how to start one', async () => {
  const url = `http://127.0.0.1:${await freePort()}`
  const say = (...more: string[]) => runCli(['say', 'r1', 'go', ...more], { MUSTER_URL: url, MUSTER_KEY: 'k' })
  const [{ code, err }, asJson] = await Promise.all([say(), say('--json')])
  expect(err).toMatch(new RegExp(`^waits no server answers at ${url}; it is tried again\nerror server\\.unavailable: `))
  expect(err).toContain('start one with `npx pnpm@12 dev`')
  expect(code).toBe(1)
  expect(JSON.parse(asJson.err)).toMatchObject({ code: 'server.unavailable' })
})

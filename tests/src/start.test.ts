import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { type RedisService, startDynamo, startRedis } from '@muster/stack'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

const cli = fileURLToPath(new URL('../../apps/cli/src/main.ts', import.meta.url))
const app = fileURLToPath(new URL('./fixtures/app.ts', import.meta.url))
const dir = mkdtempSync(join(tmpdir(), 'muster-start-'))
let redis: RedisService
let dynamo: Awaited<ReturnType<typeof startDynamo>>

beforeAll(async () => {
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
  rmSync(dir, { recursive: true })
})

async function start(command: string, env: NodeJS.ProcessEnv): Promise<{ code: number; output: string }> {
  const clean = Object.entries(process.env).filter(([name]) => !/^(MUSTER_|REDIS_|DYNAMODB_|OPENAI_|AWS_)/.test(name))
  const all = {
    ...Object.fromEntries(clean),
    NO_COLOR: '1',
    MUSTER_LOG: 'silent',
    MUSTER_HOME: join(dir, 'home'),
    ...env,
  }
  return promisify(execFile)(process.execPath, [cli, command], { env: all, timeout: 25_000 }).then(
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

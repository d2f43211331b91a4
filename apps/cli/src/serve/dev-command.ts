import { createHash, randomBytes } from 'node:crypto'
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { demoApp, demoPolicy, monthEndOutput, prepareDemo, summary } from '@muster/demo'
import type { Config } from '@muster/protocol'
import { createMuster, type Muster, type RunHandle } from '@muster/sdk'
import { newApiKey } from '@muster/server'
import { startDynamo } from '@muster/stack'
import { isPrometheus, requirePort } from '@muster/worker'
import { newContentKey, newLedgerKey } from '@muster/worker/settings'
import pc from 'picocolors'
import { DEV_KEY } from '../connection.ts'
import { verifyRun } from '../ledger/verify-command.ts'
import { plain } from '../output.ts'
import { Child } from './child-process.ts'
import { startKeptRedis } from './kept-redis.ts'
import { SCRIPTED, startScriptedModel } from './scripted-model.ts'

const MONTH_END = 'payables.month-end'

/** What was started, to be stopped in the opposite order. */
type Stop = () => Promise<void>

/**
 * `muster dev`: Redis, DynamoDB, a model, the server and a worker, each real, on this machine; without
 * `--app` the demo, whose month-end it runs. Stays until it is stopped, and stops what it started.
 */
export async function devCommand(config: Config): Promise<void> {
  const stops: Stop[] = []
  const ending = new AbortController()
  let stopping: Promise<void> | undefined
  const stopAll = (): Promise<void> => {
    ending.abort()
    stopping ??= (async () => {
      for (const stop of stops.reverse())
        await stop().catch((error) => console.error(pc.yellow(`not stopped cleanly: ${error}`)))
    })()
    return stopping
  }
  const onSignal = () => {
    if (stopping) return
    console.log(pc.dim('\nstopping…'))
    stopAll().then(() => process.exit(0))
  }
  process.on('SIGINT', onSignal)
  process.on('SIGTERM', onSignal)
  try {
    const { muster, url, key } = await startAll(config, stops, ending.signal)
    if (stopping) return
    if (config.MUSTER_APP === undefined) await runDemo(config, muster)
    printUrls(config, url, key)
  } catch (error) {
    if (!stopping) {
      await stopAll()
      throw error
    }
  }
}

async function startAll(
  config: Config,
  stops: Stop[],
  ending: AbortSignal,
): Promise<{ muster: Muster; url: string; key: string }> {
  const home = resolve(config.MUSTER_HOME)
  await requirePort(config.MUSTER_HOST, config.MUSTER_PORT, 'MUSTER_PORT')
  mkdirSync(join(home, 'logs'), { recursive: true, mode: 0o700 })
  const say = (what: string, how: string) => console.log(`${pc.green('●')} ${what.padEnd(9)} ${pc.dim(how)}`)
  const log = (line: string) => console.log(pc.dim(`  ${line}`))

  const { env } = process
  const aws = Boolean((env.AWS_REGION ?? env.AWS_DEFAULT_REGION) && (env.AWS_ACCESS_KEY_ID ?? env.AWS_PROFILE))
  // First: another dev on this folder has its store open, and is found out before its Redis is taken, and stopped with us.
  const dynamo = await startDynamo({
    dir: join(home, 'dynamodb'),
    aws,
    log,
    ...(config.DYNAMODB_ENDPOINT === undefined ? {} : { endpoint: config.DYNAMODB_ENDPOINT }),
  })
  stops.push(() => dynamo.stop())
  say(
    'dynamodb',
    dynamo.source === 'embedded'
      ? `embedded, ${join(home, 'dynamodb')}`
      : dynamo.source === 'aws'
        ? `AWS, table ${config.MUSTER_TABLE}`
        : 'yours',
  )

  const redis = await startKeptRedis(
    {
      dir: join(home, 'redis'),
      fsync: config.MUSTER_FSYNC,
      log,
      ...(config.REDIS_URL === undefined ? {} : { url: config.REDIS_URL }),
    },
    { ending, onDeath: (what) => console.log(pc.yellow(what)) },
  )
  stops.push(() => redis.stop())
  say(
    'redis',
    redis.source === 'external'
      ? `${redis.version}, yours`
      : `${redis.version}, fsync ${config.MUSTER_FSYNC}, ${join(home, 'redis')}`,
  )

  const model = await chooseModel(config)
  if (model.stop) stops.push(model.stop)
  say('model', model.about)

  const key = prepareKey(home)
  const childEnv: NodeJS.ProcessEnv = {
    ...env,
    MUSTER_HOME: home,
    MUSTER_KEYS_FILE: join(home, 'keys.json'),
    MUSTER_APP: config.MUSTER_APP ?? demoApp,
    MUSTER_POLICY: config.MUSTER_POLICY ?? (config.MUSTER_APP === undefined ? demoPolicy : 'default'),
    MUSTER_SECRET: config.MUSTER_SECRET ?? prepareSecret(home),
    ...(config.MUSTER_LEDGER_KMS_KEYS === undefined
      ? { MUSTER_LEDGER_KEY_FILE: config.MUSTER_LEDGER_KEY_FILE ?? prepareLedgerKey(home) }
      : {}),
    ...(config.MUSTER_CONTENT_KMS_KEY === undefined
      ? { MUSTER_CONTENT_KEY_FILE: config.MUSTER_CONTENT_KEY_FILE ?? prepareContentKey(home) }
      : {}),
    MUSTER_GATEWAY: env.MUSTER_GATEWAY || 'on',
    MUSTER_WEBHOOKS: 'anywhere',
    MUSTER_PUBLIC_URL: config.MUSTER_PUBLIC_URL ?? `http://${config.MUSTER_HOST}:${config.MUSTER_PORT}`,
    REDIS_URL: redis.url,
    DYNAMODB_ENDPOINT: dynamo.endpoint ?? '',
    ...model.env,
  }
  const child = (command: string, own: NodeJS.ProcessEnv = {}) => {
    const log = join(home, 'logs', `${command}.log`)
    const process = new Child(command, {
      env: { ...childEnv, ...own },
      ...{ log, ending },
      onDeath: (why) => console.log(pc.yellow(`the ${command} ended (${why}) and is started again: see ${log}`)),
    })
    stops.push(() => process.stop())
    return process.start()
  }
  if (config.MUSTER_APP === undefined) await prepareDemo(home)
  const { url = '' } = await child('server')
  // Both are on one machine.
  await child('worker', { OTEL_EXPORTER_PROMETHEUS_PORT: String(config.OTEL_EXPORTER_PROMETHEUS_PORT + 1) })
  say('server', url)
  say('worker', config.MUSTER_APP ?? 'the demo: accounts payable')
  return { muster: createMuster({ url, key }), url, key }
}

async function chooseModel(config: Config): Promise<{ about: string; env: NodeJS.ProcessEnv; stop?: Stop }> {
  if (config.MUSTER_MODELS !== undefined) return { about: 'as MUSTER_MODELS says', env: {} }
  if (config.MUSTER_MODEL_BASE_URL !== undefined)
    return { about: `${config.MUSTER_MODEL ?? 'default'} at ${new URL(config.MUSTER_MODEL_BASE_URL).host}`, env: {} }
  if (config.OPENAI_API_KEY !== undefined) return { about: `${config.MUSTER_MODEL ?? 'gpt-5-mini'} at OpenAI`, env: {} }
  const { baseUrl, stop } = await startScriptedModel()
  return {
    about: `no model key: scripted model${config.MUSTER_APP === undefined ? '' : ', which knows the demo alone'} (set OPENAI_API_KEY or MUSTER_MODEL_BASE_URL for a real one)`,
    env: { MUSTER_MODEL_BASE_URL: baseUrl, MUSTER_MODEL: SCRIPTED },
    stop,
  }
}

/** A local key for every role, kept from start to start; the server is given only its hash. */
function prepareKey(home: string): string {
  const keyFile = join(home, DEV_KEY)
  const hashes = join(home, 'keys.json')
  if (!existsSync(keyFile) || !existsSync(hashes)) {
    const { key, stored } = newApiKey({ id: 'dev', tenant: 'dev', user: process.env.USER ?? 'dev', roles: ['*'] })
    writeFileSync(keyFile, `${key}\n`, { mode: 0o600 })
    writeFileSync(hashes, JSON.stringify([stored], null, 2), { mode: 0o600 })
  }
  chmodSync(keyFile, 0o600)
  return readFileSync(keyFile, 'utf8').trim()
}

/** What signs callbacks, kept from start to start. */
function prepareSecret(home: string): string {
  const file = join(home, 'secret')
  if (!existsSync(file)) writeFileSync(file, `${randomBytes(32).toString('base64url')}\n`, { mode: 0o600 })
  chmodSync(file, 0o600)
  return readFileSync(file, 'utf8').trim()
}

function prepareLedgerKey(home: string): string {
  const file = join(home, 'ledger.pem')
  if (!existsSync(file)) writeFileSync(file, newLedgerKey(), { mode: 0o600 })
  return file
}

function prepareContentKey(home: string): string {
  const file = join(home, 'content.key')
  if (!existsSync(file)) writeFileSync(file, newContentKey(), { mode: 0o600 })
  return file
}

/** Runs the month-end over the inbox. The same documents give the same run: a second start shows it again. */
async function runDemo(config: Config, muster: Muster): Promise<void> {
  const { inbox } = await prepareDemo(resolve(config.MUSTER_HOME))
  const files = readdirSync(inbox).map((file) => `${file}:${statSync(join(inbox, file)).size}`)
  const keyFile = join(resolve(config.MUSTER_HOME), 'demo', 'month-end')
  const key = createHash('sha256').update(files.sort().join('\n')).digest('hex')
  // Files that were set aside have left the inbox: the run is then known by what was there when it began.
  const known = existsSync(keyFile) ? readFileSync(keyFile, 'utf8').split('\n') : []
  const again = known.includes(key)
  console.log(
    `\n${pc.bold('month-end')} ${again ? 'was run before over these documents' : `over ${files.length} documents in ${inbox}`}`,
  )
  const started = Date.now()
  const run = await startDemo(muster, again ? (known[0] ?? key) : key, started)
  const children = new Set<string>()
  let done = 0
  for await (const { entry } of run.events()) {
    if (entry.type === 'step.waiting' && entry.child) children.add(entry.child)
    if (entry.type !== 'step.ended' || entry.kind !== 'agent') continue
    done++
    if (process.stdout.isTTY) process.stdout.write(`\r${pc.dim(`${done} documents done`)}`)
  }
  if (process.stdout.isTTY) process.stdout.write('\r')
  const { status, error } = await run.get()
  if (status !== 'succeeded') {
    console.log(`${pc.yellow(status)} ${plain(error ? `${error.code}: ${error.message}` : '')}`)
    console.log(pc.dim(`see \`pnpm muster trace ${run.id}\`; all else goes on, and the next start tries it again`))
    if (config.MUSTER_POLICY !== undefined)
      console.log(
        `MUSTER_POLICY is ${plain(config.MUSTER_POLICY)}, and the demo needs its own policies: start it without, or add them: MUSTER_POLICY=${demoPolicy},${plain(config.MUSTER_POLICY)}`,
      )
    return
  }
  const output = monthEndOutput.parse(await run.result())
  if (!again) {
    const left = readdirSync(inbox).map((file) => `${file}:${statSync(join(inbox, file)).size}`)
    writeFileSync(keyFile, [key, createHash('sha256').update(left.sort().join('\n')).digest('hex')].join('\n'))
  }
  console.log(`${plainLines(summary(output))}`)
  const ids = [run.id, ...children]
  const broken: string[] = []
  for (const id of ids) if (!(await verifyRun(muster, id)).ok) broken.push(id)
  const proof =
    broken.length === 0
      ? pc.green(`verify: ok (${ids.length} journals)`)
      : pc.red(`verify: ALTERED ${broken.join(', ')}`)
  console.log(`${proof}${again ? '' : `  ${pc.dim(`in ${((Date.now() - started) / 1000).toFixed(1)} s`)}`}`)
}

/** The run of these documents; one that failed at an earlier start is not shown for ever, but tried again. */
async function startDemo(muster: Muster, key: string, now: number): Promise<RunHandle<unknown>> {
  for (let idempotencyKey = key; ; ) {
    const run = await muster.runs.start(MONTH_END, {}, { idempotencyKey })
    const { status, createdAt } = await run.get()
    if (createdAt >= now || (status !== 'failed' && status !== 'cancelled')) return run
    idempotencyKey = createHash('sha256').update(`${key} ${run.id}`).digest('hex')
  }
}

function plainLines(text: string): string {
  return text.split('\n').map(plain).join('\n')
}

function metricsRow(config: Config): [string, string] {
  const { OTEL_EXPORTER_PROMETHEUS_HOST: host, OTEL_EXPORTER_PROMETHEUS_PORT: port } = config
  return ['metrics', `http://${host}:${port}/metrics of the server, http://${host}:${port + 1}/metrics of the worker`]
}

function printUrls(config: Config, url: string, key: string): void {
  const keyFile = join(config.MUSTER_HOME, DEV_KEY)
  const rows: [string, string][] = [
    ['console', process.stdout.isTTY ? `${url}/#key=${key}` : `${url}/ (sign in with the key in ${keyFile})`],
    ['API', `${url}/v1/runs (key in ${keyFile})`],
    ['models', `${url}/v1 for clients of OpenAI and Anthropic, with the same key`],
    ['reference', `${url}/reference`],
    ...(isPrometheus(config) ? [metricsRow(config)] : []),
    ['runs', 'pnpm muster runs'],
    ['a trace', 'pnpm muster trace <run>'],
    ['stop', 'Ctrl-C'],
  ]
  console.log(`\n${rows.map(([what, how]) => `${pc.dim(what.padEnd(10))} ${how}`).join('\n')}`)
}

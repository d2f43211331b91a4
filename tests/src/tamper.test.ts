import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { Redis } from 'ioredis'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { actor, chain } from './fixtures/app.ts'
import { type Harness, startHarness, stopProcess, until } from './harness.ts'

const cli = fileURLToPath(new URL('../../apps/cli/src/main.ts', import.meta.url))

let harness: Harness
let muster: Harness['muster']
let redis: Redis

beforeAll(async () => {
  harness = await startHarness()
  muster = harness.muster
  redis = new Redis(harness.redisUrl)
})
afterEach(() => harness.killWorkers())
afterAll(async () => {
  redis.disconnect()
  await harness.close()
})

/** `muster verify`, as an auditor runs it. */
async function verify(
  run: string,
): Promise<{ code: number; output: string; findings: { seq: number; code: string }[] }> {
  const env = { ...process.env, MUSTER_URL: harness.url, MUSTER_KEY: harness.key, NO_COLOR: '1' }
  const call = (...args: string[]) =>
    promisify(execFile)(process.execPath, [cli, 'verify', run, ...args], { env }).then(
      ({ stdout }) => ({ code: 0, stdout }),
      (error: { code: number; stdout: string }) => ({ code: error.code, stdout: error.stdout }),
    )
  const [human, json] = await Promise.all([call(), call('--json')])
  expect(human.code).toBe(json.code)
  return { code: human.code, output: human.stdout, findings: JSON.parse(json.stdout).findings }
}

/** Rewrites one record of a run's stream, as someone with access to Redis could. */
async function rewrite(
  run: string,
  change: (id: string, fields: Record<string, string>) => Record<string, string> | undefined,
): Promise<void> {
  const log = `{test0}:log:${run}`
  const records = await redis.xrange(log, '-', '+')
  await redis.del(log)
  for (const [id, list] of records) {
    const fields = Object.fromEntries(
      Array.from({ length: list.length / 2 }, (_, i) => [list[2 * i] ?? '', list[2 * i + 1] ?? '']),
    )
    const changed = change(id, fields)
    if (changed) await redis.xadd(log, id, ...Object.entries(changed).flat())
  }
}

describe('muster verify', () => {
  it('finds one changed byte in Redis and names the entry', async () => {
    const worker = await harness.worker()
    const run = await muster.runs.start(actor, {
      turns: [{ calls: [{ name: 'world_write', arguments: { text: 'pay 100' } }] }, { answer: 'done' }],
    })
    await run.result()
    expect(await verify(run.id)).toMatchObject({ code: 0, findings: [], output: expect.stringContaining('ok') })
    const events = []
    for await (const event of run.events()) events.push(event)
    // In the input, what the model asked for, what was intended, and what the tool gave.
    const written = events.flatMap(({ seq, content }) => (JSON.stringify(content)?.includes('pay 100') ? [seq] : []))
    expect(written.length).toBeGreaterThanOrEqual(4)

    // In an entry: who decided.
    await rewrite(run.id, (_, fields) => ({
      ...fields,
      e: (fields.e ?? '').replace('"policies":["all"],"set":"', (text) => text.replace('all', 'alm')),
    }))
    const altered = await verify(run.id)
    expect(altered.code).toBe(1)
    expect(altered.findings.every(({ code }) => code === 'hash')).toBe(true)
    expect(altered.output).toContain('entry 3')
    await rewrite(run.id, (_, fields) => ({ ...fields, e: (fields.e ?? '').replaceAll('"alm"', '"all"') }))
    expect((await verify(run.id)).code).toBe(0)

    // In the content beside it: what was written.
    await rewrite(run.id, (_, fields) => ({ ...fields, c: (fields.c ?? '').replaceAll('pay 100', 'pay 900') }))
    expect((await verify(run.id)).findings).toEqual(
      written.map((seq) => expect.objectContaining({ seq, code: 'content' })),
    )
    await rewrite(run.id, (_, fields) => ({ ...fields, c: (fields.c ?? '').replaceAll('pay 900', 'pay 100') }))

    // A cut tail.
    const { entries } = await run.get()
    await rewrite(run.id, (id, fields) => (Number.parseInt(id, 10) === entries ? undefined : fields))
    expect((await verify(run.id)).findings).toEqual([expect.objectContaining({ code: 'truncated' })])
    await stopProcess(worker)
  })

  it('is not the only one to look: a worker does not continue a journal that was altered', async () => {
    const worker = await harness.worker()
    const run = await muster.runs.start(chain, { n: 30, ms: 100 })
    await until(run.get, ({ entries }) => entries > 8)
    await stopProcess(worker, 'SIGKILL')
    await rewrite(run.id, (_, fields) => ({ ...fields, e: (fields.e ?? '').replace('"attempt":1', '"attempt":7') }))
    const before = harness.effects().length
    const second = await harness.worker()
    await new Promise((resolve) => setTimeout(resolve, 4000))
    expect(harness.effects().length).toBe(before)
    expect((await verify(run.id)).code).toBe(1)
    await stopProcess(second)
  })
})

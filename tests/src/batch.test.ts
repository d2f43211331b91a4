import { execFile } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { isId } from '@muster/protocol'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { chain } from './fixtures/app.ts'
import { type Harness, startHarness } from './harness.ts'

const cli = fileURLToPath(new URL('../../apps/cli/src/main.ts', import.meta.url))
let harness: Harness
let muster: Harness['muster']

beforeAll(async () => {
  harness = await startHarness()
  muster = harness.muster
  await harness.worker()
})
afterAll(() => harness.close())

type Answer =
  | { id: string; created: boolean }
  | { error: { code: string; status: number; errors?: { path: string }[] } }
const post = (runs: unknown[]) => muster.request<{ results: Answer[] }>('POST', '/v1/runs/batch', { runs })
const one = (n: number, more: object = {}) => ({ plan: 'chain', input: { n, ms: 0 }, ...more })

describe('a batch of runs', () => {
  it('is carried to its end, each run with its own input', async () => {
    const started = await muster.runs.startMany(
      chain,
      Array.from({ length: 120 }, (_, i) => ({ input: { n: 1 + (i % 3), ms: 0 } })),
    )
    const results = await Promise.all(started.map(({ run }) => run?.result()))
    expect(results).toEqual(started.map((_, i) => '012'.slice(0, 1 + (i % 3))))
  })

  it('is answered run by run, whatever is wrong with some', async () => {
    const { results } = await post([
      one(1),
      'no run',
      { plan: 'chain', agent: 'actor' },
      one(1, { colour: 'red' }),
      { plan: 'chain', input: { n: 'one', ms: 0 } },
      { agent: 'nobody' },
      { plan: { steps: { a: { tool: 'math.add', after: ['a'] } } } },
      one(1, { version: '9.9.9' }),
      { plan: { steps: { a: { tool: 'math.add', input: { a: 1, b: 2 } } } } },
    ])
    const codes = results.map((answer) => ('id' in answer ? isId(answer.id) && answer.created : answer.error.code))
    expect(codes).toEqual([
      true,
      ...['request.invalid', 'request.invalid', 'request.invalid', 'input.invalid', 'definition.not_found'],
      ...['plan.cycle', 'definition.not_found', true],
    ])
    expect(results[4]).toMatchObject({ error: { status: 422, errors: [{ path: '/input/n' }] } })
    const last = results[8] as { id: string }
    expect(await muster.runs.of(last.id).result()).toMatchObject({ a: { sum: 3 } })
  })

  it('starts once what has a key, within one batch and from one to the next', async () => {
    const { results: first } = await post([
      one(1, { idempotencyKey: 'a' }),
      one(1, { idempotencyKey: 'a' }),
      one(2, { idempotencyKey: 'a' }),
      one(2, { idempotencyKey: 'b' }),
    ])
    const [a, again, other, b] = first
    expect([a, again, b]).toMatchObject([{ created: true }, { created: false }, { created: true }])
    expect(other).toMatchObject({ error: { code: 'idempotency.conflict', status: 409 } })
    const { results: second } = await post([one(2, { idempotencyKey: 'b' }), one(1, { idempotencyKey: 'a' }), one(1)])
    const ids = (answers: (Answer | undefined)[]) => answers.map((answer) => answer && 'id' in answer && answer.id)
    expect(ids(second.slice(0, 2))).toEqual(ids([b, a]))
    expect(second[2]).toMatchObject({ created: true })
    // A single start knows the same keys.
    const single = await muster.runs.start('chain', { n: 1, ms: 0 }, { idempotencyKey: 'a' })
    expect(ids([a, again])).toEqual([single.id, single.id])
  })

  it('is refused as a whole when it is no batch, too long or too large', async () => {
    await expect(post([])).rejects.toMatchObject({ code: 'request.invalid' })
    await expect(post(Array.from({ length: 1001 }, () => one(1)))).rejects.toMatchObject({ code: 'request.invalid' })
    await expect(post([one(1, { session: 'x'.repeat(1_100_000) })])).rejects.toMatchObject({
      code: 'request.too_large',
    })
    await expect(muster.request('POST', '/v1/runs/batch', one(1))).rejects.toMatchObject({ code: 'request.invalid' })
  })

  it('may be larger for the client than for the server, which is sent it in parts', async () => {
    const text = 'x'.repeat(3000)
    const plan = { steps: { a: { tool: 'world.write', input: { text } } } }
    const started = await muster.runs.startMany(plan, [
      ...Array.from({ length: 1200 }, () => ({ input: {} })),
      { input: { huge: 'x'.repeat(2_000_000) } },
      { input: {} },
    ])
    expect(started.map(({ error }) => error?.code)).toEqual([
      ...Array.from({ length: 1200 }, () => undefined),
      'request.too_large',
      undefined,
    ])
    expect(await started.at(-1)?.run?.result()).toMatchObject({ a: { written: text } })
  }, 60_000)

  it('comes from a file, a line for each run, and may be sent again', async () => {
    const file = join(harness.dir, 'inputs.jsonl')
    writeFileSync(file, '{"n":1,"ms":0}\n\n{"n":"two","ms":0}\n{"n":3,"ms":0}\n')
    const env = { ...process.env, NO_COLOR: '1', MUSTER_URL: harness.url, MUSTER_KEY: harness.key }
    const run = (...args: string[]) =>
      promisify(execFile)(process.execPath, [cli, 'run', 'chain', '--batch', file, ...args], { env }).then(
        ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
        ({ code, stdout, stderr }) => ({ code, stdout, stderr }),
      )
    const first = await run('--idempotency-key', 'month-end')
    expect(first).toMatchObject({ code: 1, stderr: expect.stringContaining('line 3 error input.invalid') })
    const ids: string[] = first.stdout.trim().split('\n')
    expect(await Promise.all(ids.map((id) => muster.runs.of(id).result()))).toEqual(['0', '012'])
    const again = JSON.parse((await run('--idempotency-key', 'month-end', '--json')).stdout)
    expect(again).toMatchObject([
      { line: 1, id: ids[0] },
      { line: 3, error: { status: 422 } },
      { line: 4, id: ids[1] },
    ])
    writeFileSync(file, '{"n":1,"ms":0}\n{"n":\n')
    expect(await run()).toMatchObject({ code: 1, stdout: '', stderr: expect.stringContaining('line 2 is not') })
  })
})

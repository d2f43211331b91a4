import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { zstdDecompressSync } from 'node:zlib'
import { openMemory } from '@muster/memory'
import type { Erasure, Run } from '@muster/protocol'
import { Redis } from 'ioredis'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { actor, lead } from './fixtures/app.ts'
import { ended, type Harness, runCli, runNode, startHarness, unhurried, until } from './harness.ts'

const home = mkdtempSync(join(tmpdir(), 'muster-erasure-'))
const at = (name: string) => join(home, name)
const env = {
  MUSTER_LEDGER_KEY_FILE: at('ledger.pem'),
  MUSTER_LEDGER_ORIGIN: 'log.example',
  MUSTER_CONTENT_KEY_FILE: at('content.key'),
  MUSTER_CONTENT_KEY_CACHE_MS: '300',
}

let harness: Harness
let muster: Harness['muster']

const cli = (...args: string[]) =>
  runCli(args, { MUSTER_HOME: home, ...env, ...(harness ? { MUSTER_URL: harness.url, MUSTER_KEY: harness.key } : {}) })

beforeAll(async () => {
  expect(await cli('ledger', 'key', env.MUSTER_LEDGER_KEY_FILE)).toMatchObject({ code: 0 })
  expect(await cli('erasure', 'key', env.MUSTER_CONTENT_KEY_FILE)).toMatchObject({ code: 0 })
  expect(await cli('erasure', 'key', env.MUSTER_CONTENT_KEY_FILE)).toMatchObject({ code: 1 })
  harness = await startHarness({ ...env, ...unhurried })
  muster = harness.muster
  await harness.worker()
})
afterAll(async () => {
  await harness.close()
  rmSync(home, { recursive: true })
})

const call = (name: string, args: object) => ({ calls: [{ name, arguments: args }] })
const save = (value: string) => call('memory_save', { kind: 'vendor', subject: 'v', value })

/** Bytes as they are, and what they are when they are no more than compressed, with a byte before that says so or none. */
function textsOf(base64 = ''): string[] {
  const bytes = Buffer.from(base64, 'base64')
  const texts = [bytes.toString('latin1')]
  for (const from of [0, 1]) {
    try {
      texts.push(zstdDecompressSync(bytes.subarray(from)).toString())
    } catch {}
  }
  return texts
}

interface Page {
  Items: Record<string, { S?: string; B?: string; M?: object }>[]
  LastEvaluatedKey?: object
}

async function scan(from: object | undefined): Promise<Page> {
  const scope = 'Credential=local/20261128/local/dynamodb/aws4_request, SignedHeaders=host, Signature=none'
  const response = await fetch(harness.dynamoEndpoint, {
    method: 'POST',
    headers: {
      ...{ 'x-amz-target': 'DynamoDB_20120810.Scan', 'content-type': 'application/x-amz-json-1.0' },
      ...{ authorization: `AWS4-HMAC-SHA256 ${scope}`, 'x-amz-date': '20261128T000000Z' },
    },
    body: JSON.stringify({ TableName: 'muster', ...(from ? { ExclusiveStartKey: from } : {}) }),
  })
  expect(response.status).toBe(200)
  return (await response.json()) as Page
}

/** Everything of the table and of Redis, as it lies there. */
async function stored(): Promise<{ table: string; redis: string }> {
  const table: string[] = []
  for (let from: object | undefined; ; ) {
    const page = await scan(from)
    for (const item of page.Items)
      for (const { S = '', B, M = {} } of Object.values(item)) table.push(S, JSON.stringify(M), ...textsOf(B))
    from = page.LastEvaluatedKey
    if (from === undefined) break
  }
  const redis = new Redis(harness.redisUrl)
  // What is packed would not be found.
  await redis.config('SET', 'rdbcompression', 'no')
  const values: string[] = []
  for await (const keys of redis.scanStream({ count: 1000 }))
    for (const key of keys as string[]) values.push(((await redis.dumpBuffer(key)) ?? Buffer.of()).toString('latin1'))
  redis.disconnect()
  return { table: table.join('\n'), redis: values.join('\n') }
}

const doneOf = (id: string) =>
  until(
    () => muster.erasures.get(id),
    ({ state }) => state === 'done',
    90_000,
  )

async function sealed(run: string): Promise<void> {
  await until(
    () => muster.ledger.receipt(run).catch(() => undefined),
    (receipt) => receipt !== undefined && JSON.parse(receipt.leaf).state === 'ended',
    60_000,
  )
}

async function records(): Promise<{ action: string; about: { hold?: string }; by: { user: string } }[]> {
  const memory = await openMemory({ table: 'muster', endpoint: harness.dynamoEndpoint })
  const all = (await Array.fromAsync(memory.records.read('acme'))).map(({ bytes }) => JSON.parse(bytes))
  memory.close()
  return all
}

describe('a run with a subject', () => {
  it('says whom it is about in its first entry and in lists, and so do its child runs and forks', async () => {
    const subject = 'customer-1'
    const turns = [call('ask_actor', { turns: [{ answer: 5 }] }), { answer: 1 }]
    const run = await muster.runs.start(lead, { turns }, { subject })
    await run.result()
    const entries = await Array.fromAsync(run.events())
    expect(entries[0]?.entry).toMatchObject({ v: 3, type: 'run.created', subject })
    const { runs } = await muster.runs.list()
    expect(runs.map((one) => [one.name, one.subject])).toEqual(
      expect.arrayContaining([
        ['lead', subject],
        ['actor', subject],
      ]),
    )
    const fork = await run.fork()
    expect(await fork.get()).toMatchObject({ subject })
  })

  it('is another under the same idempotency key, and is refused with a name that is none', async () => {
    const start = (subject?: string) =>
      muster.request<Run>(
        'POST',
        '/v1/runs',
        { plan: 'chain', input: { n: 1, ms: 0 }, subject },
        {
          'idempotency-key': 'one',
        },
      )
    const { id } = await start('a')
    expect(await start('a')).toMatchObject({ id, subject: 'a' })
    await expect(start('b')).rejects.toMatchObject({ code: 'idempotency.conflict' })
    await expect(start('')).rejects.toMatchObject({ code: 'request.invalid', issues: [{ path: '/subject' }] })
    await expect(start('x'.repeat(129))).rejects.toMatchObject({ code: 'request.invalid' })
  })
})

describe('an erasure of a subject', () => {
  it('leaves nothing of its content, and every proof as it was', async () => {
    const subject = 'customer-2'
    const secret = 'Q7-secret-of-customer-2'
    const large = `${secret} ${'x'.repeat(20_000)}`
    const turns = [save(`${secret} fact`), call('world_write', { text: large }), { answer: `${secret} answer` }]
    const run = await muster.runs.start(actor, { turns }, { subject, session: 'chat-2' })
    await run.result()
    const other = await muster.runs.start(
      actor,
      { turns: [{ answer: 'kept' }] },
      { subject: 'customer-3', session: 'chat-2' },
    )
    await other.result()
    for (const { id } of [run, other]) await sealed(id)
    const receipt = await muster.ledger.receipt(run.id)
    expect((await stored()).redis).toContain(secret)
    const before = await run.get()

    const dry = await cli('erase', '--subject', subject, '--reason', 'asked by letter 7', '--dry-run', '--json')
    expect(JSON.parse(dry.out)).toEqual({ dryRun: true, runs: 1, entries: before.entries, waitsFor: [], heldBy: [] })
    expect(await cli('erase', '--subject', subject, '--reason', 'asked by letter 7')).toMatchObject({ code: 1 })
    const asked = await cli('erase', '--subject', subject, '--reason', 'asked by letter 7', '--yes', '--json')
    expect(asked).toMatchObject({ code: 0 })
    const done: Erasure = JSON.parse(asked.out)
    expect(done).toMatchObject({
      ...{ subject, state: 'done', reason: 'asked by letter 7', by: { user: 'acme-user' } },
      erased: { runs: 1, entries: before.entries, turns: 1, facts: 1 },
      keys: [expect.stringContaining('SUBJECT#customer-2')],
    })
    expect(done.erased.blobs).toBeGreaterThan(0)

    const left = await stored()
    expect(left.table).not.toContain(secret)
    expect(left.redis).not.toContain(secret)
    // The other subject's run is whole.
    expect(await other.get()).toMatchObject({ status: 'succeeded', output: { answer: 'kept' } })

    const after = await run.get()
    expect(after).not.toHaveProperty('input')
    expect(after).not.toHaveProperty('output')
    expect(after).toMatchObject({
      ...{ head: before.head, entries: before.entries, status: 'succeeded', subject },
      erased: { by: 'erasure', id: done.id, user: 'acme-user' },
    })
    await expect(run.fork({ step: '3.model' })).rejects.toMatchObject({ code: expect.any(String) })
    expect((await cli('verify', run.id)).out).toMatch(/^ok .*content of \d+ erased/)
    expect((await cli('receipt', run.id)).code).toBe(0)
    expect(JSON.parse((await muster.ledger.receipt(run.id)).leaf)).toEqual(JSON.parse(receipt.leaf))
    expect((await cli('audit', 'export', '--to', at('export'))).code).toBe(0)
    const verified = await runNode([at('export/verify.mjs'), at('export')], process.env)
    expect(verified).toMatchObject({ code: 0 })
    expect(readFileSync(at('export/manifest.json'), 'utf8')).toContain('"missing": []')
    const { hits } = await muster.audit.search({ name: 'actor' })
    expect(hits.filter((hit) => hit.run === run.id).length).toBeGreaterThan(2)

    expect((await records()).map(({ action }) => action)).toEqual(
      expect.arrayContaining(['key.created', 'erasure.requested', 'key.destroyed', 'erasure.done']),
    )
    // A new run of the subject is sealed by a new key.
    const later = await muster.runs.start(actor, { turns: [{ answer: 'later' }] }, { subject, session: 'chat-2' })
    expect(await later.result()).toEqual({ answer: 'later' })
  })

  it('waits for runs that go on, refuses new ones, and ends them where it is told to', async () => {
    const subject = 'customer-4'
    const run = await muster.runs.start({ steps: { a: { sleepMs: 3_600_000 } } }, {}, { subject })
    const made = await muster.erasures.request({ subject, reason: 'r' })
    expect((await muster.erasures.request({ subject, reason: 'again' })).id).toBe(made.id)
    const waiting = await until(
      () => muster.erasures.get(made.id),
      ({ waitsFor }) => waitsFor !== undefined && waitsFor.length > 0,
      90_000,
    )
    expect(waiting).toMatchObject({ state: 'waiting', waitsFor: [run.id] })
    const refused = muster.runs.start(actor, { turns: [{ answer: 1 }] }, { subject })
    await expect(refused).rejects.toMatchObject({ code: 'subject.erased' })
    // Nor does the clock begin any.
    const { id } = await muster.schedules.create({
      when: { everyS: 1 },
      run: { plan: 'chain', input: { n: 1, ms: 0 }, subject },
    })
    await expect(muster.schedules.trigger(id)).rejects.toMatchObject({ code: 'subject.erased' })
    const scheduled = await until(
      () => muster.schedules.get(id),
      ({ missed }) => missed > 1,
    )
    expect(scheduled.fired).toBe(0)
    await muster.schedules.remove(id)
    await (await muster.runs.start(actor, { turns: [{ answer: 1 }] }, { subject: 'customer-5' })).result()
    await run.cancel()
    expect(await doneOf(made.id)).toMatchObject({ erased: { runs: 1 } })
    expect((await run.get()).status).toBe('cancelled')

    const another = await muster.runs.start({ steps: { a: { sleepMs: 3_600_000 } } }, {}, { subject })
    const ending = await muster.erasures.request({ subject, reason: 'r', terminate: true })
    expect(await doneOf(ending.id)).toMatchObject({ erased: { runs: 2 } })
    expect(await another.get()).toMatchObject({ status: 'cancelled', erased: { id: ending.id } })
  })

  it('is carried to its end whatever worker dies, and counts every run once', async () => {
    const subject = 'customer-6'
    const runs = await muster.runs.startMany(
      actor,
      Array.from({ length: 12 }, (_, i) => ({ input: { turns: [save(`s6-${i}`), { answer: `s6-${i}` }] }, subject })),
    )
    for (const { run } of runs) await run?.result()
    const made = await muster.erasures.request({ subject, reason: 'r' })
    const states = new Set<string>()
    for (let kills = 0; kills < 3; kills++) {
      const { erased, state } = await muster.erasures.get(made.id)
      states.add(state)
      if (state === 'done') break
      await until(
        () => muster.erasures.get(made.id),
        (now) => now.state !== state || now.erased.runs > erased.runs,
        30_000,
      )
      await harness.killWorkers()
      await harness.worker()
    }
    expect(await doneOf(made.id)).toMatchObject({ erased: { runs: 12 } })
    expect(states.size).toBeGreaterThan(1)
    expect((await stored()).table).not.toContain('s6-')
    for (const { run } of runs) expect((await cli('verify', run?.id ?? '')).code).toBe(0)
  }, 240_000)
})

describe('a hold', () => {
  it('keeps what it matches until it is lifted', async () => {
    const [subject, answer] = ['customer-7', 'held-answer']
    const run = await muster.runs.start(actor, { turns: [{ answer }] }, { subject })
    await run.result()
    const placed = await cli('hold', 'place', '--run', run.id, '--reason', 'case 12', '--json')
    const { id } = JSON.parse(placed.out)
    const made = await muster.erasures.request({ subject, reason: 'r' })
    const held = await until(
      () => muster.erasures.get(made.id),
      ({ state }) => state === 'held',
    )
    expect(held.heldBy).toEqual([id])
    expect(await run.get()).toMatchObject({ output: { answer } })
    expect((await cli('hold', 'list')).out).toContain('case 12')
    expect((await cli('hold', 'lift', id, '--reason', 'closed')).code).toBe(0)
    expect((await cli('hold', 'lift', id, '--reason', 'closed', '--json')).code).toBe(1)
    await doneOf(made.id)
    expect(await run.get()).not.toHaveProperty('output')
    await expect(muster.holds.lift(made.id, 'no hold')).rejects.toMatchObject({ code: 'hold.not_found' })
    // What came to nothing is not told as if it had.
    const ofHolds = (await records()).filter(({ action }) => action.startsWith('hold.'))
    expect(ofHolds.map(({ action, about }) => [action, about.hold])).toEqual([
      ['hold.placed', id],
      ['hold.lifted', id],
    ])
  })
})

describe('erasures', () => {
  it('are for who may, in their tenant, and named wholly', async () => {
    const { ann } = harness.people
    for (const refused of [
      () => ann.erasures.request({ subject: 'x', reason: 'r' }),
      () => ann.erasures.list().next(),
      () => ann.holds.place({ subject: 'x', reason: 'r' }),
      () => harness.stranger.erasures.list().next(),
    ])
      await expect(refused()).rejects.toMatchObject({ code: 'auth.forbidden' })
    const bad = (body: object) => muster.request('POST', '/v1/erasures', body)
    for (const body of [
      { subject: 'x' },
      { reason: 'r' },
      { subject: 'x', run: 'y', reason: 'r' },
      { subject: 'x', reason: ' ' },
    ])
      await expect(bad(body)).rejects.toMatchObject({ code: 'request.invalid' })
    const whole = bad({ tenant: true, confirm: 'other', reason: 'r' })
    await expect(whole).rejects.toMatchObject({ code: 'request.invalid', issues: [{ path: '/confirm' }] })
    await expect(bad({ run: 'none', reason: 'r' })).rejects.toMatchObject({ code: 'run.not_found' })
    await expect(muster.erasures.get('none')).rejects.toMatchObject({ code: 'erasure.not_found' })
    await expect(muster.holds.lift('none', 'r')).rejects.toMatchObject({ code: 'hold.not_found' })
  })

  it('of one run and of the whole tenant take what there is', async () => {
    const run = await muster.runs.start(actor, { turns: [{ answer: 'one-run' }] })
    const kept = await muster.runs.start(actor, { turns: [{ answer: 'kept-run' }] })
    for (const one of [run, kept]) await until(() => one.get(), ended)
    const one = await muster.erasures.request({ run: run.id, reason: 'r' })
    await doneOf(one.id)
    expect(await run.get()).not.toHaveProperty('output')
    expect(await kept.get()).toMatchObject({ output: { answer: 'kept-run' } })
    const all = await muster.erasures.request({
      tenant: true,
      confirm: 'acme',
      reason: 'contract ended',
      terminate: true,
    })
    const refused = muster.runs.start(actor, { turns: [{ answer: 1 }] })
    await expect(refused).rejects.toMatchObject({ code: 'subject.erased' })
    await doneOf(all.id)
    expect(await kept.get()).not.toHaveProperty('output')
    expect((await cli('verify', kept.id)).code).toBe(0)
  })

  it('and holds are listed page by page, the newest first, whatever is done meanwhile', async () => {
    const seen = async <T extends { id: string }>(path: string, of: (page: Record<string, T[]>) => T[]) => {
      const ids: string[] = []
      for (let cursor: string | undefined; ; ) {
        const page = await muster.request<Record<string, T[]> & { cursor?: string }>(
          'GET',
          `${path}?limit=2${cursor === undefined ? '' : `&cursor=${cursor}`}`,
        )
        expect(of(page).length).toBeLessThanOrEqual(2)
        ids.push(...of(page).map(({ id }) => id))
        if (page.cursor === undefined) return ids
        cursor = page.cursor
      }
    }
    const holds: string[] = []
    const erasures: string[] = []
    // What is held waits, and what is not is done soon: both are in one list.
    for (const subject of ['p-1', 'p-2', 'p-3']) {
      holds.unshift((await muster.holds.place({ subject, reason: 'pages' })).id)
      erasures.unshift((await muster.erasures.request({ subject, reason: 'pages' })).id)
      erasures.unshift((await muster.erasures.request({ subject: `${subject}-free`, reason: 'pages' })).id)
    }
    const mine = (all: string[], made: string[]) => all.filter((id) => made.includes(id))
    expect(mine(await seen('/v1/erasures', ({ erasures }) => erasures ?? []), erasures)).toEqual(erasures)
    expect(mine(await seen('/v1/holds', ({ holds }) => holds ?? []), holds)).toEqual(holds)
    for (const id of erasures.filter((_, i) => i % 2 === 0)) await doneOf(id)
    const listed = (await Array.fromAsync(muster.erasures.list())).map(({ id }) => id)
    expect(new Set(listed).size).toBe(listed.length)
    expect(mine(listed, erasures)).toEqual(erasures)
    for (const id of holds) await muster.holds.lift(id, 'pages')
  })
})

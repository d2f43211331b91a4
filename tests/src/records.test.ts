import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type AuditRecord, type PlanData, RECORD_BOOK } from '@muster/protocol'
import { verifyExport } from '@muster/verify'
import { Redis } from 'ioredis'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Harness, type Ran, runCli, startHarness, until } from './harness.ts'

const home = mkdtempSync(join(tmpdir(), 'muster-records-'))
const keyFile = join(home, 'ledger.pem')
let harness: Harness

const cliOf = (...args: string[]): Promise<Ran> =>
  runCli(args, { MUSTER_HOME: home, ...(harness ? { MUSTER_URL: harness.url, MUSTER_KEY: harness.key } : {}) }, home)

beforeAll(async () => {
  await cliOf('ledger', 'key', keyFile)
  harness = await startHarness({
    MUSTER_LEDGER_KEY_FILE: keyFile,
    MUSTER_LEDGER_ORIGIN: 'log.example',
    MUSTER_SECRET: 'x'.repeat(32),
  })
  await harness.worker()
})
afterAll(async () => {
  await harness.close()
  rmSync(home, { recursive: true })
})

async function ranBy(muster: Harness['muster']): Promise<string> {
  const plan = { steps: { note: { tool: 'world.write', input: { text: 'hello' } } } } as PlanData
  const run = await muster.runs.start(plan, {})
  await run.result()
  return run.id
}

async function recordsOf(filter: Parameters<Harness['muster']['audit']['records']>[0] = {}): Promise<AuditRecord[]> {
  return (await harness.muster.audit.records({ limit: 200, ...filter })).records
}

describe('the record book', () => {
  it('has who read the content of whose run, once in an hour, and not who reads their own', async () => {
    const { ann, bob } = harness.people
    const run = await ranBy(ann)
    await ann.runs.get(run)
    expect(await recordsOf({ run })).toEqual([])
    for (let times = 0; times < 3; times++) await bob.runs.get(run)
    await (await bob.open('GET', `/v1/runs/${run}/journal`)).text()
    await (await bob.open('GET', `/v1/runs/${run}/events`)).text()
    expect(await recordsOf({ run })).toMatchObject([
      { by: { user: 'bob', key: 'bob-key' }, action: 'content.read', about: { run, what: 'events' } },
      { about: { run, what: 'journal' } },
      { about: { run, what: 'run' } },
    ])
    await expect(harness.stranger.audit.records({ run })).resolves.toEqual({ records: [] })
  })

  it('has stops, budgets and webhooks that were set, with no secret in them', async () => {
    const { muster } = harness
    await muster.stops.set('tool:none.such', { reason: 'just in case' })
    await muster.stops.lift('tool:none.such')
    await muster.budgets.set('plan:none', { day: { usd: 5 } })
    await muster.budgets.remove('plan:none')
    const { id } = await muster.webhooks.create({ url: 'https://example.com/in?token=hush' })
    await muster.webhooks.remove(id)
    const records = await recordsOf({ user: 'acme-user' })
    expect(records.map(({ action, about }) => [action, about]).slice(0, 6)).toEqual([
      ['webhook.removed', { id }],
      ['webhook.set', { id, to: 'https://example.com/in' }],
      ['budget.removed', { name: 'plan:none' }],
      ['budget.set', { name: 'plan:none', budget: { day: { usd: 5 } } }],
      ['stop.lifted', { name: 'tool:none.such' }],
      ['stop.set', { name: 'tool:none.such', reason: 'just in case' }],
    ])
    await expect(muster.stops.lift('tool:none.such')).rejects.toMatchObject({ status: 404 })
    expect(await recordsOf({ action: 'stop.lifted' })).toHaveLength(1)
  })

  it('says by which policies and keys workers decide and sign, and keeps the policies where Redis loses them', async () => {
    await ranBy(harness.muster)
    const [used] = await until(
      () => recordsOf({ action: 'policy.used' }),
      (found) => found.length > 0,
    )
    const [signed] = await until(
      () => recordsOf({ action: 'key.used' }),
      (found) => found.length > 0,
    )
    expect(used?.by).toMatchObject({ user: 'muster', service: true })
    expect(signed?.about).toMatchObject({ for: 'ledger', keys: [expect.stringContaining('log.example/acme+')] })
    expect(used?.about.budgets).toEqual({})
    const set = String(used?.about.set)
    const redis = new Redis(harness.redisUrl)
    const [key = ''] = await redis.keys(`*:policies:${set}`)
    const { firstSeen: _, ...kept } = await harness.muster.policies.get(set)
    await redis.del(key)
    // It is archived right after the record.
    const archived = await until(
      () => harness.muster.policies.get(set).catch(() => undefined),
      (found) => found !== undefined,
    )
    expect(archived).toMatchObject(kept)
    // As the tenant's archive has it, also where another tenant's worker was the first with the set.
    await redis.set(key, JSON.stringify({ ...archived, app: { ...kept.app, hash: 'other' } }))
    expect(await harness.muster.policies.get(set)).toEqual(archived)
    redis.disconnect()
  })

  it('enters the ledger, is exported with the runs, and no record of it can be changed or dropped', async () => {
    const run = await ranBy(harness.people.ann)
    await harness.muster.runs.get(run)
    const [last] = await recordsOf()
    await until(
      () =>
        harness.muster.ledger.receipt(RECORD_BOOK).then(
          ({ leaf }) => JSON.parse(leaf),
          () => undefined,
        ),
      (leaf) => leaf?.seq >= (last?.seq ?? 0),
      60_000,
    )
    expect(await cliOf('ledger', 'check')).toMatchObject({ code: 0 })
    const folder = join(home, 'export')
    expect(await cliOf('audit', 'export', '--to', folder)).toMatchObject({ code: 0 })
    const right = verifyExport(folder)
    expect(right).toMatchObject({ ok: true, actions: { 'stop.set': 1, 'key.used': 1 } })
    expect(right.records).toBeGreaterThanOrEqual(last?.seq ?? 1)
    expect((await cliOf('audit', 'verify', folder)).out).toContain('content.read')

    const file = join(folder, `${RECORD_BOOK}.jsonl`)
    const whole = readFileSync(file, 'utf8')
    const foundIn = (text: string) => {
      writeFileSync(file, text)
      const codes = verifyExport(folder)
        .findings.filter(({ run }) => run === RECORD_BOOK)
        .map(({ code }) => code)
      writeFileSync(file, whole)
      return codes
    }
    expect(foundIn(whole.replace('just in case', 'just a test'))).toContain('entry-changed')
    expect(foundIn(whole.replace(/^.*stop\.set.*\n/m, ''))).toContain('entry-removed')
    expect(foundIn(whole.slice(0, whole.indexOf('\n') + 1))).toContain('run-cut')
    rmSync(file)
    expect(verifyExport(folder).findings).toContainEqual(
      expect.objectContaining({ code: 'run-missing', run: RECORD_BOOK }),
    )
  })

  it('is shown at the command line', async () => {
    const { out } = await cliOf('audit', 'records', '--action', 'stop.set')
    expect(out).toContain('acme-user (acme-key)')
    expect(out).toContain('name=tool:none.such')
    const { out: json } = await cliOf('audit', 'records', '--user', 'bob', '--limit', '1', '--json')
    expect(JSON.parse(json)).toMatchObject({ records: [{ by: { user: 'bob' } }], cursor: expect.any(Number) })
    expect(await cliOf('audit', 'records', '--action', 'nothing')).toMatchObject({ code: 1 })
  })
})

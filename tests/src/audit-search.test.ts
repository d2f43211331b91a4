import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { AuditFilter, Json, PlanData, Run } from '@muster/protocol'
import type { RunHandle } from '@muster/sdk'
import { Redis } from 'ioredis'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { actor } from './fixtures/app.ts'
import { ended, type Harness, type Ran, runCli, startHarness, until } from './harness.ts'

const home = mkdtempSync(join(tmpdir(), 'muster-report-'))
const keyFile = join(home, 'ledger.pem')

let harness: Harness
let redis: Redis

function cliOf(...args: string[]): Promise<Ran> {
  const server = harness ? { MUSTER_URL: harness.url, MUSTER_KEY: harness.key } : {}
  return runCli(args, { MUSTER_HOME: home, ...server }, home)
}

beforeAll(async () => {
  await cliOf('ledger', 'key', keyFile)
  harness = await startHarness({ MUSTER_LEDGER_KEY_FILE: keyFile, MUSTER_LEDGER_ORIGIN: 'log.example' })
  redis = new Redis(harness.redisUrl)
  await harness.worker()
})
afterAll(async () => {
  redis.disconnect()
  await harness.close()
  rmSync(home, { recursive: true })
})

const start = (steps: Record<string, Json>, input: Json = {}) => harness.muster.runs.start({ steps } as PlanData, input)

/** A run that pays once a controller has said why. */
async function paid(text: string, reason: string): Promise<RunHandle<never> | RunHandle<unknown>> {
  const run = await start({
    note: { tool: 'world.write', input: { text } },
    pay: { tool: 'world.pay', input: { amount: 5000 }, after: ['note'] },
  })
  const { waiting } = await until(run.get, ({ waiting: [one] }: Run) => one?.digest !== undefined)
  const [{ step = '', digest = '' } = {}] = waiting
  await harness.muster.runs.approve(run.id, { step, digest, verdict: 'approve', reason })
  await run.result()
  return run
}

async function report(run: string, ...args: string[]): Promise<{ code: number; page: string }> {
  const file = join(home, 'report.html')
  const { code } = await cliOf('audit', 'report', run, '--to', file, ...args)
  return { code, page: readFileSync(file, 'utf8') }
}

/** Every tag with its attributes. */
const tagsOf = (page: string) => page.match(/<[^>]*>/g) ?? []
/** The text as a reader sees it. */
const textOf = (page: string) =>
  page
    .slice(page.indexOf('<body>'))
    .replace(/<[^>]*>/g, '')
    .replace(/&lt;/g, '<')
    .replace(/&gt;/g, '>')
    .replace(/&quot;/g, '"')
    .replace(/&#39;/g, "'")
    .replace(/&amp;/g, '&')

describe('muster audit report', () => {
  it('shows who asked, what was decided, who approved and why, and what it proves', async () => {
    const run = await paid('hello', 'matches order 7')
    await until(
      () => cliOf('receipt', run.id),
      ({ code }) => code === 0,
      60_000,
    )
    const { code, page } = await report(run.id)
    expect(code).toBe(0)
    const { head, entries } = await run.get()
    const text = textOf(page)
    for (const shown of [
      'The journal is whole.',
      `${entries} entries`,
      head,
      'The ledger has it.',
      'log.example/acme',
      'acme-user, with the key acme-key',
      'matches order 7',
      'allow by',
      'one approval and no refusal, by acme-user',
      'whoever requested the run gave one approval of 1',
      'EU AI Act',
      'Article 14(4)',
      'ISO/IEC 42001:2023',
      'CC8.1',
    ])
      expect(text.toLowerCase()).toContain(shown.toLowerCase())
    // It stands alone: nothing is fetched, nothing runs.
    expect(page).not.toMatch(/<(script|link|img|iframe|object|embed|form|a)\b|\bsrc=|\bhref=|url\(|@import/i)
    expect(page).toContain('default-src &#39;none&#39;')
  })

  it("takes a stranger's text for text", async () => {
    const hostile = [
      `</pre><script>alert(1)</script><img src=x onerror=alert(1)>"'><b>`,
      '</title></style><meta http-equiv=refresh content=0> &lt;b&gt; &#60;script&#62;',
      '<!-- ]]> --> {{7*7}} javascript:alert(1)',
      'pay 10\u202e00001 to \u2066x\u2069 \u200b\u0007\u{e0041}',
    ].join('\n')
    const [plain, attacked] = await Promise.all([paid('hello', 'fine'), paid(hostile, hostile)])
    const [before, after] = [await report(plain.id), await report(attacked.id)]
    expect(tagsOf(after.page)).toEqual(tagsOf(before.page))
    const text = textOf(after.page)
    expect(text).toContain('<script>alert(1)</script><img src=x onerror=alert(1)>"\'><b>')
    expect(text).toContain('&lt;b&gt; &#60;script&#62;')
    // What would turn around or hide what is beside it is shown by its name.
    expect(text).toContain('pay 10⟨U+202E⟩00001 to ⟨U+2066⟩x⟨U+2069⟩ ⟨U+200B⟩⟨U+0007⟩⟨U+E0041⟩')
    // biome-ignore lint/suspicious/noControlCharactersInRegex: none of them is left
    expect(after.page).not.toMatch(/[\u0007\u202a-\u202e\u2066-\u2069\u200b]/)
  })

  it('says of content that it was erased, or that it was left out, and shows its digest', async () => {
    const run = await start({ note: { tool: 'world.write', input: { text: 'a private matter' } } })
    await run.result()
    const without = textOf((await report(run.id, '--no-content')).page)
    expect(without).not.toContain('a private matter')
    expect(without).toContain('left out of this report')
    await erase(run.id, 'a private matter')
    const { code, page } = await report(run.id)
    expect(code).toBe(0)
    expect(textOf(page)).toContain('Input: erased.')
    expect(textOf(page)).not.toContain('a private matter')
  })

  it('says that a journal was altered, where, and exits 1', async () => {
    const run = await start({ note: { tool: 'world.write', input: { text: 'x' } } })
    await run.result()
    await change(run.id, (fields) => {
      const i = fields.findIndex((field) => field.includes('"step.intent"'))
      if (i >= 0) fields[i] = (fields[i] ?? '').replace('world.write', 'world.wrote')
    })
    const { code, page } = await report(run.id)
    expect(code).toBe(1)
    expect(textOf(page)).toMatch(/The journal was altered\..*entry \d+ does not match its hash/s)
    expect(textOf(page)).toContain('(ALTERED)')
  })

  it('is only of the own tenant, and of runs that there are', async () => {
    const { code, err } = await cliOf('audit', 'report', '01a20f93-4fe0-7f4e-98b8-0a7737a7b138', '--json')
    expect(code).toBe(1)
    expect(JSON.parse(err)).toMatchObject({ code: 'run.not_found' })
  })
})

describe('muster audit events', () => {
  it('prints each entry once, with an id that stays, and content only where it is asked for', async () => {
    const run = await paid('a private matter', 'fine')
    const { entries } = await run.get()
    const lines = async (...args: string[]) => {
      const { code, out } = await cliOf('audit', 'events', '--run', run.id, ...args)
      expect(code).toBe(0)
      return out.trimEnd().split('\n')
    }
    const [ocsf, again, jsonl, csv, full] = await Promise.all([
      ...[lines(), lines(), lines('--json'), lines('--format', 'csv'), lines('--content')],
    ])
    expect(ocsf?.map((line) => JSON.parse(line).metadata.uid)).toEqual(
      Array.from({ length: entries }, (_, i) => `${run.id}/${i + 1}`),
    )
    expect(again).toEqual(ocsf)
    expect(jsonl?.map((line) => JSON.parse(line).seq)).toEqual(ocsf?.map((line) => JSON.parse(line).metadata.sequence))
    expect(csv).toHaveLength(entries + 1)
    expect([ocsf, jsonl, csv].join()).not.toContain('a private matter')
    expect(full?.join()).toContain('a private matter')
    // What a person did bears that person, what the run did its requester.
    expect(
      ocsf?.map((line) => JSON.parse(line)).find(({ metadata }) => metadata.event_code === 'approval.given'),
    ).toMatchObject({
      ...{
        actor: { user: { name: 'acme-user' } },
        disposition: 'Approved',
        src_endpoint: { svc_name: 'muster-server' },
      },
    })
  })

  it('tells all runs that were under way in a time, and nothing of other times', async () => {
    const [before, after] = [await paid('one', 'x'), await paid('two', 'x')]
    const [{ endedAt = 0 }, { createdAt }] = await Promise.all([before.get(), after.get()])
    expect(createdAt).toBeGreaterThanOrEqual(endedAt)
    const all = await cliOf('audit', 'events', '--json', '--since', new Date(createdAt).toISOString())
    const told = all.out
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    expect(told.map(({ run }) => run)).toContain(after.id)
    expect(told.every(({ entry }) => entry.at >= createdAt)).toBe(true)
    const none = await cliOf('audit', 'events', '--json', '--until', '2020-01-01')
    expect(none).toMatchObject({ code: 0, out: '' })
    expect(await cliOf('audit', 'events', '--since', 'soon')).toMatchObject({
      code: 1,
      err: expect.stringContaining('"soon" is no time'),
    })
  })
})

describe('muster audit search', () => {
  /** What is found of a run, once it is in. */
  const found = (run: string, filter: AuditFilter) =>
    until(
      async () => (await harness.muster.audit.search(filter)).hits.filter((hit) => hit.run === run),
      (hits) => hits.length > 0,
    )

  it('finds who was asked, what for, how much, and who said so, all of one step', async () => {
    const run = await paid('hello', 'matches order 7')
    const [hit] = await found(run.id, { tool: 'world.pay', decision: 'ask', min: 5000, max: 5000 })
    expect(hit).toMatchObject({
      ...{ step: 'pay', by: 'acme-user', approvers: ['acme-user'], status: 'ok', amounts: { amount: 5000 } },
      ...{ decisions: ['ask', 'allow'], policies: expect.arrayContaining(['large']) },
    })
    // The other step was of this run too, but nobody was asked for it.
    const { hits } = await harness.muster.audit.search({ tool: 'world.write', decision: 'ask' })
    expect(hits).toEqual([])
    expect((await harness.muster.audit.search({ tool: 'world.pay', min: 5000.01 })).hits).toEqual([])
    const since = (await run.get()).createdAt
    expect((await harness.muster.audit.search({ person: 'acme-user', until: since })).hits).not.toContainEqual(hit)
  })

  it('finds what was denied and why, and how runs ended, and shows it at the command line', async () => {
    const denied = await harness.muster.runs.start(actor, {
      turns: [
        { calls: [{ name: 'world_look', arguments: { what: 'x' } }] },
        { calls: [{ name: 'world_launch', arguments: {} }] },
        { answer: 'done' },
      ],
    })
    await until(denied.get, ended)
    const [hit] = await found(denied.id, { decision: 'deny', policy: 'untrusted-once', label: 'untrusted' })
    expect(hit).toMatchObject({ target: 'world.launch', status: 'denied', error: 'policy.denied' })
    expect((await found(denied.id, { resource: 'default' })).every(({ kind }) => kind === 'model')).toBe(true)
    const shown = await cliOf('audit', 'search', '--tool', 'world.launch', '--decision', 'deny', '--since', '7d')
    expect(shown).toMatchObject({ code: 0, out: expect.stringContaining('deny: untrusted-once') })
    const json = await cliOf('audit', 'search', '--error', 'policy.denied', '--limit', '1', '--json')
    expect(JSON.parse(json.out).hits).toHaveLength(1)
  })

  it('finds what a run has done before it parked, and no step twice when it has ended', async () => {
    const run = await start({
      note: { tool: 'world.write', input: { text: 'before' } },
      pay: { tool: 'world.pay', input: { amount: 6001 }, after: ['note'] },
    })
    const [before] = await found(run.id, { tool: 'world.write' })
    expect(before).toMatchObject({ step: 'note', status: 'ok' })
    const { waiting, status } = await run.get()
    expect(status).toBe('waiting')
    const [{ step = '', digest = '' } = {}] = waiting
    await harness.muster.runs.approve(run.id, { step, digest, verdict: 'approve', reason: 'fine' })
    await run.result()
    expect(await found(run.id, { tool: 'world.pay', min: 6001 })).toHaveLength(1)
    expect(await found(run.id, { tool: 'world.write' })).toEqual([before])
  })

  it('gives a tenant its own, pages by a cursor, and refuses what is no filter', async () => {
    const run = await paid('hello', 'x')
    await found(run.id, { person: 'acme-user' })
    expect((await harness.stranger.audit.search()).hits).toEqual([])
    const first = await harness.muster.audit.search({ limit: 1 })
    const cursor = first.cursor ?? ''
    expect(first.hits).toHaveLength(1)
    const second = await harness.muster.audit.search({ limit: 1, cursor })
    expect(second.hits[0]).not.toEqual(first.hits[0])
    for (const query of ['cursor=x', 'decision=maybe', 'limit=0', 'since=-1', 'min=x', 'since=1e99'])
      expect(
        await harness.muster.request('GET', `/v1/audit/search?${query}`).catch((error) => error),
        query,
      ).toMatchObject({ code: 'request.invalid' })
  })
})

/** Rewrites a run's records, as someone with access to Redis could. */
async function change(run: string, alter: (fields: string[]) => void): Promise<void> {
  const log = (await redis.keys(`*:log:${run}`))[0] ?? ''
  const records = await redis.xrange(log, '-', '+')
  await redis.del(log)
  for (const [id, fields] of records) {
    alter(fields)
    if (fields.length > 0) await redis.xadd(log, id, ...fields)
  }
}

/** Takes all content away that has this text. */
const erase = (run: string, text: string) =>
  change(run, (fields) => {
    const i = fields.indexOf('c') + 1
    const lines = (fields[i] ?? '').split('\n')
    fields[i] = lines.map((line) => (line.includes(text) ? '' : line)).join('\n')
  })

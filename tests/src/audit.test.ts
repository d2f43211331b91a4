import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { genesis, link, newVerifier } from '@muster/audit'
import { openMemory } from '@muster/memory'
import { RECORD_BOOK, type StoredEntry, sortedJson } from '@muster/protocol'
import { type ExportVerification, verifyExport } from '@muster/verify'
import { Redis } from 'ioredis'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { newSigner, origin, readManifest, sealFolder, writeExport } from './export-fixture.ts'
import { actor, chain, payment } from './fixtures/app.ts'
import { KmsServer } from './fixtures/kms-server.ts'
import { type Harness, type Ran, runCli, runNode, startHarness, until } from './harness.ts'

const home = mkdtempSync(join(tmpdir(), 'muster-audit-'))
const keyFile = join(home, 'ledger.pem')
const at = (name: string) => join(home, name)

let harness: Harness
let muster: Harness['muster']
const runs: string[] = []
let first: { before: number; after: number }

const ledger = { MUSTER_LEDGER_KEY_FILE: keyFile, MUSTER_LEDGER_ORIGIN: 'log.example' }

function cliOf(...args: string[]): Promise<Ran> {
  return cliWith({}, ...args)
}

function cliWith(settings: Record<string, string>, ...args: string[]): Promise<Ran> {
  const server = harness ? { MUSTER_URL: harness.url, MUSTER_KEY: harness.key } : {}
  return runCli(args, { MUSTER_HOME: home, ...ledger, ...server, ...settings })
}

async function sealedAs(run: string, state: string): Promise<void> {
  await until(
    () => muster.ledger.receipt(run).catch(() => undefined),
    (receipt) => receipt !== undefined && JSON.parse(receipt.leaf).state === state,
    60_000,
  )
}

beforeAll(async () => {
  expect((await cliOf('ledger', 'key', keyFile)).code).toBe(0)
  harness = await startHarness({ ...ledger, MUSTER_REDACT: '{"kinds":{"email":"mask"}}' })
  muster = harness.muster
  await harness.worker()
  const before = Date.now()
  const one = await muster.runs.start(actor, {
    turns: [{ calls: [{ name: 'world_write', arguments: { text: 'write to ann@example.com' } }] }, { answer: 'done' }],
  })
  await one.result()
  await new Promise((resolve) => setTimeout(resolve, 5))
  first = { before, after: Date.now() }
  await new Promise((resolve) => setTimeout(resolve, 5))
  const two = await muster.runs.start(chain, { n: 3, ms: 0 })
  await two.result()
  const parked = await muster.runs.start({ steps: { a: { sleepMs: 3_600_000 } } }, {})
  runs.push(one.id, two.id, parked.id)
  await sealedAs(one.id, 'ended')
  await sealedAs(two.id, 'ended')
  await sealedAs(parked.id, 'parked')
  await sealedAs(RECORD_BOOK, 'running')
})
afterAll(async () => {
  await harness.close()
  rmSync(home, { recursive: true })
})

const journalsIn = (folder: string) => readdirSync(join(folder, 'runs')).sort()
const codesOf = ({ findings }: ExportVerification) => [...new Set(findings.map(({ code }) => code))].sort()

describe('an audit export', () => {
  it('of a tenant is checked by one file that needs nothing of Muster, and no server', async () => {
    const to = at('tenant')
    const exported = await cliOf('audit', 'export', '--to', to, '--json')
    expect(exported).toMatchObject({ code: 0 })
    const { fingerprint, runs: count } = JSON.parse(exported.out)
    expect(count).toBe(3)
    expect(journalsIn(to)).toEqual(runs.map((run) => `${run}.jsonl`).sort())
    const alone = mkdtempSync(join(tmpdir(), 'muster-auditor-'))
    copyFileSync(join(to, 'verify.mjs'), join(alone, 'verify.mjs'))
    const { out: vkeys } = await cliOf('ledger', 'vkeys', 'acme')
    const args = [join(alone, 'verify.mjs'), to, '--key', vkeys.trim(), '--fingerprint', fingerprint]
    const checked = await runNode(args, { PATH: '' })
    expect(checked).toMatchObject({ code: 0, err: '' })
    expect(checked.out).toContain('RESULT: NOTHING IS WRONG')
    expect(checked.out).toContain('email')
    const result: ExportVerification = JSON.parse((await runNode([...args, '--json'], { PATH: '' })).out)
    expect(result).toMatchObject({ ok: true, findings: [], runs: 3, fingerprint, tenant: 'acme' })
    // What was recorded a moment ago may not be sealed yet.
    expect(result.notes.filter((note) => !note.startsWith('records.jsonl'))).toEqual([])
    expect(result.policies).toBe(1)
    rmSync(alone, { recursive: true })
    expect(await cliOf('audit', 'verify', to)).toMatchObject({ code: 0 })
    // The book comes after the journals, and so says of what was erased meanwhile that it was.
    const times = (file: string) => statSync(join(to, file), { bigint: true })
    for (const journal of journalsIn(to))
      expect(times('records.jsonl').birthtimeNs).toBeGreaterThanOrEqual(times(`runs/${journal}`).mtimeNs)
    // As `sha256sum -c` reads it.
    expect(readFileSync(join(to, 'manifest.sha256'), 'utf8')).toBe(`${fingerprint}  manifest.json\n`)
  })

  it('of one run has that run, and nothing of others', async () => {
    const to = at('run')
    const [run = ''] = runs
    expect(await cliOf('audit', 'export', '--to', to, '--run', run)).toMatchObject({ code: 0 })
    expect(journalsIn(to)).toEqual([`${run}.jsonl`])
    expect(existsSync(join(to, 'tile/entries'))).toBe(false)
    expect(verifyExport(to)).toMatchObject({ ok: true, runs: 1, scope: { kind: 'run', run } })
    expect(verifyExport(to).notes.join()).not.toContain('had not ended')
    // Who has the whole ledger can take an earlier leaf of it.
    const parked = at('run-parked')
    expect(await cliOf('audit', 'export', '--to', parked, '--run', runs[2] ?? '')).toMatchObject({ code: 0 })
    expect(verifyExport(parked)).toMatchObject({ ok: true })
    expect(verifyExport(parked).notes.join()).toContain('had not ended by its leaf')
  })

  it('of a time has the runs created in it', async () => {
    const to = at('range')
    const time = (ms: number) => new Date(ms).toISOString()
    const args = ['--since', time(first.before), '--until', time(first.after)]
    expect(await cliOf('audit', 'export', '--to', to, ...args)).toMatchObject({ code: 0 })
    expect(journalsIn(to)).toEqual([`${runs[0]}.jsonl`])
    expect(verifyExport(to)).toMatchObject({ ok: true, runs: 1 })
    const wrong = await cliOf('audit', 'export', '--to', at('never'), '--since', 'yesterday', '--json')
    expect(wrong).toMatchObject({ code: 1, err: expect.stringContaining('request.invalid') })
    const back = await cliOf(
      'audit',
      'export',
      '--to',
      at('never'),
      ...['--since', '2026-12-01', '--until', '2026-11-01'],
    )
    expect(back).toMatchObject({ code: 1, err: expect.stringContaining('is not after --since') })
    expect(existsSync(at('never'))).toBe(false)
  })

  it('is signed by who exports, with keys of a file and of KMS', async () => {
    const [to, exporter, kms] = [at('signed'), at('exporter.pem'), new KmsServer()]
    expect((await cliOf('ledger', 'key', exporter)).code).toBe(0)
    const settings = {
      ...{ AWS_ACCESS_KEY_ID: 'AKIDTEST', AWS_SECRET_ACCESS_KEY: 'secret', AWS_REGION: 'eu-central-1' },
      MUSTER_LEDGER_KMS_ENDPOINT: await kms.listen(),
    }
    try {
      const keys = ['--sign-key', exporter, '--kms-key', 'alias/ledger']
      const exported = await cliWith(settings, 'audit', 'export', '--to', to, ...keys, '--json')
      expect(exported).toMatchObject({ code: 0 })
      const { exporterKeys } = JSON.parse(exported.out)
      expect(exporterKeys).toHaveLength(2)
      for (const vkey of exporterKeys) {
        const { code, out } = await cliOf('audit', 'verify', to, '--exporter-key', vkey, '--json')
        expect({ code, exporters: JSON.parse(out).exporters }).toMatchObject({
          code: 0,
          exporters: [{ name: 'log.example/acme/exports' }],
        })
      }
      const never = await cliWith(
        settings,
        'audit',
        'export',
        '--to',
        at('unsigned'),
        '--kms-key',
        'alias/none',
        '--json',
      )
      expect(never).toMatchObject({ code: 1, err: expect.stringContaining('ledger.key_invalid') })
      expect(existsSync(at('unsigned'))).toBe(false)
    } finally {
      kms.close()
    }
    const { out: vkeys } = await cliOf('ledger', 'vkeys', 'acme')
    const stranger = await cliOf('audit', 'verify', to, '--exporter-key', vkeys.trim())
    expect(stranger).toMatchObject({ code: 1, out: expect.stringContaining('none of the keys that were given') })
    expect(await cliOf('audit', 'verify', to)).toMatchObject({
      code: 0,
      out: expect.stringContaining('manifest.sig: the signature of log.example/acme/exports'),
    })
  })

  it('goes nowhere where something is', async () => {
    writeFileSync(at('note'), '')
    expect(await cliOf('audit', 'export', '--to', home)).toMatchObject({
      code: 1,
      err: expect.stringContaining('is not empty'),
    })
  })

  it('begins with the checkpoint that an auditor kept, and has the run of a receipt that was kept', async () => {
    const older = at('older')
    writeFileSync(older, (await muster.ledger.head()).checkpoint)
    const proof = at('kept.tlog-proof')
    expect((await cliOf('receipt', runs[1] ?? '', '--out', proof)).code).toBe(0)
    const more = await muster.runs.start(chain, { n: 1, ms: 0 })
    await more.result()
    await sealedAs(more.id, 'ended')
    const to = at('grown')
    expect((await cliOf('audit', 'export', '--to', to)).code).toBe(0)
    expect(await cliOf('audit', 'verify', to, '--older', older, '--receipt', proof)).toMatchObject({ code: 0 })
    // Of one run, the tiles for that come along where they are asked for.
    const single = at('single')
    const [run = ''] = runs
    expect((await cliOf('audit', 'export', '--to', single, '--run', run, '--older', older)).code).toBe(0)
    expect(await cliOf('audit', 'verify', single, '--older', older)).toMatchObject({ code: 0 })
    expect(codesOf(verifyExport(single, { receipts: [proof] }))).toEqual(['receipt'])
    // The export from before is older than this checkpoint.
    writeFileSync(older, (await muster.ledger.head()).checkpoint)
    expect(codesOf(verifyExport(at('tenant'), { older: [older] }))).toEqual(['rollback'])
  })

  it('that was changed is found out at the command line, for people and for programs', async () => {
    const to = at('changed')
    cpSync(at('tenant'), to, { recursive: true })
    const file = join(to, 'runs', `${runs[0]}.jsonl`)
    writeFileSync(file, readFileSync(file, 'utf8').replace('world.write', 'world.wrote'))
    const shown = await cliOf('audit', 'verify', to)
    expect(shown.code).toBe(1)
    expect(shown.out).toContain(`[entry-changed] runs/${runs[0]}.jsonl: entry`)
    const { findings } = JSON.parse((await cliOf('audit', 'verify', to, '--json')).out)
    expect(findings).toContainEqual(
      expect.objectContaining({ code: 'entry-changed', run: runs[0], seq: expect.any(Number) }),
    )
    expect(await cliOf('audit', 'verify', at('nowhere'), '--json')).toMatchObject({ code: 2 })
  })
})

describe('what runs did', () => {
  interface Conduct {
    decisions: number
    same: number
    effects: number
    breaches: { code: string; run?: string; message: string }[]
    notCheckable: { run: string; why: string }[]
  }
  const folder = at('conduct')
  const ids: Record<string, string> = {}

  async function conductOf(to: string): Promise<{ code: number; conduct: Conduct }> {
    const { code, out } = await cliOf('audit', 'verify', to, '--replay', '--json')
    return { code, conduct: JSON.parse(out).conduct }
  }

  /** A copy in which a run's entries are others. */
  async function changed(run: string, change: (entries: Record<string, unknown>[]) => Record<string, unknown>[]) {
    const to = at(`conduct-${Math.random()}`)
    cpSync(folder, to, { recursive: true })
    const file = join(to, 'runs', `${run}.jsonl`)
    const lines = readFileSync(file, 'utf8').trimEnd().split('\n')
    const stored = lines.map((line) => JSON.parse(line))
    const entries = change(stored.map(({ bytes }) => JSON.parse(bytes)))
    const line = (entry: Record<string, unknown>) =>
      JSON.stringify({ ...stored.find(({ seq }) => seq === entry.seq), bytes: JSON.stringify(entry) })
    writeFileSync(file, entries.map((entry) => `${line(entry)}\n`).join(''))
    return conductOf(to)
  }

  beforeAll(async () => {
    const fanned = await muster.runs.start('fan-out', { n: 4 })
    await fanned.result()
    const paid = await muster.runs.start({ steps: { a: { tool: 'world.pay', input: { amount: 20 } } } }, {})
    await paid.result()
    const large = await muster.runs.start({ steps: { a: { tool: 'world.pay', input: { amount: 5000 } } } }, {})
    const { waiting } = await until(large.get, (run) => run.waiting.length > 0)
    await muster.runs.approve(large.id, { verdict: 'approve', step: 'a', digest: waiting[0]?.digest ?? '' })
    await large.result()
    const checked = await muster.runs.start(
      {
        steps: {
          look: { tool: 'world.look', input: { what: 'x' } },
          check: { tool: 'world.check', input: { text: { $ref: '#/steps/look/output/seen' } } },
          pay: { tool: 'world.pay', input: { amount: { $ref: '#/steps/check/output/amount' } } },
        },
      },
      {},
    )
    await checked.result()
    // What the agent looked at is untrusted, so that its payment is refused.
    const turn = (name: string, input: object) => ({ calls: [{ name, arguments: input }] })
    const turns = [turn('world_look', { what: 'x' }), turn('world_pay', { amount: 1 }), { answer: 'done' }]
    const denied = await muster.runs.start(actor, { turns })
    await denied.result()
    const taken = (step: string, path: string) => ({ $ref: `#/steps/${step}/output/${path}` })
    const byReference = [
      turn('world_look', { what: 'x' }),
      turn('world_check', { text: taken('1.world.look', 'seen') }),
      turn('world_pay', { amount: taken('2.world.check', 'amount') }),
      { answer: 'done' },
    ]
    const refers = await muster.runs.start(actor, { turns: byReference })
    await refers.result()
    const named = await muster.runs.start(payment, { byReference: true })
    await named.result()
    Object.assign(ids, { fanned: fanned.id, paid: paid.id, large: large.id, checked: checked.id, denied: denied.id })
    const asks = await muster.runs.start(
      {
        steps: {
          look: { tool: 'world.look', input: { what: 'x' } },
          ask: { agent: 'actor', input: { turns: [{ answer: { $ref: '#/steps/look/output/seen' } }] } },
        },
      },
      {},
    )
    await asks.result()
    const { runs: all } = await muster.runs.list({ limit: 200 })
    const child = all.find(({ parent }) => parent?.run === asks.id)?.id ?? ''
    const fork = await checked.fork({ step: 'pay' })
    await fork.result()
    Object.assign(ids, { refers: refers.id, named: named.id, asks: asks.id, child, fork: fork.id })
    for (const id of Object.values(ids)) await sealedAs(id, 'ended')
    expect((await cliOf('audit', 'export', '--to', folder)).code).toBe(0)
  })

  it('is found to be right by the export alone', async () => {
    const { code, conduct } = await conductOf(folder)
    expect(conduct.breaches).toEqual([])
    // Its plan is code, and gave a step the outputs of another by reference.
    expect(conduct.notCheckable.map(({ run }) => run)).toEqual([ids.named])
    expect(conduct.decisions).toBeGreaterThan(15)
    expect(conduct.same).toBe(conduct.decisions)
    expect(code).toBe(0)
    const shown = await cliOf('audit', 'verify', folder, '--replay')
    expect(shown.out).toContain(`${conduct.same} of ${conduct.decisions} decisions were made again by Cedar itself`)
  })

  it('and should not have is listed, breach by breach', async () => {
    const { paid = '', large = '', checked = '', fanned = '' } = ids
    const codesAfter = async (...change: Parameters<typeof changed>) =>
      (await changed(...change)).conduct.breaches.map(({ code }) => code)
    const isA = (type: string) => (entry: Record<string, unknown>) => entry.type === type
    // More than a person was asked for.
    expect(await codesAfter(large, (all) => all.filter((entry) => entry.type !== 'approval.given'))).toContain(
      'decision',
    )
    // What was shown to whom approved it was something else.
    const otherShown = (all: Record<string, unknown>[]) =>
      all.map((entry) => (isA('approval.given')(entry) ? { ...entry, shown: 'a'.repeat(64) } : entry))
    expect(await codesAfter(large, otherShown)).toEqual(['approval', 'decision'])
    // An effect that nothing allowed.
    expect(await codesAfter(paid, (all) => all.filter((entry) => entry.type !== 'step.intent'))).toContain(
      'effect-without-allow',
    )
    // What may happen once, twice.
    const twice = (all: Record<string, unknown>[]) => {
      const pair = all.filter((entry) => entry.type === 'step.intent' || entry.type === 'step.ended')
      return all.flatMap((entry) => (isA('step.ended')(entry) ? [entry, ...pair] : [entry]))
    }
    expect(await codesAfter(paid, twice)).toContain('once-repeated')
    // A step that is not pure, as if it were.
    const first = (all: Record<string, unknown>[]) => all.find(isA('step.intent'))?.decision
    const asPure = (all: Record<string, unknown>[]) =>
      all.flatMap((entry) =>
        entry.type === 'step.intent' ? [] : [isA('step.ended')(entry) ? { ...entry, decision: first(all) } : entry],
      )
    expect(await codesAfter(paid, asPure)).toContain('effect-without-intent')
    // What was never in the run that it is said to be taken over from.
    const otherCopy = (all: Record<string, unknown>[]) =>
      all.map((entry) => (entry.copied === undefined ? entry : { ...entry, durationMs: 99_999 }))
    expect(await codesAfter(ids.fork ?? '', otherCopy)).toEqual(['copied', 'copied'])
    // Labels that vanished, and one that was taken off by who may not.
    const labels = (change: object) => (all: Record<string, unknown>[]) =>
      all.map((entry) =>
        entry.step === 'check' ? { ...entry, ...(entry.type === 'step.ended' ? change : {}) } : entry,
      )
    expect(await codesAfter(checked, labels({ declassified: [], labels: [] }))).toContain('labels')
    expect(await codesAfter(checked, labels({ declassified: ['untrusted', 'pii'] }))).toContain('labels')
    // More than the run may cost.
    const costly = (all: Record<string, unknown>[]) =>
      all.map((entry) => {
        if (entry.type === 'run.created') return { ...entry, limits: { usd: 1, steps: 2 } }
        return entry.type === 'step.ended' ? { ...entry, costUsd: 0.4 } : entry
      })
    expect(await codesAfter(fanned, costly)).toContain('budget')
  })

  /** As who has the ledger's key would: every hash, leaf and signature of the changed journal is right. */
  async function rewritten(
    run: string,
    change: (entry: Record<string, unknown>) => Record<string, unknown>,
    besides: string[] = [],
  ) {
    const to = at(`rewritten-${Math.random()}`)
    const made = [run, ...besides].map((id) => {
      const lines = readFileSync(join(folder, 'runs', `${id}.jsonl`), 'utf8')
        .trimEnd()
        .split('\n')
      let hash = genesis(id)
      const entries = lines.map((line): StoredEntry => {
        const stored: StoredEntry = JSON.parse(line)
        const bytes = id === run ? JSON.stringify(change(JSON.parse(stored.bytes))) : stored.bytes
        hash = link(hash, bytes)
        return { ...stored, bytes, hash }
      })
      return { id, entries, sealedAt: [entries.length] }
    })
    await writeExport(to, made, { signer })
    rmSync(join(to, 'policies'), { recursive: true })
    cpSync(join(folder, 'policies'), join(to, 'policies'), { recursive: true })
    sealFolder(to, { ...readManifest(to), erased: 0, redacted: {} })
    const { out } = await cliOf('audit', 'verify', to, '--replay', '--json', '--key', vkey)
    const { findings, conduct }: { findings: object[]; conduct: Conduct } = JSON.parse(out)
    expect(findings).toEqual([])
    return conduct
  }
  const signer = newSigner()
  const vkey = newVerifier(origin, signer.publicKey).vkey

  it('with labels that were lost between two steps is found, though all of it is signed again', async () => {
    const { checked = '', denied = '', refers = '', named = '' } = ids
    const unlabelled =
      (...steps: string[]) =>
      (entry: Record<string, unknown>) =>
        steps.includes(String(entry.step)) ? { ...entry, labels: [], declassified: undefined } : entry
    const labelsIn = async (...[run, change]: Parameters<typeof rewritten>) =>
      (await rewritten(run, change)).breaches.flatMap(({ code, message }) => (code === 'labels' ? [message] : []))
    // In a plan as data: what the step refers to.
    expect(await labelsIn(checked, unlabelled('check'))).toEqual([
      'step check has not the labels untrusted of what it was made of',
    ])
    // What an agent's model has been shown; also where all of its later steps agree with each other.
    const later = (entry: Record<string, unknown>) =>
      /^[23]\./.test(String(entry.step)) || entry.type === 'run.ended' ? { ...entry, labels: [] } : entry
    const found = await labelsIn(denied, later)
    expect(found).toContain('step 2.model has not the labels untrusted of what it was made of')
    expect(found).toContain('the run has not the labels untrusted of what it was made of')
    // By reference it has the labels of that alone, and not fewer.
    expect(await labelsIn(refers, unlabelled('3.world.pay'))).toEqual([])
    expect(await labelsIn(refers, unlabelled('2.world.check'))).toEqual([
      'step 2.world.check has not the labels untrusted of what it was made of',
    ])
    // Whose plan is not recorded, it is not taken to be right.
    const { breaches, notCheckable } = await rewritten(named, unlabelled('world.check'))
    expect(breaches).toEqual([])
    expect(notCheckable.map(({ why }) => why).join()).toContain('world.check may have lost labels')
  })

  it('with labels that were lost on the way to a child run, or back, is found', async () => {
    const { asks = '', child = '' } = ids
    const labelsIn = async (...args: Parameters<typeof rewritten>) =>
      (await rewritten(...args)).breaches.filter(({ code }) => code === 'labels')
    const bare = (entry: Record<string, unknown>) => ('labels' in entry ? { ...entry, labels: [] } : entry)
    expect(await labelsIn(child, bare, [asks])).toEqual([
      expect.objectContaining({ run: child, message: expect.stringContaining('untrusted of step ask of run') }),
    ])
    const back = (entry: Record<string, unknown>) =>
      (entry.type === 'step.ended' && entry.step === 'ask') || entry.type === 'run.ended' ? bare(entry) : entry
    expect(await labelsIn(asks, back, [child])).toContainEqual(
      expect.objectContaining({ run: asks, message: `step ask has not the labels untrusted of run ${child}` }),
    )
    const { notCheckable } = await rewritten(child, (entry) => entry)
    expect(notCheckable.map(({ why }) => why).join()).toContain('is not in the export')
  })

  it('and began after its time is found', async () => {
    const late = (entry: Record<string, unknown>) => ({
      ...entry,
      ...(entry.type === 'run.created' ? { limits: { wallTimeMs: 1000 } } : {}),
      ...(entry.type === 'step.intent' ? { at: Number(entry.at) + 60_000 } : {}),
    })
    const { breaches } = await rewritten(ids.paid ?? '', late)
    expect(breaches.filter(({ code }) => code === 'budget')).toEqual([
      expect.objectContaining({ message: expect.stringContaining('of 1000 ms') }),
    ])
  })

  it('and spent more together than a budget allowed is found', async () => {
    await muster.budgets.set('plan:fan-out', { day: { usd: 1, tokens: 1000, steps: 20 } })
    const fanned = await muster.runs.start('fan-out', { n: 4 })
    await fanned.result()
    await sealedAs(fanned.id, 'ended')
    const to = at('budgets')
    expect((await cliOf('audit', 'export', '--to', to)).code).toBe(0)
    const limits = { usd: 1, tokens: 1000, steps: 20 }
    expect(readManifest(to).budgets).toEqual([{ name: 'plan:fan-out', period: 'day', limits }])
    expect(verifyExport(to)).toMatchObject({ ok: true, findings: [] })
    const right = await conductOf(to)
    expect(right).toMatchObject({ code: 0, conduct: { breaches: [] } })
    expect(right.conduct.notCheckable.map(({ why }) => why).join()).not.toContain('budget')
    // As if it had begun thirty steps more, at noon, under a budget that was always there.
    const noon = Date.parse(`${String(readManifest(to).exportedAt).slice(0, 10)}T12:00:00Z`)
    const dated = (file: string, at: number) => {
      const lines = readFileSync(file, 'utf8').trimEnd().split('\n')
      return lines.map((line) => {
        const { bytes, ...stored } = JSON.parse(line)
        return JSON.stringify({ ...stored, bytes: JSON.stringify({ ...JSON.parse(bytes), at }) })
      })
    }
    const [file, book] = [join(to, 'runs', `${fanned.id}.jsonl`), join(to, 'records.jsonl')]
    const lines = dated(file, noon)
    const intent = lines.find((line) => line.includes('step.intent')) ?? ''
    writeFileSync(book, dated(book, 0).join('\n'))
    writeFileSync(file, [...lines, ...Array(30).fill(intent), ''].join('\n'))
    const { code, conduct } = await conductOf(to)
    expect(code).toBe(1)
    const over = conduct.breaches.filter(({ message }) => message.includes("the day's budget of plan:fan-out"))
    expect(over).toEqual([expect.objectContaining({ code: 'budget', run: fanned.id })])
    const shown = await cliOf('audit', 'verify', to, '--replay')
    expect(shown.out).toContain(`[budget] run ${fanned.id}`)
    // One run does not tell what the others spent.
    const one = at('budgets-one')
    expect((await cliOf('audit', 'export', '--to', one, '--run', fanned.id)).code).toBe(0)
    const { conduct: alone } = await conductOf(one)
    expect(alone.breaches).toEqual([])
    expect(alone.notCheckable.map(({ why }) => why).join()).toContain('only an export of the whole tenant')
    await muster.budgets.remove('plan:fan-out')
  })

  it('is not read from what is no file, nor stopped by an entry of another shape', async () => {
    const to = at('odd')
    cpSync(folder, to, { recursive: true })
    for (const name of ['manifest.json', 'records.jsonl']) {
      rmSync(join(to, name))
      execFileSync('mkfifo', [join(to, name)])
    }
    symlinkSync('/dev/zero', join(to, 'policies', `${'0'.repeat(64)}.json`))
    const file = join(to, 'runs', `${ids.large}.jsonl`)
    const lines = readFileSync(file, 'utf8').trimEnd().split('\n')
    const odd = lines.map((line) =>
      line.includes('step.waiting') ? JSON.stringify({ ...JSON.parse(line), content: `${'a'.repeat(22)}null` }) : line,
    )
    writeFileSync(file, `${odd.join('\n')}\n`)
    const { code, conduct } = await conductOf(to)
    expect({ code, breaches: conduct.breaches }).toEqual({ code: 1, breaches: [] })
    expect(conduct.notCheckable).toContainEqual({
      run: ids.large,
      seq: 1,
      why: expect.stringContaining('cannot be replayed'),
    })
  })

  it('is not excused by what was put into the app beside its policies, nor accused by the app of another worker', async () => {
    const to = at('app')
    cpSync(folder, to, { recursive: true })
    const [name = ''] = readdirSync(join(to, 'policies'))
    const file = join(to, 'policies', name)
    const set = JSON.parse(readFileSync(file, 'utf8'))
    expect(verifyExport(to)).toMatchObject({ ok: true, notes: [expect.stringMatching(/^keys/)] })
    const check = set.app.tools.find((tool: { name: string }) => tool.name === 'world.check')
    check.declassifies.push('pii')
    writeFileSync(file, JSON.stringify(set, null, 2))
    sealFolder(to)
    expect(verifyExport(to).findings).toMatchObject([{ code: 'policy-changed', file: `policies/${name}` }])
    // As of a deployment whose first worker carried a tool that takes off less.
    check.declassifies = []
    set.app.hash = 'f'.repeat(64)
    writeFileSync(file, JSON.stringify(set, null, 2))
    const { conduct } = await conductOf(to)
    expect(conduct.breaches).toEqual([])
    expect(conduct.notCheckable.map(({ why }) => why).join()).toContain('carried another app')
  })

  it('cannot be told where policies are missing, and is not taken to be right', async () => {
    const to = at('without')
    cpSync(folder, to, { recursive: true })
    const [policies = ''] = readdirSync(join(to, 'policies'))
    const file = join(to, 'policies', policies)
    writeFileSync(file, readFileSync(file, 'utf8').replace('1000.0', '9000.0'))
    const other = await conductOf(to)
    expect(other.conduct.breaches).toEqual([expect.objectContaining({ code: 'policy' })])
    rmSync(file)
    const { conduct } = await conductOf(to)
    expect(conduct).toMatchObject({ same: 0, breaches: [] })
    expect(conduct.notCheckable.length).toBeGreaterThanOrEqual(conduct.decisions)
  })
})

it('an export says of a run that expired while it was written that it has expired, and has what came since', async () => {
  const victim = await muster.runs.start(chain, { n: 1, ms: 0 })
  await victim.result()
  await sealedAs(victim.id, 'ended')
  const memory = await openMemory({ table: 'muster', endpoint: harness.dynamoEndpoint })
  const redis = new Redis(harness.redisUrl)
  await until(
    () => memory.archive.get('acme', victim.id),
    (archived) => archived !== undefined,
  )
  let later = ''
  /** As a worker does it by a rule. */
  const expire = async () => {
    const [now, by] = [Date.now(), { key: 'w', user: 'muster', service: true as const }]
    const about = { rule: 0, what: 'run', terms: {}, runs: { [victim.id]: 1 } }
    await memory.records.append('acme', [{ at: now, by, action: 'retention.expired', about }])
    await redis.del(await redis.keys(`*${victim.id}*`))
    await memory.archive.remove('acme', victim.id, { at: now, by: 'retention', id: '0' })
    await expect(muster.runs.get(victim.id)).rejects.toThrow('rule 0 of retention removed it')
    const run = await muster.runs.start(chain, { n: 1, ms: 0 })
    await run.result()
    // With it the book's head is on its way to the ledger.
    await muster.budgets.set('plan:none', { day: { usd: 1 } })
    await sealedAs(run.id, 'ended')
    later = run.id
  }
  try {
    const to = at('expired')
    const exported = await exportThrough(to, async (path) => {
      if (later === '' && path === `/v1/runs/${victim.id}/journal`) await expire()
      return undefined
    })
    expect(exported).toMatchObject({ code: 0, err: expect.stringContaining('the record of what is gone') })
    expect(JSON.parse(exported.out)).toMatchObject({ missing: [], expired: [{ run: victim.id }] })
    const { findings, notes } = verifyExport(to)
    expect(findings).toEqual([])
    expect(notes.join()).toContain(`run ${victim.id}: expired by a rule of retention`)
    expect(journalsIn(to)).toContain(`${later}.jsonl`)
    expect(existsSync(join(to, 'receipts', later))).toBe(true)
  } finally {
    redis.disconnect()
    memory.close()
  }
})

it('an export waits for the ledger to have the record of the app that the archive has, where another was said before', async () => {
  const memory = await openMemory({ table: 'muster', endpoint: harness.dynamoEndpoint })
  let archived = ''
  /** As of two workers that began at once, with the same policies: the second to say so was the first to archive. */
  const archiveOther = async (path: string) => {
    const published = await muster.policies.get(path.slice('/v1/policies/'.length))
    published.app.hash = 'f'.repeat(64)
    const app = createHash('sha256').update(sortedJson(published.app)).digest('hex')
    const by = { key: 'w', user: 'muster', service: true as const }
    const about = { set: published.hash, app }
    await memory.records.append('acme', [{ at: Date.now(), by, action: 'policy.used', about }])
    archived = JSON.stringify(published)
  }
  try {
    const to = at('two-apps')
    let isSent = false
    const exported = await exportThrough(to, async (path) => {
      // It waits: with another record the book's head is on its way to the ledger.
      if (path === `/v1/runs/${RECORD_BOOK}/receipt` && !isSent) {
        isSent = true
        await muster.budgets.set('plan:none', { day: { usd: 1 } })
      }
      if (!path.startsWith('/v1/policies/')) return undefined
      if (archived === '') await archiveOther(path)
      return archived
    })
    expect(exported).toMatchObject({ code: 0, err: expect.stringContaining('the app beside a policy set') })
    expect(verifyExport(to).findings).toEqual([])
  } finally {
    memory.close()
  }
})

/** Exports by a server that asks `first` for what it answers; undefined is what the harness's server says. */
async function exportThrough(to: string, first: (path: string) => Promise<string | undefined>): Promise<Ran> {
  const proxy = createServer(async (request, response) => {
    const { authorization = '' } = request.headers
    const own = await first(request.url ?? '')
    const answer =
      own === undefined
        ? await fetch(`${harness.url}${request.url}`, { headers: { authorization } })
        : Response.json(JSON.parse(own))
    response.writeHead(answer.status, { 'content-type': answer.headers.get('content-type') ?? '' })
    response.end(Buffer.from(await answer.arrayBuffer()))
  }).listen(0, '127.0.0.1')
  try {
    await once(proxy, 'listening')
    const { port } = proxy.address() as AddressInfo // it listens on one
    return await cliWith({ MUSTER_URL: `http://127.0.0.1:${port}` }, 'audit', 'export', '--to', to, '--json')
  } finally {
    proxy.close()
  }
}

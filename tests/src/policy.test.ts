import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Decision, Json, PlanData, Run } from '@muster/protocol'
import type { RunHandle } from '@muster/sdk'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { actor, chain, parent, payment } from './fixtures/app.ts'
import { mixed } from './fixtures/policy-app.ts'
import { ended, type Harness, type Ran, runCli, startHarness, until } from './harness.ts'

const app = fileURLToPath(new URL('./fixtures/policy-app.ts', import.meta.url))
const dir = mkdtempSync(join(tmpdir(), 'muster-policy-'))
const enforced = join(dir, 'enforced')
const trial = join(dir, 'trial')
/** No worker reads it. */
const candidate = join(dir, 'candidate')

const all = '@id("all") permit (principal, action, resource);'
const noPayments = '@id("no-payments") forbid (principal, action, resource == Tool::"world.pay");'
const large = `@id("large") @ask("controller")
forbid (principal, action == Action::"tool:call", resource == Tool::"world.pay")
when { context.input has amount && context.input.amount.greaterThan(decimal("1000.0")) }
unless { context.approvals.contains("controller") };`

function write(files: { enforced?: string; trial?: string; candidate?: string }): void {
  for (const [folder, text] of Object.entries(files)) {
    // At once: a worker may look at any moment.
    writeFileSync(join(dir, folder, 'own.new'), text)
    renameSync(join(dir, folder, 'own.new'), join(dir, folder, 'own.cedar'))
  }
}

let harness: Harness

beforeAll(async () => {
  mkdirSync(enforced)
  mkdirSync(trial)
  mkdirSync(candidate)
  harness = await startHarness({ MUSTER_APP: app, MUSTER_POLICY: `${enforced},log-only:${trial}` })
})
beforeEach(() => write({ enforced: all, trial: '' }))
afterEach(() => harness.killWorkers())
afterAll(async () => {
  await harness.close()
  rmSync(dir, { recursive: true, force: true })
})

const start = (steps: PlanData['steps']) => harness.muster.runs.start({ steps }, {})
const paying = (amount: number) => start({ pay: { tool: 'world.pay', input: { amount } } })

/** A payment as it was decided on by the policies of now. */
async function decided(amount = 5): Promise<{ id: string; v: number; decision: Decision }> {
  const run = await paying(amount)
  await until(run.get, (one) => ended(one) || one.status === 'waiting')
  for await (const { entry } of run.events())
    if ('decision' in entry && entry.decision) return { id: run.id, v: entry.v, decision: entry.decision }
  throw new Error('nothing was decided')
}

describe('a running worker', () => {
  it('takes its runs up anew where other policies ask of the past what they have not kept', async () => {
    await harness.worker()
    const run = await harness.muster.runs.start(chain, { n: 1000, ms: 50 })
    await until(
      () => harness.effects().length,
      (effects) => effects > 3,
    )
    const limit = `@id("no-more") @history("written = count world.write")
    forbid (principal, action == Action::"tool:call", resource) when { context.history.written >= 1000 };`
    write({ enforced: `${all}\n${limit}` })
    let asked = 0
    for await (const { entry } of run.events())
      if (entry.type === 'step.intent' && entry.decision.history?.written !== undefined) {
        // However long it takes until the files are read.
        if (++asked === 5) await run.cancel()
        // What was written before is counted too.
        expect(entry.decision.history.written).toBe(Number(entry.step.match(/\d+$/)?.[0] ?? 1) - 1)
      }
    expect(asked).toBeGreaterThanOrEqual(5)
    const keys = harness.effects().flatMap(({ key }) => (key.startsWith(run.id) ? [key] : []))
    expect(new Set(keys).size).toBe(keys.length)
  })

  it('decides by its files as they are, and keeps what it had where they are wrong', async () => {
    const worker = await harness.worker()
    let log = ''
    worker.stdout?.on('data', (text) => {
      log += text
    })
    const before = (await decided()).decision
    expect(before).toMatchObject({ effect: 'allow', policies: ['all'] })

    write({ enforced: `${all}\n${noPayments}` })
    const { decision: after } = await until(decided, ({ decision }) => decision.set !== before.set)
    expect(after).toMatchObject({ effect: 'deny', policies: ['no-payments'] })

    write({ enforced: `${all}\n\n  forbid (principal, action, resource) when { nothing };` })
    await until(
      () => log,
      (text) => text.includes('own.cedar:3:'),
    )
    expect((await decided()).decision).toEqual(after)

    write({ enforced: all })
    worker.kill('SIGHUP')
    await until(decided, ({ decision }) => decision.set === before.set)

    const sets = await harness.muster.policies.list()
    expect(sets.map(({ hash }) => hash)).toEqual(expect.arrayContaining([before.set, after.set]))
    expect(await harness.stranger.policies.get(after.set)).toMatchObject({
      hash: after.set,
      policies: [
        { id: 'all', effect: 'permit', mode: 'enforced' },
        { id: 'no-payments', effect: 'forbid', mode: 'enforced' },
      ],
      sources: [{ file: 'own.cedar', text: `${all}\n${noPayments}` }, { mode: 'log-only' }],
    })
    await expect(harness.muster.policies.get('0'.repeat(64))).rejects.toMatchObject({ code: 'policy.not_found' })
  })

  it('tries what is log-only, and says what it would change', async () => {
    write({ trial: `${large}` })
    await harness.worker()
    const small = await decided(5)
    expect(small).toMatchObject({ v: 1, decision: { effect: 'allow' } })
    expect(small.decision).not.toHaveProperty('trial')
    const big = await decided(5000)
    expect(big).toMatchObject({
      v: 3,
      decision: {
        effect: 'allow',
        policies: ['all'],
        trial: { effect: 'ask', policies: ['large'], role: 'controller' },
      },
    })
    expect((await command('trace', big.id)).out).toContain('allow: all  log-only ask: large')
    expect(harness.effects().filter(({ key }) => key.startsWith(big.id))).toHaveLength(1)
  })
})

/** Depends on all that a policy can see. */
const strict = `@id("all") permit (principal, action, resource) when { context.user == "acme-user" };
@id("untrusted") forbid (principal, action == Action::"tool:call", resource)
when { resource.effect == "once" && context.labels.contains("untrusted") };
@id("new") @ask("privacy") forbid (principal, action == Action::"tool:call", resource)
when { context.newDestination } unless { context.approvals.contains("privacy") };
@id("spent") forbid (principal, action, resource) when { context.spent.greaterThan(decimal("100.0")) };
@id("code") forbid (principal, action == Action::"code:run", resource) when { resource.effect == "once" };
@id("memory") forbid (principal, action == Action::"memory:write", resource) when { resource.name == "secret" };
${large}`

describe('muster policy', () => {
  it('checks files against the app', async () => {
    write({ enforced: all, trial: noPayments })
    expect(await muster('check', enforced, `log-only:${trial}`)).toMatchObject({
      code: 0,
      out: expect.stringMatching(/^ok [0-9a-f]{64}: 2 policies, 1 enforced, 1 log-only\n$/),
    })
    write({ enforced: `${all}\nforbid (principal, action == Action::"tool:call", resource) when { context.no };` })
    expect(await muster('check', enforced)).toMatchObject({
      code: 1,
      err: expect.stringMatching(/^own\.cedar:2:\d+ .*`no`/),
    })
    const { code, err } = await muster('check', enforced, '--json')
    expect({ code, problem: JSON.parse(err) }).toMatchObject({
      ...{ code: 1, problem: { code: 'policy.invalid', errors: [{ path: expect.stringMatching(/^own\.cedar:2:/) }] } },
    })
  })

  it('rebuilds from a journal what was asked: the same policies decide all of it the same', async () => {
    write({ enforced: strict })
    await harness.worker()
    const acting = await harness.muster.runs.start(
      actor,
      {
        turns: [
          { calls: [{ name: 'math_add', arguments: { a: 1, b: 2 } }] },
          { calls: [{ name: 'memory_save', arguments: { kind: 'vendor', subject: 'x', value: 1 } }] },
          { calls: [{ name: 'world_look', arguments: { what: 'letter' } }] },
          { calls: [{ name: 'world_pay', arguments: { amount: 7 } }] },
          { answer: 1 },
        ],
      },
      { session: 'policies' },
    )
    await acting.result()
    const asking = await paying(5000)
    await approve(asking, 'world.pay')
    const edited = await paying(6000)
    await approve(edited, 'world.pay', { amount: 3 })
    const undone = await harness.muster.runs.start(mixed, {})
    await approve(undone, 'world.mail')
    const families = [
      await harness.muster.runs.start(payment, { byReference: true }),
      await harness.muster.runs.start(payment, { byReference: false }),
      await harness.muster.runs.start(parent, { turns: [{ answer: 2 }] }),
    ]
    const runs: Pick<RunHandle<unknown>, 'id' | 'get'>[] = [acting, asking, edited, undone, ...families]
    for (const run of runs) await until(run.get, ended)
    const forked = await harness.muster.runs.of(families[0]?.id ?? '').fork({ step: 'world.pay' })
    await until(forked.get, ended)
    runs.push(forked)

    const chosen = runs.flatMap(({ id }) => ['--run', id])
    const again = await dryRun(enforced, ...chosen)
    expect(again.steps).toEqual([])
    expect(again.decisions).toBeGreaterThan(25)

    write({ candidate: strict.replace('1000.0', '5500.0').replace('@id("large")', '@id("huge")') })
    const milder = await dryRun(candidate, ...chosen)
    expect(milder.steps).toMatchObject([
      { run: asking.id, step: 'pay', before: { effect: 'ask', role: 'controller' }, after: { effect: 'allow' } },
    ])

    write({ candidate: strict.replace('"100.0"', '"-1.0"') })
    const nothing = await dryRun(candidate, ...chosen)
    expect(nothing.counts).toMatchObject({ unknown: 0 })
    expect(nothing.steps.filter(({ after }) => after?.effect !== 'deny')).toEqual([])

    // Of a pure step the input is not in the journal.
    const byInput =
      '@id("sums") forbid (principal, action == Action::"tool:call", resource) when { context.input has a };'
    write({ candidate: `${strict}\n${byInput}` })
    const sums = await dryRun(candidate, '--run', acting.id)
    expect(sums.steps).toMatchObject([
      { target: 'math.add', outcome: 'unknown', why: expect.stringContaining('input') },
    ])
    const { out } = await muster('dry-run', candidate, '--run', acting.id)
    expect(out).toMatch(/math\.add {2}unknown: it depends on the input/)
    expect(out).toMatch(/\d+ decisions of 1 runs: \d+ the same, 0 changed, 1 unknown\n$/)
  })

  it('explains a step of a run by the set that decided it, also when the files are others by then', async () => {
    write({ enforced: strict })
    await harness.worker()
    const run = await harness.muster.runs.start(payment, { byReference: false })
    await until(run.get, ended)
    const asking = await paying(5000)
    await until(asking.get, ({ status }) => status === 'waiting')
    write({ enforced: all })
    expect((await muster('explain', run.id)).out).toMatch(
      /world\.pay {2}Denied by untrusted \(own\.cedar:2:1\)\. It would be allowed if the label untrusted were not on it\.\n$/,
    )
    expect((await muster('explain', asking.id, 'pay')).out).toContain('It would be allowed if controller approved it.')
    const { decisions } = JSON.parse((await muster('explain', asking.id, '--json')).out)
    expect(decisions).toMatchObject([{ step: 'pay', ways: [[{ kind: 'approval', role: 'controller' }]] }])
    expect(await muster('explain', run.id, 'nothing')).toMatchObject({
      code: 1,
      err: expect.stringContaining('no policy was asked of a step "nothing"'),
    })
  })

  it('explains a question from a file, and tries cases', async () => {
    write({ enforced: strict })
    const question = { principal: 'agent:clerk', resource: 'world.pay', labels: ['untrusted'], user: 'acme-user' }
    const asked = written('question.json', question)
    expect((await muster('explain', '--request', asked, enforced)).out).toMatch(
      /^Denied by untrusted \(own\.cedar:2:1\)/,
    )
    const cases = [
      { name: 'a stranger pays nothing', request: question, expect: { effect: 'deny', policies: ['untrusted'] } },
      {
        name: 'mail to nobody knows whom',
        request: { ...question, resource: 'world.mail', input: { to: 'eve.example' } },
        expect: { effect: 'ask', role: 'privacy' },
      },
      {
        name: 'mail to Acme',
        request: { ...question, resource: 'world.mail', input: { to: 'ann.acme.example' } },
        expect: { effect: 'allow', policies: ['all'] },
      },
    ]
    expect(await muster('test', written('good.json', cases), enforced)).toMatchObject({
      code: 0,
      out: expect.stringContaining('3 of 3 cases'),
    })
    const bad = [{ ...cases[0], expect: { effect: 'allow', policies: ['all'] } }]
    const { code, out } = await muster('test', written('bad.json', bad), enforced)
    expect({ code, lines: out.split('\n').map((line) => line.trim()) }).toMatchObject({
      code: 1,
      lines: expect.arrayContaining([
        '✗ a stranger pays nothing',
        'effect is deny, not allow',
        'policies is untrusted, not all',
      ]),
    })
    const wrong = [{ ...cases[0], request: { ...question, resource: 'no.tool' } }]
    expect(await muster('test', written('wrong.json', wrong), enforced)).toMatchObject({
      code: 1,
      err: expect.stringContaining('/0/request/resource the app has no tool "no.tool"'),
    })
    expect((await muster('test', written('wrong.json', [{ name: '' }]), enforced)).err).toContain('/0/name')
  })

  it('shows what changed between files, and since a published set', async () => {
    write({
      enforced: `${all}\n${large}`,
      candidate: `${all.replace('all', 'each')}\n${large.replace('1000', '2000')}`,
    })
    await harness.worker()
    const { set } = (await decided()).decision
    for (const before of [enforced, set, set.slice(0, 12)]) {
      const { out } = await muster('diff', before, candidate)
      expect(out.match(/^(removed|changed|added) .*/gm)).toEqual(['removed all', 'changed large', 'added each'])
      expect(out).toMatch(/^ {2}-when .*1000\.0/m)
      expect(out).toMatch(/^ {2}\+when .*2000\.0/m)
    }
    expect((await muster('diff', set, enforced)).out).toBe('the same policies\n')
    const { changed } = JSON.parse((await muster('diff', enforced, candidate, '--json')).out)
    expect(changed).toMatchObject([{ id: 'large', before: { mode: 'enforced' } }])
    expect(await muster('diff', '0'.repeat(64), candidate)).toMatchObject({
      code: 1,
      err: expect.stringContaining('policy.not_found'),
    })
  })
})

interface DryRun {
  decisions: number
  counts: Record<'same' | 'changed' | 'unknown', number>
  steps: { run: string; step: string; outcome: string; before: Decision; after?: Decision; why?: string }[]
}

async function dryRun(...args: string[]): Promise<DryRun> {
  return JSON.parse((await muster('dry-run', ...args, '--json')).out)
}

/** Approves what a run asks, perhaps with other input. */
async function approve(run: { id: string; get(): Promise<Run> }, target: string, input?: Json): Promise<void> {
  const { waiting } = await until(run.get, ({ waiting: [one] }) => one?.target === target)
  const [one] = waiting
  if (!one?.digest) throw new Error('asks nothing')
  const edit = input === undefined ? {} : { input }
  await harness.muster.runs.approve(run.id, { step: one.step, digest: one.digest, verdict: 'approve', ...edit })
}

function written(name: string, value: unknown): string {
  const path = join(dir, name)
  writeFileSync(path, JSON.stringify(value))
  return path
}

const muster = (...args: string[]) => command('policy', ...args)

function command(...args: string[]): Promise<Ran> {
  return runCli(args, { MUSTER_URL: harness.url, MUSTER_KEY: harness.key, MUSTER_APP: app })
}

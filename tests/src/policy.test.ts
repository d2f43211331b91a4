import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Decision, PlanData } from '@muster/protocol'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { ended, type Harness, startHarness, until } from './harness.ts'

const dir = mkdtempSync(join(tmpdir(), 'muster-policy-'))
const enforced = join(dir, 'enforced')
const trial = join(dir, 'trial')

const all = '@id("all") permit (principal, action, resource);'
const noPayments = '@id("no-payments") forbid (principal, action, resource == Tool::"world.pay");'
const large = `@id("large") @ask("controller")
forbid (principal, action == Action::"tool:call", resource == Tool::"world.pay")
when { context.input has amount && context.input.amount.greaterThan(decimal("1000.0")) }
unless { context.approvals.contains("controller") };`

/** Files of the two folders that the workers read. */
function write(files: { enforced?: string; trial?: string }): void {
  for (const [folder, text] of Object.entries(files)) writeFileSync(join(dir, folder, 'own.cedar'), text)
}

let harness: Harness

beforeAll(async () => {
  mkdirSync(enforced)
  mkdirSync(trial)
  harness = await startHarness({ MUSTER_POLICY: `${enforced},log-only:${trial}` })
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
async function decided(amount = 5): Promise<{ id: string; decision: Decision }> {
  const run = await paying(amount)
  await until(run.get, (one) => ended(one) || one.status === 'waiting')
  for await (const { entry } of run.events())
    if ('decision' in entry && entry.decision) return { id: run.id, decision: entry.decision }
  throw new Error('nothing was decided')
}

describe('a running worker', () => {
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
    expect(small.decision).not.toHaveProperty('trial')
    const big = await decided(5000)
    expect(big.decision).toMatchObject({
      effect: 'allow',
      policies: ['all'],
      trial: { effect: 'ask', policies: ['large'], role: 'controller' },
    })
    expect(harness.effects().filter(({ key }) => key.startsWith(big.id))).toHaveLength(1)
  })
})

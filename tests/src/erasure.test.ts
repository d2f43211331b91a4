import type { Run } from '@muster/protocol'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { lead } from './fixtures/app.ts'
import { type Harness, startHarness } from './harness.ts'

let harness: Harness
let muster: Harness['muster']

beforeAll(async () => {
  harness = await startHarness()
  muster = harness.muster
  await harness.worker()
})
afterAll(() => harness.close())

describe('a run with a subject', () => {
  it('says whom it is about in its first entry and in lists, and so do its child runs and forks', async () => {
    const subject = 'customer-1'
    const turns = [{ calls: [{ name: 'ask_actor', arguments: { turns: [{ answer: 5 }] } }] }, { answer: 1 }]
    const run = await muster.runs.start(lead, { turns }, { subject, session: 'ä' })
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

import { Journal } from '@muster/journal'
import { type Entry, type Json, redactRules } from '@muster/protocol'
import { createRedaction } from '@muster/redaction'
import { collect, plan, tool } from '@muster/sdk'
import { afterAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import { any, book, ended, entries, stopRedis, withWorker } from '../fixture.ts'
import { CallbackTokens } from './callback-token.ts'

afterAll(stopRedis)

/** What tools were given, and what they took back. */
const seen: Json[] = []

const echo = tool({
  name: 'echo',
  effect: 'write',
  input: any,
  output: any,
  run: (input) => {
    seen.push(input)
    return input
  },
})

const app = collect({
  open: tool({
    name: 'open',
    effect: 'write',
    reveals: ['email'],
    input: z.object({ to: z.string() }),
    output: z.object({ account: z.string() }),
    run: ({ to }) => {
      seen.push(to)
      return { account: `of ${to}` }
    },
    undo: ({ to }, { account }) => {
      seen.push([to, account])
    },
  }),
  echo,
  breaks: tool({
    name: 'breaks',
    effect: 'read',
    attempts: 1,
    input: any,
    output: any,
    run: (): Record<string, Json> => {
      throw new Error('ann@example.com is not to be reached')
    },
  }),
  large: tool({
    name: 'large',
    effect: 'read',
    input: any,
    output: z.object({ text: z.string() }),
    run: () => {
      seen.push('large')
      return { text: 'x '.repeat(600_000) }
    },
  }),
  book,
  waits: plan({
    name: 'waits',
    version: '1',
    input: z.object({}),
    signals: { go: z.object({ to: z.string() }) },
    run: async (step) => {
      await step.tool(echo, { to: 'ann@example.com' })
      const { to } = await step.signal('go')
      return { to, and: 'bob@example.com' }
    },
  }),
})

const redaction = createRedaction(
  redactRules.parse({ kinds: { email: 'token' } }),
  'a secret of the test, of 32 characters and more',
)
const by = { key: 'k', user: 'ann' }

/** Everything that the journal has of a run, as text. */
async function stored(journal: Journal, run: string): Promise<string> {
  let text = ''
  for await (const { bytes, content } of journal.read(run)) text += `${bytes}\n${content ?? ''}\n`
  return text
}

async function parked(journal: Journal, run: string): Promise<void> {
  while ((await journal.get(run))?.status !== 'waiting') await new Promise((resolve) => setTimeout(resolve, 5))
}

const endOf = (all: readonly Entry[], step: string) =>
  all.find((entry) => entry.type === 'step.ended' && entry.step === step)

describe('a worker that redacts', () => {
  it('undoes with what was revealed, and keeps what an error says to itself', async () => {
    seen.length = 0
    await withWorker(app, { redaction }, async (journal, start) => {
      const run = await start({
        rollback: true,
        steps: {
          open: { tool: 'open', input: { to: 'ann@example.com' } },
          breaks: { tool: 'breaks', after: ['open'] },
        },
      })
      const all = await entries(journal, run)
      expect(seen).toEqual(['ann@example.com', ['ann@example.com', 'of ann@example.com']])
      expect(endOf(all, 'open')).toMatchObject({ v: 2, redacted: { email: 1 } })
      expect(endOf(all, 'breaks')).toMatchObject({
        redacted: { email: 1 },
        error: { message: expect.stringMatching(/^\[email:[\w-]+\] is not to be reached$/) },
      })
      // Without its server's help the run's own input is as it came; nothing else is.
      expect((await stored(journal, run)).match(/ann@example\.com/g)).toHaveLength(1)
    })
  })

  it('does not give a tool a token that was changed', async () => {
    await withWorker(app, { redaction }, async (journal, start) => {
      const run = await start({ steps: { open: { tool: 'open', input: { to: `[email:${'A'.repeat(60)}]` } } } })
      const all = await entries(journal, run)
      expect(endOf(all, 'open')).toMatchObject({ status: 'failed', error: { code: 'redaction.invalid_token' } })
    })
  })

  it('stores no output that it cannot redact, and does not make it again', async () => {
    seen.length = 0
    await withWorker(app, { redaction }, async (journal, start) => {
      const run = await start({ steps: { large: { tool: 'large', input: {} } } })
      expect(endOf(await entries(journal, run), 'large')).toMatchObject({ error: { code: 'redaction.too_large' } })
      expect(seen).toEqual(['large'])
    })
  })

  it('redacts what comes from outside where its server has not', async () => {
    const callbacks = new CallbackTokens('a secret of the test')
    await withWorker(app, { redaction, callbacks }, async (journal, start) => {
      const run = await start({ steps: { good: { tool: 'book' }, bad: { tool: 'book', onFailure: 'continue' } } })
      await parked(journal, run)
      await journal.post(run, { type: 'callback', step: 'good', output: { to: 'ann@example.com' } })
      const message = 'no seat for ann@example.com'
      await journal.post(run, { type: 'callback', step: 'bad', error: { code: 'tool.failed', message } })
      const all = await entries(journal, run)
      expect(all.flatMap((one) => (one.type === 'callback.received' ? [one.redacted] : []))).toEqual([
        { email: 1 },
        { email: 1 },
      ])
      expect(await stored(journal, run)).not.toContain('ann@example.com')
    })
  })

  it('goes on with a run that was begun without it', async () => {
    seen.length = 0
    const before = await withWorker(app, {}, async (journal, start, options) => {
      const run = await start('waits')
      await parked(journal, run)
      return { run, options }
    })
    const { redisUrl, namespace } = before.options
    await withWorker(app, { redaction, namespace }, async () => {
      const journal = await Journal.open({ url: redisUrl, namespace })
      await journal.post(before.run, { type: 'signal', name: 'go', payload: { to: 'cid@example.com' }, by, labels: [] })
      expect(await ended(journal, before.run)).toMatchObject({ status: 'succeeded', redacted: { email: 1 } })
      const text = await stored(journal, before.run)
      expect(text).toContain('ann@example.com')
      expect(text).not.toMatch(/(cid|bob)@example\.com/)
      await journal.close()
    })
    expect(seen).toEqual([{ to: 'ann@example.com' }])
  })
})

describe('a worker that does not', () => {
  it('writes entries of version 1 without a word of it, and reveals nothing', async () => {
    seen.length = 0
    await withWorker(app, {}, async (journal, start) => {
      const run = await start({ steps: { open: { tool: 'open', input: { to: 'ann@example.com' } } } })
      const all = await entries(journal, run)
      expect(all.filter((entry) => entry.v !== 1 || 'redacted' in entry)).toEqual([])
      expect(seen).toEqual(['ann@example.com'])
    })
  })
})

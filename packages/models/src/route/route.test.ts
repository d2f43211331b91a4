import { setTimeout } from 'node:timers/promises'
import { MusterError } from '@muster/protocol'
import fc from 'fast-check'
import { describe, expect, it, vi } from 'vitest'
import { createFailover } from '../failover.ts'
import { type Answer, failure, hang, says, status, vendors } from '../fixture.ts'
import { createModels } from '../models.ts'
import { chunk, chunkOfUsage, DONE } from '../relay/fixture.ts'
import type { Target } from '../target.ts'
import { Breaker } from './breaker.ts'
import type { RouteRule, Targets } from './rule.ts'

const servers = vendors([3, 2, 1])
const calls = () => servers.map((one) => one.calls)
const host = (at: number) => servers[at]?.name ?? ''
const targets = (...more: Partial<Target>[]) =>
  servers.map(({ target }, i) => ({ ...target, ...more[i] })) as unknown as Targets // three of them
const route = (rule: Partial<RouteRule>) => createModels({ routes: { default: { targets: targets(), ...rule } } })
const behave = (...answers: Answer[]) => {
  for (const [i, one] of servers.entries()) one.answer = answers[i] ?? says
}
const messages = [{ role: 'user' as const, content: 'hello' }]

const later =
  (ms: number, answer: Answer): Answer =>
  (response, request) =>
    setTimeout(ms).then(() => answer(response, request))
const writes =
  (text: string): Answer =>
  (response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    for (const char of text) response.write(chunk({ role: 'assistant', content: char }))
    response.end(chunk({}, 'stop') + chunkOfUsage + DONE)
  }

describe('conditions', () => {
  it('keep what is labelled away from targets that may not have it, and say where it could go', async () => {
    behave()
    const inEu = { when: { labels: { only: ['pii'] } }, region: 'eu' }
    const models = createModels({
      routes: {
        default: targets({ when: { labels: { without: ['pii'] } } }, inEu, { when: { labels: { without: ['pii'] } } }),
        abroad: { targets: [{ ...targets()[0], when: { labels: { without: ['pii'] } } } as Target] },
      },
    })
    const asked = (labels: string[], name = 'default') => models.invoke(name, { messages, labels })
    const passed = [0, 2].map((at) => ({ target: host(at), code: 'route.refused' }))
    expect((await asked(['pii', 'x'])).via).toEqual({ target: host(1), region: 'eu', passed })
    expect((await asked(['x'])).via).toMatchObject({ target: host(0) })
    expect(calls()).toEqual([1, 1, 0])
    const refused = await failure(asked(['pii'], 'abroad'))
    expect(refused).toMatchObject({ code: 'route.refused', issues: [{ path: '/labels' }] })
    expect(refused.message).toContain('labelled "pii"')
    expect(refused.message).toContain('by route "default"')
    // Its one target that may have it is down: nobody else is asked.
    behave(says, status(500), says)
    expect((await failure(asked(['pii']))).code).toBe('model.unavailable')
    const body = { model: 'default', messages, stream: true }
    const { signal } = new AbortController()
    const relayed = models.relay('abroad', {
      ...{ dialect: 'chat', body, signal, idempotencyKey: 'i', labels: ['pii'] },
    })
    expect((await failure(relayed)).code).toBe('route.refused')
    expect(calls()).toEqual([1, 2, 0])
  })

  it('are of size, too', async () => {
    behave()
    const models = createModels({
      routes: {
        default: targets(
          { when: { maxInputTokens: 100 } },
          { when: { minInputTokens: 50, maxInputTokens: 1000 } },
        ).slice(0, 2) as unknown as Targets,
      },
    })
    const asked = (length: number) =>
      models.invoke('default', { messages: [{ role: 'user', content: 'x'.repeat(length) }] })
    expect((await asked(30)).via?.target).toBe(host(0))
    expect((await asked(1500)).via?.target).toBe(host(1))
    const error = await failure(asked(15_000))
    expect(error).toMatchObject({ code: 'route.refused', issues: [{ path: '/messages' }] })
    expect(error.message).toContain('for 1000 tokens at most, and this is about 50')
  })
})

describe('the choice of a target', () => {
  it('is told with the answer', async () => {
    behave()
    const cheapest = await route({ order: 'cheapest' }).invoke('default', { messages })
    expect(cheapest.via).toEqual({ target: host(2), order: 'cheapest' })
    const models = route({ order: 'weighted', sticky: true })
    const first = await models.invoke('default', { messages, stickyKey: 's' })
    expect(first.via).toMatchObject({ order: 'weighted', sticky: true })
    expect((await models.invoke('default', { messages, stickyKey: 's' })).via).toEqual(first.via)
    const at = servers.findIndex((_, i) => host(i) === first.via?.target)
    behave(...servers.map((_, i) => (i === at ? status(500) : says)))
    const elsewhere = (await models.invoke('default', { messages, stickyKey: 's' })).via
    expect(elsewhere?.passed).toEqual([{ target: host(at), code: 'model.unavailable' }])
    behave()
    expect((await models.invoke('default', { messages, stickyKey: 's' })).via).toEqual(first.via)
  })

  it('is the fastest, once each was tried', async () => {
    behave(later(150, says), later(5, says), later(150, says))
    const models = route({ order: 'fastest' })
    for (let i = 0; i < 5; i++) await models.invoke('default', { messages })
    expect(calls()).toEqual([1, 3, 1])
  })
})

describe('a breaker', () => {
  const limits = { failures: 3, withinMs: 1000, pauseMs: 500 }

  it('is as its model is, whatever comes', () => {
    const step = fc.record({ ms: fc.integer({ min: 0, max: 600 }), end: fc.constantFrom('ok', 'fails', 'left') })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        let now = 0
        const breaker = new Breaker(limits, () => now)
        let failures: number[] = []
        let openUntil: number | undefined
        for (const { ms, end } of steps) {
          now += ms
          const as = breaker.admit()
          expect(as).toBe(openUntil === undefined ? 'call' : now >= openUntil ? 'probe' : undefined)
          if (!as) continue
          // One at a time tries whether it is back.
          if (as === 'probe') expect(breaker.admit()).toBeUndefined()
          if (end === 'left') breaker.left(as)
          else if (end === 'ok') {
            breaker.succeeded()
            failures = []
            openUntil = undefined
          } else {
            breaker.failed(as)
            failures = [...failures.filter((at) => now - at < limits.withinMs), now]
            if (as === 'probe' || failures.length >= limits.failures) openUntil = now + limits.pauseMs
          }
          expect(breaker.state).toBe(openUntil === undefined ? 'closed' : 'open')
        }
      }),
    )
  })

  it('passes a target over, tries it again after the pause, and says so', async () => {
    behave(status(500), says, says)
    const models = route({ breaker: limits })
    const states = () => models.breakers().map(({ state }) => state)
    vi.useFakeTimers({ toFake: ['Date'] })
    try {
      for (let i = 0; i < 5; i++) await models.invoke('default', { messages })
      expect(calls()).toEqual([3, 5, 0])
      expect(states()).toEqual(['open', 'closed', 'closed'])
      const { via } = await models.invoke('default', { messages })
      expect(via).toEqual({ target: host(1), passed: [{ target: host(0), code: 'route.open' }] })
      vi.setSystemTime(Date.now() + 501)
      await models.invoke('default', { messages })
      expect(calls()).toEqual([4, 7, 0])
      behave()
      vi.setSystemTime(Date.now() + 501)
      expect((await models.invoke('default', { messages })).via).toEqual({ target: host(0) })
      expect(states()).toEqual(['closed', 'closed', 'closed'])
      // A stream that breaks off is one, though its answer had begun.
      const breaks: Answer = (response) => {
        response.writeHead(200, { 'content-type': 'text/event-stream' })
        response.write(chunk({ role: 'assistant', content: 'x' }), () => response.socket?.resetAndDestroy())
      }
      for (let i = 0; i < 4; i++) {
        behave(breaks, writes('y'))
        const body = { messages, stream: true }
        const { signal } = new AbortController()
        const relayed = await models.relay('default', { ...{ dialect: 'chat', signal, idempotencyKey: 'i', body } })
        if (!('stream' in relayed.answer)) throw new Error('no stream')
        for await (const _ of relayed.answer.stream);
        await relayed.done.catch(() => {})
      }
      expect(states()).toEqual(['open', 'closed', 'closed'])
      vi.setSystemTime(Date.now() + 501)
      behave()
      await models.invoke('default', { messages })
      // What is refused is no failure of a target, nor is being asked to wait.
      behave(status(400))
      for (let i = 0; i < 5; i++) await failure(models.invoke('default', { messages }))
      expect(states()).toEqual(['closed', 'closed', 'closed'])
      behave(status(500), status(500), status(500))
      for (let i = 0; i < 3; i++) await failure(models.invoke('default', { messages }))
      expect(await failure(models.invoke('default', { messages }))).toMatchObject({ code: 'model.unavailable' })
      expect(calls()).toEqual([17, 11, 3])
    } finally {
      vi.useRealTimers()
    }
  })
})

describe('a hedged request', () => {
  it('is answered by who begins first; the other is aborted, and the last target is asked alone', async () => {
    behave(hang, says)
    const reply = await route({ hedgeMs: 20 }).invoke('default', { messages })
    expect(reply.via).toEqual({ target: host(1), hedged: [host(0)] })
    expect(reply.costUsd).toBeCloseTo(30e-6, 12)
    expect(calls()).toEqual([1, 1, 0])
    await vi.waitFor(() => expect(servers[0]?.aborted).toBe(1))
    behave(status(500), status(500), later(60, says))
    const last = await route({ hedgeMs: 20 }).invoke('default', { messages })
    expect(last.via).toMatchObject({ target: host(2) })
    expect(last.via).not.toHaveProperty('hedged')
    // A refusal is an answer, and ends what was asked beside it.
    behave(later(60, status(400)), hang)
    expect((await failure(route({ hedgeMs: 20 }).invoke('default', { messages }))).code).toBe('model.failed')
    const abort = new AbortController()
    behave(hang, () => abort.abort())
    const aborted = route({ hedgeMs: 20 }).invoke('default', { messages, signal: abort.signal })
    await expect(aborted).rejects.not.toBeInstanceOf(MusterError)
    await vi.waitFor(() => expect(servers.map((one) => one.aborted)).toEqual([2, 2, 0]))
  })

  it('gives one answer though its targets heed no abort, and counts what came too late', async () => {
    const act = fc.record({ ms: fc.integer({ min: 0, max: 8 }), end: fc.constantFrom('answers', 'fails') })
    const places = servers.map(({ target }, i) => ({ target, model: `m${i}` }))
    await fc.assert(
      fc.asyncProperty(fc.array(act, { minLength: 3, maxLength: 3 }), fc.boolean(), async (acts, claims) => {
        const claimed: string[] = []
        const course = { places, refused: [], kind: 'stream', hedgeMs: 2, breaker: undefined } as const
        const found = createFailover().find(course, async ({ model }, contender) => {
          const { ms, end } = acts[places.findIndex((place) => place.model === model)] ?? { ms: 0, end: 'fails' }
          await setTimeout(ms)
          if (end === 'fails') throw new MusterError('model.unavailable', model)
          if (claims && contender.claim()) claimed.push(model)
          await setTimeout(2)
          if (claims && contender.claim()) claimed.push(model)
          return model
        })
        if (acts.every(({ end }) => end === 'fails')) {
          expect((await failure(found)).code).toBe('model.unavailable')
          return
        }
        const { answer, via, late } = await found
        expect(claimed).toEqual(claims ? [answer, answer] : [])
        const lost = (await late).map(({ answer }) => answer)
        expect(lost).not.toContain(answer)
        const names = lost.map((name) => host(Number(name.slice(1))))
        expect(via?.hedged ?? []).toEqual(expect.arrayContaining(names))
      }),
      { numRuns: 100 },
    )
  })

  it('never gives two answers, whoever is late and however long', async () => {
    const kind = fc.record({ ms: fc.integer({ min: 0, max: 12 }), fails: fc.boolean() })
    const models = route({ hedgeMs: 3, breaker: false })
    await fc.assert(
      fc.asyncProperty(fc.tuple(kind, kind, kind), fc.constantFrom('invoke', 'relay'), async (kinds, how) => {
        const texts = ['aaaa', 'bbbb', 'cccc']
        behave(...kinds.map(({ ms, fails }, i) => later(ms, fails ? status(500) : writes(texts[i] ?? ''))))
        let told = ''
        let end: { costUsd: number; usage: { inputTokens: number } } | undefined
        let asked = 0
        const { signal } = new AbortController()
        try {
          if (how === 'invoke') end = await models.invoke('default', { messages, onDelta: (text) => (told += text) })
          else {
            const { answer, done } = await models.relay('default', {
              ...{ dialect: 'chat', signal, idempotencyKey: 'i', body: { messages, stream: true } },
              async gate() {
                asked++
                return { allow: true }
              },
            })
            if (!('stream' in answer)) throw new Error('no stream')
            for await (const events of answer.stream)
              for (const [, text = ''] of events.matchAll(/"content":"([abc])"/g)) told += text
            end = await done
          }
        } catch (error) {
          expect(error).toMatchObject({ code: 'model.unavailable' })
        }
        expect(asked).toBe(0)
        expect(end === undefined).toBe(kinds.every(({ fails }) => fails))
        expect(end ? texts : ['']).toContain(told)
        if (!end) return
        // What was delivered, and what has come to its end too late.
        const ownUsd = (120 * (3 - texts.indexOf(told))) / 1e6
        if (end.usage.inputTokens === 100) expect(end.costUsd).toBeCloseTo(ownUsd, 12)
        else expect([end.usage.inputTokens, end.costUsd > ownUsd]).toEqual([200, true])
      }),
      { numRuns: 60 },
    )
  }, 60_000)
})

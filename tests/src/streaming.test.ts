import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { ModelDelta, RunEvent } from '@muster/protocol'
import { Redis } from 'ioredis'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { actor } from './fixtures/app.ts'
import { type Harness, startHarness } from './harness.ts'

const WORDS = Array.from({ length: 40 }, (_, i) => `word${i}`)
const TEXT = JSON.stringify({ answer: WORDS.join(' ') })
const WORD_MS = 50

let harness: Harness
let muster: Harness['muster']
let model: Server

beforeAll(async () => {
  // Writes its answer word by word.
  model = createServer(async (request, response) => {
    for await (const _ of request);
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    const chunk = (delta: object, more: object = {}) => {
      const choices = [{ index: 0, delta, finish_reason: null, ...more }]
      response.write(
        `data: ${JSON.stringify({ id: 'c', object: 'chat.completion.chunk', created: 1, model: 'm', choices })}\n\n`,
      )
    }
    chunk({ role: 'assistant', content: '' })
    for (const part of TEXT.match(/.{1,7}/g) ?? []) {
      chunk({ content: part })
      await new Promise((resolve) => setTimeout(resolve, WORD_MS))
    }
    chunk({}, { finish_reason: 'stop' })
    const usage = { prompt_tokens: 10, completion_tokens: 40, total_tokens: 50 }
    response.write(
      `data: ${JSON.stringify({ id: 'c', object: 'chat.completion.chunk', created: 1, model: 'm', choices: [], usage })}\n\n`,
    )
    response.end('data: [DONE]\n\n')
  })
  await new Promise<void>((resolve) => model.listen(0, '127.0.0.1', resolve))
  harness = await startHarness()
  muster = harness.muster
  await harness.worker({ MUSTER_MODEL_BASE_URL: `http://127.0.0.1:${(model.address() as AddressInfo).port}/v1` })
})
afterAll(async () => {
  await harness.close()
  model.closeAllConnections()
  model.close()
})

const start = () => muster.runs.start(actor, { turns: [] })
const joined = (deltas: readonly ModelDelta[]) => deltas.map(({ text }) => text).join('')

describe('what a model writes', () => {
  it('comes to all who watch while it is written, between the entries of the journal', async () => {
    const run = await start()
    const watch = async () => {
      const seen: (RunEvent | { delta: ModelDelta })[] = []
      for await (const event of run.events({ deltas: true })) seen.push(event)
      return seen
    }
    const [seen, other] = await Promise.all([watch(), watch()])
    for (const one of [seen, other]) {
      const deltas = one.flatMap((event) => ('delta' in event ? [event.delta] : []))
      expect(deltas.length).toBeGreaterThan(5)
      expect(deltas[0]).toMatchObject({ step: '1.model', attempt: 1 })
      // The end comes with the outcome.
      expect(TEXT.startsWith(joined(deltas))).toBe(true)
      expect(joined(deltas).length).toBeGreaterThan(TEXT.length / 2)
      const types = one.map((event) => ('delta' in event ? 'delta' : event.entry.type))
      expect(types.lastIndexOf('delta')).toBeLessThan(types.indexOf('step.ended'))
      const entries = one.flatMap((event) => ('delta' in event ? [] : [event.seq]))
      expect(entries).toEqual(Array.from({ length: entries.length }, (_, i) => i + 1))
    }
    expect(await run.result()).toEqual({ answer: WORDS.join(' ') })
    expect((await run.get()).usage).toMatchObject({ inputTokens: 10, outputTokens: 40 })
    // Of a run that has ended the journal tells all.
    expect((await watch()).some((event) => 'delta' in event)).toBe(false)
  })

  it('goes on after a connection was cut: nothing is repeated, nothing left out', async () => {
    const run = await start()
    let place = '0'
    const parts: string[] = []
    for (let connection = 0; connection < 3; connection++) {
      const gone = new AbortController()
      const response = await fetch(`${harness.url}/v1/runs/${run.id}/events?deltas=true`, {
        ...{ headers: { authorization: `Bearer ${harness.key}`, 'last-event-id': place }, signal: gone.signal },
      })
      let text = ''
      let count = 0
      const decoder = new TextDecoder()
      for await (const bytes of response.body ?? []) {
        text += decoder.decode(bytes, { stream: true })
        const blocks = text.split('\n\n')
        text = blocks.pop() ?? ''
        for (const block of blocks) {
          const id = /^id: (.+)$/m.exec(block)?.[1]
          if (id !== undefined) place = id
          if (!block.includes('event: delta')) continue
          parts.push(JSON.parse(/^data: (.+)$/m.exec(block)?.[1] ?? '').text)
          count++
        }
        if (count >= 3 && connection < 2) break
      }
      gone.abort()
    }
    expect(place).toMatch(/^\d+\/\d+-\d+$/)
    expect(parts.length).toBeGreaterThan(6)
    expect(TEXT.startsWith(parts.join(''))).toBe(true)
    expect(parts.join('').length).toBeGreaterThan(TEXT.length / 2)
  })

  it('is written nowhere while nobody watches, and shown to no other tenant', async () => {
    const run = await start()
    const stranger = harness.stranger.runs.of(run.id).events({ deltas: true })
    await expect(stranger.next()).rejects.toMatchObject({ code: 'run.not_found' })
    for await (const event of run.events()) expect('entry' in event).toBe(true)
    const redis = new Redis(harness.redisUrl)
    expect(await redis.keys(`*:live:${run.id}`)).toEqual([])
    redis.disconnect()
  })

  it('goes together with what tools tell, until they have ended', async () => {
    const run = await muster.runs.start({ steps: { read: { tool: 'world.pages', input: { pages: 8 } } } }, {})
    const deltas: ModelDelta[] = []
    const order: string[] = []
    for await (const event of run.events({ deltas: true })) {
      order.push('delta' in event ? 'delta' : event.entry.type)
      if ('delta' in event) deltas.push(event.delta)
    }
    const told = Array.from({ length: 8 }, (_, i) => `page ${i + 1}\n`).join('')
    expect(deltas[0]).toMatchObject({ step: 'read', attempt: 1 })
    expect(deltas.length).toBeGreaterThan(2)
    expect(told.startsWith(joined(deltas))).toBe(true)
    expect(joined(deltas)).toContain('page 2')
    expect(order.lastIndexOf('delta')).toBeLessThan(order.indexOf('step.ended'))
    const journal = await (await muster.open('GET', `/v1/runs/${run.id}/journal`)).text()
    expect(journal).not.toContain('page 2')
  })

  it.each(['x', '1/x', '-1', '1/2'])('cannot be asked for from place %s', async (place) => {
    const run = await start()
    const response = await fetch(`${harness.url}/v1/runs/${run.id}/events`, {
      headers: { authorization: `Bearer ${harness.key}`, 'last-event-id': place },
    })
    expect(response.status).toBe(400)
    await run.cancel()
  })
})

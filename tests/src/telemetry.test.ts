import { createServer, type Server } from 'node:http'
import { OUTBOXES, type OutboxLag } from '@muster/protocol'
import { freePort } from '@muster/stack'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { actor } from './fixtures/app.ts'
import { type Harness, startHarness, stopProcess, until } from './harness.ts'

let harness: Harness
let collector: Server
/** What came to the collector, by path: OTLP protobuf, in which names stand as plain UTF-8. */
const received: Record<string, string> = {}

beforeAll(async () => {
  harness = await startHarness()
  collector = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      received[request.url ?? ''] = (received[request.url ?? ''] ?? '') + Buffer.concat(chunks).toString('latin1')
      response.writeHead(200, { 'content-type': 'application/x-protobuf' }).end()
    })
  }).listen(0, '127.0.0.1')
  await until(() => collector.listening, Boolean)
})
afterAll(async () => {
  await harness.close()
  collector.close()
})

describe('OpenTelemetry', () => {
  it('gives a collector spans of the run and its steps and the metrics, by the GenAI conventions, and no content', async () => {
    const address = collector.address()
    const port = typeof address === 'object' && address ? address.port : 0
    const worker = await harness.worker({
      OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}`,
      OTEL_BSP_SCHEDULE_DELAY: '100',
      OTEL_METRIC_EXPORT_INTERVAL: '500',
      OTEL_METRIC_EXPORT_TIMEOUT: '400',
      MUSTER_BUDGETS: JSON.stringify({ 'agent:actor': { day: { steps: 1000 } } }),
      MUSTER_MODELS: JSON.stringify({
        default: ['nobody', 'scripted'].map((model, i) => {
          const baseUrl = i === 0 ? 'http://127.0.0.1:1/v1' : `${harness.modelUrl}/v1`
          return { openai: { model, baseUrl }, free: i === 0, region: `region-${i}`, provider: `provider-${i}` }
        }),
      }),
    })
    const run = await harness.muster.runs.start(actor, {
      turns: [{ calls: [{ name: 'world_write', arguments: { text: 'a private matter' } }] }, { answer: 'done' }],
    })
    await run.result()
    await stopProcess(worker)
    const spans = received['/v1/traces'] ?? ''
    for (const text of [
      'invoke_agent actor',
      'chat default',
      'execute_tool world.write',
      'gen_ai.usage.input_tokens',
      'gen_ai.tool.name',
      'muster.decision',
      'muster.model.target',
      'provider-1',
      'region-1',
      run.id,
    ]) {
      expect(spans).toContain(text)
    }
    // All spans of a run share the trace made of its id.
    expect(spans).toContain(Buffer.from(run.id.replaceAll('-', ''), 'hex').toString('latin1'))
    const metrics = received['/v1/metrics'] ?? ''
    for (const text of ['gen_ai.client.token.usage', 'muster.step.duration', 'muster.run.duration', 'muster.cost'])
      expect(metrics).toContain(text)
    for (const text of ['muster.model.breaker', 'muster.worker.runs', 'muster.worker.places', 'muster.worker.lost'])
      expect(metrics).toContain(text)
    for (const text of ['muster.waited', 'muster.reason', 'queue', 'limit', 'place', 'budget'])
      expect(metrics).toContain(text)
    expect(spans + metrics).not.toContain('a private matter')
  })

  it('lets Prometheus scrape the metrics, by the names that are documented, and says where its port is taken', async () => {
    const port = await freePort()
    const prometheus = { OTEL_METRICS_EXPORTER: 'prometheus', OTEL_EXPORTER_PROMETHEUS_PORT: String(port) }
    const before = { ...received }
    const worker = await harness.worker({
      ...prometheus,
      MUSTER_ARCHIVE: 'off',
      MUSTER_BUDGETS: JSON.stringify({ 'agent:actor': { day: { steps: 1000 } } }),
    })
    await (await harness.muster.runs.start(actor, { turns: [{ answer: 'a private matter' }] })).result()
    const scraped = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text()
    for (const line of [
      /^muster_step_duration_bucket\{.*muster_target="default".*le="1.28"\} /m,
      /^muster_run_duration_count\{.*gen_ai_agent_name="actor",muster_run_status="succeeded".*\} 1$/m,
      /^gen_ai_client_token_usage_sum\{.*gen_ai_token_type="input".*\} [1-9]/m,
      /^muster_cost_total\{.*muster_tenant="acme".*\} 0\.0/m,
      /^muster_waited_total\{.*muster_reason="queue".*\} /m,
      /^muster_worker_places\{.*\} 100$/m,
      /^muster_worker_runs\{/m,
      /^muster_worker_lost_total\{/m,
      /^muster_outbox_waiting\{.*muster_outbox="archive".*\} [1-9]/m,
      ...OUTBOXES.map((outbox) => new RegExp(`^muster_outbox_waiting\\{.*muster_outbox="${outbox}"`, 'm')),
    ])
      expect(scraped).toMatch(line)
    const [, age] = /^muster_outbox_age\{.*muster_outbox="archive".*\} (.*)$/m.exec(scraped) ?? []
    const { outboxes } = await harness.muster.request<{ outboxes: OutboxLag[] }>('GET', '/v1/workers')
    // In seconds: the same record is older by now.
    expect(Number(age) * 1000).toBeLessThanOrEqual(outboxes.find(({ outbox }) => outbox === 'archive')?.ageMs ?? -1)
    expect(scraped).not.toContain('a private matter')
    await expect(harness.worker(prometheus)).rejects.toThrow(
      `Port ${port} on localhost is taken (OTEL_EXPORTER_PROMETHEUS_PORT)`,
    )
    await stopProcess(worker)
    expect(received).toEqual(before)
  })

  it('is off, and its SDK not even loaded, until it is configured', async () => {
    const before = { ...received }
    const worker = await harness.worker()
    await (await harness.muster.runs.start(actor, { turns: [{ answer: 1 }] })).result()
    await stopProcess(worker)
    expect(received).toEqual(before)
  })
})

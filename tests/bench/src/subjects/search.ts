import { openMemory } from '@muster/memory'
import type { AuditFilter, AuditHit } from '@muster/protocol'
import { percentile, type Subject } from '../subject.ts'

const HOUR_MS = 3_600_000
const START_MS = Date.UTC(2026, 0, 1)
const LIMIT = 50
const PAGES = 20
/** Runs that are put in at once. */
const BATCH = 100

/** The steps of a run: one in a hundred runs is denied its payment, one in ten is asked for it. A hundred runs an hour. */
function hitsOf(i: number): AuditHit[] {
  const run = `00000000-0000-7000-8000-${i.toString(16).padStart(12, '0')}`
  const at = START_MS + i * (HOUR_MS / 100)
  const of = {
    run,
    name: `agent-${i % 20}`,
    version: '1',
    by: `user-${i % 500}`,
    labels: i % 4 === 0 ? ['untrusted'] : [],
  }
  const step = (seq: number, kind: string, target: string) => ({
    ...{ ...of, seq, at: at + seq, step: `s${seq}`, kind, target, status: 'ok', approvers: [], policies: ['works'] },
    decisions: ['allow' as const],
  })
  const denied = i % 100 === 0
  const asked = !denied && i % 10 === 0
  return [
    ...[step(1, 'model', 'default'), step(2, 'tool', 'invoice.read'), step(3, 'model', 'default')],
    {
      ...step(4, 'tool', 'ledger.pay'),
      ...(denied
        ? { status: 'denied', decisions: ['deny' as const], policies: ['never'], error: 'policy.denied' }
        : {}),
      ...(asked ? { decisions: ['ask' as const, 'allow' as const], approvers: [`boss-${i % 70}`] } : {}),
      amounts: { amount: i % 10_000 },
    },
    { ...step(5, 'run', of.name), decisions: [], policies: [], status: denied ? 'failed' : 'succeeded' },
  ]
}

const middleOf = (runs: number) => START_MS + (runs / 2) * (HOUR_MS / 100)

/** What is searched for, by what it is called. */
export function searches(runs: number): Record<string, AuditFilter> {
  const middle = middleOf(runs)
  return {
    everything: {},
    'a person': { person: 'user-7' },
    'a tool': { tool: 'ledger.pay' },
    'a resource': { resource: 'default' },
    denied: { decision: 'deny' },
    'a label': { label: 'untrusted' },
    'ten days': { since: middle - 240 * HOUR_MS, until: middle },
    'an approver, ten days': { approver: 'boss-30', since: middle - 240 * HOUR_MS, until: middle },
    'a tool, denied': { tool: 'ledger.pay', decision: 'deny' },
    'a tool and a person': { tool: 'ledger.pay', by: 'user-7' },
    'a label and an agent': { label: 'untrusted', name: 'agent-4' },
    'an amount that few have': { tool: 'ledger.pay', min: 9990 },
    'what nobody has': { status: 'cancelled' },
  }
}

/** Where a search is begun from that was half through. */
export const DEEP = 'everything, half through'

/** An index with so many runs, put there as the archiver does; pages of each search, by cursor, and a bare Query beside. */
export async function auditSearch({ dynamo, runs }: { dynamo: string; runs: number }): Promise<Subject> {
  const memory = await openMemory({ table: 'bench', endpoint: dynamo })
  const index = memory.auditIndex
  const began = performance.now()
  let next = 0
  const fill = async () => {
    while (next < runs) {
      const from = next
      next += BATCH
      const batch = Array.from({ length: Math.min(BATCH, runs - from) }, (_, i) => hitsOf(from + i))
      await index.replace('bench', batch.flat())
    }
  }
  await Promise.all(Array.from({ length: 2 }, fill))
  process.stderr.write(`${runs} runs put in, in ${Math.round((performance.now() - began) / 1000)} s\n`)

  const deep = (await index.search('bench', { until: middleOf(runs) }, { limit: LIMIT })).cursor
  const all = [
    ...Object.entries(searches(runs)).map(([name, filter]) => ({ name, filter, start: undefined })),
    { name: DEEP, filter: {}, start: deep },
  ]
  return {
    async run() {
      const started = performance.now()
      const figures: Record<string, number> = {}
      const take = (name: string, times: number[]) => {
        figures[`${name} p50`] = percentile(times, 0.5)
        figures[`${name} p95`] = percentile(times, 0.95)
      }
      const bare: number[] = []
      for (const { name, filter, start } of all) {
        const times: number[] = []
        let cursor: string | undefined = start
        for (let i = 0; i < PAGES; i++) {
          const from = performance.now()
          const page = await index.search('bench', filter, { limit: LIMIT, cursor })
          times.push(performance.now() - from)
          cursor = page.cursor ?? start
          bare.push(await bareQuery(dynamo))
        }
        take(name, times)
      }
      take('bare', bare)
      return { units: PAGES * all.length, elapsedMs: performance.now() - started, figures }
    },
    async close() {
      memory.close()
    },
  }
}

/** DynamoDB alone: as many items as a page of everything reads, without the SDK; ms. */
async function bareQuery(endpoint: string): Promise<number> {
  const from = performance.now()
  const answer = await fetch(endpoint, {
    method: 'POST',
    headers: {
      'content-type': 'application/x-amz-json-1.0',
      'x-amz-target': 'DynamoDB_20120810.Query',
      'x-amz-date': '20260101T000000Z',
      authorization:
        'AWS4-HMAC-SHA256 Credential=local/20260101/local/dynamodb/aws4_request, SignedHeaders=host, Signature=0',
    },
    body: JSON.stringify({
      TableName: 'bench',
      KeyConditionExpression: 'pk = :pk',
      ExpressionAttributeValues: { ':pk': { S: 'T#bench#AUDIT#ALL' } },
      ScanIndexForward: false,
      ConsistentRead: true,
      Limit: LIMIT + 1,
    }),
  })
  const { Count } = (await answer.json()) as { Count?: number } // DynamoDB's own
  if (Count !== LIMIT + 1) throw new Error(`a bare Query gave ${Count} items`)
  return performance.now() - from
}
